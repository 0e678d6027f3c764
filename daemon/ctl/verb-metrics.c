/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/ctl.h"

int verb_metrics(struct ctl *ctl) {
        _cleanup_free_ char *text = NULL;
        int r = ctl_read(ctl, "Metrics", &text, NULL);

        return r == CTL_OK ? ctl_print_text(ctl, "metrics", text) : r;
}
