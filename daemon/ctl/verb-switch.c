/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* switch and return: one flow each, asked for by a person. */

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/long-call.h"

static int run(struct ctl *ctl, const struct long_call *call) {
        _cleanup_json_ struct json_object *report = NULL;
        int r = long_call_run(ctl, call, &report);

        if (r == CTL_OK)
                long_call_print(ctl, call, report);
        return r;
}

int verb_switch(struct ctl *ctl) {
        return run(ctl, &(struct long_call) { .verb = "switch", .method = "Switch", .pair = ctl->args[0] });
}

int verb_return(struct ctl *ctl) {
        return run(ctl, &(struct long_call) { .verb = "return", .method = "Return", .pair = ctl->args[0] });
}
