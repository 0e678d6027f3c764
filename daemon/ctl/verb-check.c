/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Could a failover happen right now, for each single failure, and what would not fit? */

#include <stdarg.h>
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/render-table.h"
#include "daemon/ctl/status-vm.h"

#define TEXT_LEN 512

static enum color level_color(const char *level) {
        if (strcmp(level, "uncovered") == 0)
                return COLOR_BAD;
        return strcmp(level, "limited") == 0 ? COLOR_WARN : COLOR_GOOD;
}

static const char *level_meaning(const char *level) {
        if (strcmp(level, "covered") == 0)
                return "every single failure would lead to a failover that fits";
        if (strcmp(level, "limited") == 0)
                return "every single failure is covered, but not each at once and in full";
        if (strcmp(level, "uncovered") == 0)
                return "a single failure would NOT lead to a failover";
        return "nothing that could fail over";
}

static void __attribute__((format(printf, 2, 3))) add(char text[TEXT_LEN], const char *format, ...) {
        size_t used = strlen(text);
        va_list ap;

        va_start(ap, format);
        vsnprintf(text + used, TEXT_LEN - used, format, ap);
        va_end(ap);
}

/* "web-a fails" */
static const char *failure(struct json_object *one, char text[TEXT_LEN]) {
        const char *fault = get_text(one, "fault", "?"), *domain = get_text(one, "at.domain", "?");
        const char *application = get_text(one, "application", "?");

        text[0] = 0;
        if (strcmp(fault, "system") == 0)
                add(text, "%s fails", domain);
        else if (strcmp(fault, "hang") == 0)
                add(text, "%s hangs", domain);
        else if (strcmp(fault, "application") == 0)
                add(text, "%s fails on %s", application, domain);
        else
                add(text, "memory of %s lost on %s", application, domain);
        return text;
}

static void add_memory(char text[TEXT_LEN], const char **before, int64_t bytes, const char *what) {
        char size[FORMAT_MAX];

        if (bytes <= 0)
                return;
        add(text, "%s%s %s", *before, format_mib(size, bytes), what);
        *before = ", ";
}

/* What would be done. */
static const char *course(struct json_object *one, char text[TEXT_LEN]) {
        const char *flow = get_text(one, "flow", "none"), *at = get_text(one, "at.domain", "?");
        bool fenced = strcmp(flow, "os-failure") == 0;

        text[0] = 0;
        if (strcmp(flow, "none") == 0) {
                add(text, strcmp(get_text(one, "fault", ""), "application") == 0
                                  ? "it is plain: restarted in place, never moved"
                                  : "nothing moves; it is built anew as the standby");
                return text;
        }
        if (!get_bool(one, "begins")) {
                add(text,
                    get_object(one, "begins") ? "nothing would begin" : "not foretold: it does not run, or moves now");
                return text;
        }
        if (fenced)
                add(text, "%s is fenced", at);
        for (size_t i = 0; i < get_count(one, "moves"); i++) {
                struct json_object *move = get_item(one, "moves", i);
                const char *before = ": ";

                add(text, "%s%s to %s", i > 0 || fenced ? "; " : "", get_text(move, "application", "?"),
                    get_text(one, "to.domain", "?"));
                if (get_number(move, "stand_in_bytes") <= 0 && get_number(move, "awaited_bytes") <= 0 &&
                    get_number(move, "shared_bytes") <= 0)
                        add_memory(text, &before, get_number(move, "region_bytes"), "come along");
                add_memory(text, &before, get_number(move, "stand_in_bytes"), "of unused stand in");
                add_memory(text, &before, get_number(move, "shared_bytes"), "taken as needed");
                add_memory(text, &before, get_number(move, "unused_bytes"), "out of unused");
                add_memory(text, &before, get_number(move, "remote_bytes"), "at memory servers");
                add_memory(text, &before, get_number(move, "awaited_bytes"), "awaited");
                add_memory(text, &before, get_number(move, "missing_bytes"), "missing");
        }
        return text;
}

static bool same_reason(struct json_object *a, struct json_object *b) {
        return strcmp(get_text(a, "why", ""), get_text(b, "why", "")) == 0 &&
               strcmp(get_text(a, "mend", ""), get_text(b, "mend", "")) == 0;
}

/* Each reason once, with the failures that it concerns. */
static void print_reasons(const struct ctl *ctl, struct json_object *pair) {
        char text[TEXT_LEN];

        for (size_t i = 0; i < get_count(pair, "cases"); i++) {
                struct json_object *one = get_item(pair, "cases", i);
                bool said = !get_text(one, "why", NULL);

                for (size_t k = 0; !said && k < i; k++)
                        said = same_reason(one, get_item(pair, "cases", k));
                if (said)
                        continue;
                printf("  %swhy%s      %s\n", color_begin(ctl, level_color(get_text(one, "level", ""))), color_end(ctl),
                       get_text(one, "why", ""));
                printf("  when     ");
                for (size_t k = i; k < get_count(pair, "cases"); k++)
                        if (same_reason(one, get_item(pair, "cases", k)))
                                printf("%s%s", k > i ? ", " : "", failure(get_item(pair, "cases", k), text));
                putchar('\n');
                if (get_text(one, "mend", NULL))
                        printf("  do       %s\n", get_text(one, "mend", ""));
        }
}

