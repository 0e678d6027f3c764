/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/render-table.h"

#define LIMIT 20

static const char *outcome(struct json_object *flow) {
        if (!get_object(flow, "ok"))
                return "under way";
        return get_bool(flow, "ok") ? "ok" : "failed";
}

static const char *domain(struct json_object *flow, const char *path, const char *side_path) {
        return get_text(flow, path, get_text(flow, side_path, "-"));
}

static int print_drills(struct json_object *root) {
        struct render_table table = {
                .heads = { "DRILL", "ENDED", "LEVEL", "VERDICT", "TOOK", "OBJECTIVE", "FAILOVER" },
                .right = { [4] = true, [5] = true },
                .n_columns = 7,
        };
        char text[FORMAT_MAX];

        for (size_t i = 0; i < get_count(root, "drills"); i++) {
                struct json_object *drill = get_item(root, "drills", i);
                int64_t objective = get_number(drill, "objective_ms");

                render_cell(&table, get_text(drill, "pair", "?"));
                render_cell(&table, format_time(text, get_number(drill, "time_ms")));
                render_cell(&table, get_text(drill, "level", "?"));
                render_cell(&table, get_text(drill, "verdict", "?"));
                render_cell(&table, format_seconds(text, get_number(drill, "took_usec")));
                render_cell(&table, format_seconds(text, objective < 0 ? -1 : objective * 1000));
                render_cell(&table, get_text(drill, "failover", "-"));
        }
        return render_print(&table, stdout);
}

static int print_list(struct json_object *root) {
        struct render_table table = {
                .heads = { "FAILOVER", "BEGAN", "KIND", "FROM", "TO", "RECOVERY", "OUTCOME" },
                .right = { [5] = true },
                .n_columns = 7,
        };
        char text[FORMAT_MAX];

        for (size_t i = 0; i < get_count(root, "flows"); i++) {
                struct json_object *flow = get_item(root, "flows", i);
                char end[64];

                render_cell(&table, get_text(flow, "id", "?"));
                render_cell(&table, format_time(text, get_number(flow, "begun_ms")));
                render_cell(&table, get_text(flow, "kind", "?"));
                render_cell(&table, domain(flow, "from.domain", "from.side"));
                render_cell(&table, domain(flow, "to.domain", "to.side"));
                render_cell(&table, format_seconds(text, get_number(flow, "recovery_usec")));
                snprintf(end, sizeof(end), "%s%s", outcome(flow), get_bool(flow, "drill") ? " (drill)" : "");
                render_cell(&table, end);
        }
        if (render_print(&table, stdout) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        if (get_count(root, "drills") > 0 && print_drills(root) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        puts("`failoverctl history FAILOVER` shows one with its phases and reasons.");
        return CTL_OK;
}

static int print_one(const struct ctl *ctl, struct json_object *root) {
        struct json_object *flow = get_item(root, "flows", 0);
        char time[FORMAT_MAX], age[FORMAT_MAX];

        printf("%s%s%s: %s, %s -> %s, %s%s\n", color_begin(ctl, COLOR_BOLD), get_text(flow, "id", "?"), color_end(ctl),
               get_text(flow, "kind", "?"), domain(flow, "from.domain", "from.side"),
               domain(flow, "to.domain", "to.side"), outcome(flow), get_bool(flow, "drill") ? ", a drill" : "");
        printf("  began      %s (%s ago)\n", format_time(time, get_number(flow, "begun_ms")),
               format_age(age, get_number(flow, "age_ms")));
        printf("  cause      %s\n", get_text(flow, "cause", "not recorded"));
        if (get_text(flow, "text", NULL))
                printf("  outcome    %s\n", get_text(flow, "text", ""));
        if (get_count(root, "drills") > 0) {
                printf("  drill      ");
                print_verdict(ctl, get_item(root, "drills", 0));
                putchar('\n');
        }
        print_timeline(ctl, flow);
        if (get_count(root, "events") > 0)
                puts("Events:");
        print_events(root, "events");
        print_evidence(root);
        return CTL_OK;
}

int verb_history(struct ctl *ctl) {
        const char *id = ctl->n_args > 0 ? ctl->args[0] : "";
        _cleanup_json_ struct json_object *root = NULL;
        int r;

        r = ctl_read_json(ctl, "GetHistory", &root, "su", id, (uint32_t) (ctl->limit ? ctl->limit : LIMIT));
        if (r != CTL_OK || ctl->json)
                return r != CTL_OK ? r : ctl_print_json(root);
        if (get_count(root, "flows") == 1 && *id && strcmp(get_text(get_item(root, "flows", 0), "id", ""), id) == 0)
                return print_one(ctl, root);
        if (get_count(root, "flows") > 0)
                return print_list(root);
        puts("No failover, switch or return so far.");
        if (get_count(root, "drills") > 0 && print_drills(root) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        if (get_count(root, "events") > 0)
                puts("Events:");
        print_events(root, "events");
        return CTL_OK;
}
