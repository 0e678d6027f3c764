/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* switch, return and drill: one flow each, asked for by a person. */

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/long-call.h"

static void print_report(const struct ctl *ctl, const struct long_call *call, struct json_object *report) {
        struct json_object *flow = get_object(report, "flow"), *plan = get_object(report, "plan");

        if (plan) {
                printf("Would %s %s (state now: %s); nothing was done:\n", call->verb, call->pair,
                       get_text(plan, "state", "unknown"));
                for (size_t i = 0; i < get_count(plan, "steps"); i++)
                        printf("  %zu. %s\n", i + 1, json_object_get_string(get_item(plan, "steps", i)));
        }
        if (get_text(report, "text", NULL))
                printf("%s\n", get_text(report, "text", ""));
        if (!flow)
                return;
        printf("%s%s%s: %s, %s -> %s\n", color_begin(ctl, COLOR_BOLD), get_text(flow, "id", "?"), color_end(ctl),
               get_text(flow, "kind", "?"), get_text(flow, "from.domain", "?"), get_text(flow, "to.domain", "?"));
        print_timeline(ctl, flow);
}

static int run(struct ctl *ctl, const struct long_call *call) {
        _cleanup_json_ struct json_object *report = NULL;
        int r = long_call_run(ctl, call, &report);

        if (r != CTL_OK)
                return r;
        if (ctl->json)
                ctl_print_json(report);
        else
                print_report(ctl, call, report);
        if (call->fault && get_object(report, "flow.objective_met") && !get_bool(report, "flow.objective_met"))
                return CTL_MISSED;
        return CTL_OK;
}

int verb_switch(struct ctl *ctl) {
        return run(ctl, &(struct long_call) { .verb = "switch", .method = "Switch", .pair = ctl->args[0] });
}

int verb_return(struct ctl *ctl) {
        return run(ctl, &(struct long_call) { .verb = "return", .method = "Return", .pair = ctl->args[0] });
}

int verb_drill(struct ctl *ctl) {
        if (!ctl->fault)
                return ctl_fail(CTL_USAGE, "drill needs --fault KIND: app-kill, panic, hang, qemu-kill or qemu-stop");
        return run(ctl, &(struct long_call) {
                                .verb = "drill", .method = "Drill", .pair = ctl->args[0], .fault = ctl->fault });
}