static void print_notes(const struct ctl *ctl, struct json_object *pair) {
        struct json_object *drill = get_object(pair, "last_drill");
        char age[FORMAT_MAX];

        for (size_t i = 0; i < get_count(pair, "notes"); i++)
                printf("  note     %s\n", json_object_get_string(get_item(pair, "notes", i)));
        if (!drill) {
                printf("  drill    none so far: failoverctl drill %s --level rehearse\n",
                       get_text(pair, "name", "PAIR"));
                return;
        }
        printf("  drill    %s, %s ago: ", get_text(drill, "level", "?"), format_age(age, get_number(drill, "age_ms")));
        print_verdict(ctl, drill);
        putchar('\n');
}

static int print_pair(const struct ctl *ctl, struct json_object *pair) {
        struct render_table table = { .heads = { "  WHEN", "ANSWER", "TAKES", "WHAT IS DONE" }, .right = { [2] = true },
                                      .n_columns = 4 };
        const char *level = get_text(pair, "level", "?"), *state = get_text(pair, "state", "?");
        char text[TEXT_LEN], when[TEXT_LEN], age[FORMAT_MAX];

        printf("%s%s%s: %s%s%s", color_begin(ctl, COLOR_BOLD), get_text(pair, "name", "?"), color_end(ctl),
               color_begin(ctl, level_color(level)), level, color_end(ctl));
        if (get_number(pair, "level_age_ms") >= 0)
                printf(" for %s", format_age(age, get_number(pair, "level_age_ms")));
        printf(": %s\n", level_meaning(level));
        for (size_t i = 0; i < get_count(pair, "cases"); i++) {
                struct json_object *one = get_item(pair, "cases", i);

                snprintf(when, sizeof(when), "  %.500s", failure(one, text));
                render_cell(&table, when);
                render_cell(&table,
                            strcmp(get_text(one, "level", "?"), "none") == 0 ? "-" : get_text(one, "level", "?"));
                render_cell(&table, get_number(one, "expected_ms") < 0 || !get_bool(one, "begins")
                                            ? "-"
                                            : format_age(age, get_number(one, "expected_ms")));
                render_cell(&table, course(one, text));
        }
        if (get_count(pair, "cases") > 0 && render_print(&table, stdout) < 0)
                return ctl_fail(CTL_FAILED, "out of memory");
        print_reasons(ctl, pair);
        if (strcmp(state, "armed") != 0)
                for (size_t i = 0; i < get_count(pair, "reasons"); i++)
                        printf("  %s  %s\n", i == 0 ? "unarmed" : "       ",
                               json_object_get_string(get_item(pair, "reasons", i)));
        print_notes(ctl, pair);
        return CTL_OK;
}

static int worse(int code, const char *level) {
        if (strcmp(level, "uncovered") == 0)
                return CTL_DEGRADED;
        return strcmp(level, "limited") == 0 && code == CTL_OK ? CTL_LIMITED : code;
}

/* The worst of all pairs and VMs. */
static int verdict(struct json_object *root) {
        int code = CTL_OK;

        for (size_t i = 0; i < get_count(root, "pairs"); i++)
                code = worse(code, get_text(get_item(root, "pairs", i), "level", ""));
        for (size_t i = 0; i < get_count(root, "vms"); i++)
                code = worse(code, get_text(get_item(root, "vms", i), "level", ""));
        return code;
}

int verb_check(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        int r;

        r = ctl_read_json(ctl, "Check", &root, "s", ctl->n_args > 0 ? ctl->args[0] : "");
        if (r != CTL_OK)
                return r;
        if (ctl->json) {
                r = ctl_print_json(root);
                return r != CTL_OK ? r : verdict(root);
        }
        if (!get_bool(root, "ready"))
                printf("%sfailoverd is starting%s: it decides nothing yet.\n", color_begin(ctl, COLOR_WARN),
                       color_end(ctl));
        for (size_t i = 0; i < get_count(root, "pairs"); i++) {
                if (i > 0)
                        putchar('\n');
                r = print_pair(ctl, get_item(root, "pairs", i));
                if (r != CTL_OK)
                        return r;
        }
        for (size_t i = 0; i < get_count(root, "vms"); i++) {
                if (i > 0 || get_count(root, "pairs") > 0)
                        putchar('\n');
                status_vm_print_check(ctl, get_item(root, "vms", i));
        }
        if (get_count(root, "pairs") + get_count(root, "vms") == 0)
                puts("No pair in the policy. Add one: failoverctl policy apply FILE; failoverd-policy(5) has "
                     "examples.");
        return verdict(root);
}
