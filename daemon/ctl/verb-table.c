/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/render-table.h"

#define SURVEY_ROUND_MSEC 20
#define SURVEY_ROUNDS_MAX 25

static void add_row(struct render_table *table, struct json_object *row) {
        char text[FORMAT_MAX];

        render_cell(table, get_text(row, "name", "?"));
        render_cell(table, format_mib(text, get_number(row, "usage_bytes")));
        render_cell(table, format_resident(text, row));
        render_cell(table, format_age(text, get_number(row, "resident_age_ms")));
        render_cell(table, get_text(row, "user.name", "?"));
        render_cell(table, get_text(row, "target.name", "?"));
}

/* Resident memory is looked at when somebody asks; that takes milliseconds a VM, and is worth a short wait. */
static int read_table(struct ctl *ctl, struct json_object **ret) {
        for (unsigned round = 0;; round++) {
                struct json_object *root = NULL;
                int r = ctl_read_json(ctl, "DescribeTable", &root, NULL);

                if (r != CTL_OK)
                        return r;
                if (!get_bool(root, "surveying") || round == SURVEY_ROUNDS_MAX) {
                        *ret = root;
                        return CTL_OK;
                }
                json_object_put(root);
                poll(NULL, 0, SURVEY_ROUND_MSEC);
        }
}

int verb_table(struct ctl *ctl) {
        struct render_table table = {
                .heads = { "REGION", "USAGE", "RESIDENT", "SEEN AGO", "USER", "FAILOVER TARGET" },
                .right = { [1] = true, [2] = true, [3] = true },
                .n_columns = 6,
        };
        _cleanup_json_ struct json_object *root = NULL;
        char total[FORMAT_MAX], governed[FORMAT_MAX];
        int r;

        r = read_table(ctl, &root);
        if (r != CTL_OK || ctl->json)
                return r != CTL_OK ? r : ctl_print_json(root);
        for (size_t i = 0; i < get_count(root, "rows"); i++)
                add_row(&table, get_item(root, "rows", i));
        if (render_print(&table, stdout) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        for (size_t i = 0; i < get_count(root, "rows"); i++)
                if (get_number(get_item(root, "rows", i), "remote_bytes") > 0)
                        printf("%s has %s more at memory servers (overflow).\n",
                               get_text(get_item(root, "rows", i), "name", "?"),
                               format_mib(total, get_number(get_item(root, "rows", i), "remote_bytes")));
        format_mib(total, get_number(root, "total_bytes"));
        format_mib(governed, get_number(root, "governed_bytes"));
        if (get_number(root, "total_bytes") != get_number(root, "governed_bytes"))
                return ctl_fail(CTL_FAILED, "the rows add up to %s, failoverd governs %s: please report this", total,
                                governed);
        printf("The rows add up to %s, all memory that failoverd governs.\n", total);
        return CTL_OK;
}
