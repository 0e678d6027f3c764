/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/ctl/ctl.h"

int verb_metrics(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        _cleanup_free_ char *text = NULL;
        int r = ctl_read(ctl, "Metrics", &text, NULL);

        if (r != CTL_OK)
                return r;
        if (!ctl->json) {
                fputs(text, stdout);
                return CTL_OK;
        }
        root = json_object_new_object();
        if (!root || json_object_object_add(root, "version", json_object_new_int(1)) < 0 ||
            json_object_object_add(root, "kind", json_object_new_string("metrics")) < 0 ||
            json_object_object_add(root, "text", json_object_new_string(text)) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        return ctl_print_json(root);
}
