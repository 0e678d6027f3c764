/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Why failoverd fails a pair over, or does not; or why it did. */

#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/status-vm.h"

#define DECISIONS_MAX 10  /* shown for a pair */
#define EVENTS_ASKED 1000 /* the most that are given out */

/* Decisions, and what they came from; the rest of history is what was done. */
static bool is_decision(struct json_object *event) {
        static const char *const kinds[] = { "ignored", "refused", "suspected", "cleared",
                                             "decided", "held",    "doubt",     "fence-failed" };

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (strcmp(get_text(event, "kind", ""), kinds[i]) == 0)
                        return true;
        return false;
}

/* ---- what is believed ------------------------------------------------------------------------------------------ */

static void print_paths(struct json_object *member) {
        char age[FORMAT_MAX], limit[FORMAT_MAX];

        for (size_t i = 0; i < get_count(member, "second_paths"); i++) {
                struct json_object *path = get_item(member, "second_paths", i);

                if (get_number(path, "age_ms") < 0)
                        printf(", %s never heard", get_text(path, "path", "?"));
                else
                        printf(", %s heard %s ago", get_text(path, "path", "?"),
                               format_age(age, get_number(path, "age_ms")));
                if (get_bool(path, "counts"))
                        printf(" (counts; limit %s)", format_age(limit, get_number(path, "limit_ms")));
        }
}

static void print_processor(struct json_object *member) {
        int64_t used = get_number(member, "processor.used_ms"), within = get_number(member, "processor.within_ms");
        char age[FORMAT_MAX], span[FORMAT_MAX];

        if (within > 0)
                printf(", used %d %% of a processor within %s (%s ago)", (int) (used * 100 / within),
                       format_age(span, within), format_age(age, get_number(member, "processor.age_ms")));
}

static void print_member(const struct ctl *ctl, struct json_object *member) {
        char age[FORMAT_MAX], limit[FORMAT_MAX];

        printf("  %s%s%s (%s): %s\n", color_begin(ctl, COLOR_BOLD), get_text(member, "domain", "?"), color_end(ctl),
               get_text(member, "role", "?"), get_text(member, "rule", "nothing is known"));
        printf("    seen   %s (%s, told %s ago), process %s", get_text(member, "state.state", "unknown"),
               get_text(member, "state.reason", "unknown"), format_age(age, get_number(member, "state.age_ms")),
               !get_object(member, "process.alive") ? "unknown"
               : get_bool(member, "process.alive")  ? "alive"
                                                    : "gone");
        if (get_bool(member, "beats.watched"))
                printf(", %d of %d beats missed (last answer %s ago, limit %s)",
                       (int) get_number(member, "beats.missed"), (int) get_number(member, "beats.missed_limit"),
                       format_age(age, get_number(member, "beats.last_age_ms")),
                       format_age(limit, get_number(member, "beats.limit_ms")));
        else
                printf(", agent %s", get_bool(member, "agent.greeted")     ? "greeted, not watched"
                                     : get_bool(member, "agent.connected") ? "connected, not greeted"
                                                                           : "not connected");
        print_paths(member);
        print_processor(member);
        putchar('\n');
        if (get_text(member, "tips", NULL))
                printf("    tips   %s\n", get_text(member, "tips", ""));
}

static void print_application(const struct ctl *ctl, struct json_object *application) {
        printf("  %s%s%s (%s): %s\n", color_begin(ctl, COLOR_BOLD), get_text(application, "name", "?"), color_end(ctl),
               get_text(application, "kind", "?"), get_text(application, "rule", "nothing is known"));
        printf("    seen   %d of %d restarts used%s%s\n", (int) get_number(application, "restarts_used"),
               (int) get_number(application, "restart_budget"),
               get_text(application, "failure", NULL) ? ", last failure: " : "", get_text(application, "failure", ""));
        if (get_text(application, "tips", NULL))
                printf("    tips   %s\n", get_text(application, "tips", ""));
}

static void print_beliefs(const struct ctl *ctl, struct json_object *root) {
        if (get_text(root, "doubt.text", NULL))
                printf("  %sdoubt%s: %s\n", color_begin(ctl, COLOR_WARN), color_end(ctl),
                       get_text(root, "doubt.text", ""));
        for (size_t i = 0; i < get_count(root, "members"); i++)
                print_member(ctl, get_item(root, "members", i));
        for (size_t i = 0; i < get_count(root, "applications"); i++)
                print_application(ctl, get_item(root, "applications", i));
}

/* ---- now
 * ----------------------------------------------------------------------------------------------------------- */

/* Adds the latest decisions of the pair to the document. History that cannot be read leaves them out. */
static int add_decisions(struct ctl *ctl, struct json_object *root) {
        _cleanup_json_ struct json_object *history = NULL;
        struct json_object *decisions = json_object_new_array();
        int r;

        json_object_object_add(root, "decisions", decisions);
        r = ctl_read_json(ctl, "GetHistory", &history, "su", get_text(root, "pair", ""), (uint32_t) EVENTS_ASKED);
        if (r != CTL_OK)
                return r;
        for (size_t i = 0; i < get_count(history, "events") && get_count(root, "decisions") < DECISIONS_MAX; i++)
                if (is_decision(get_item(history, "events", i)))
                        json_object_array_add(decisions, json_object_get(get_item(history, "events", i)));
        return CTL_OK;
}

static int explain_now(struct ctl *ctl, struct json_object *root) {
        char age[FORMAT_MAX];
        int r = add_decisions(ctl, root);

        if (ctl->json) {
                ctl_print_json(root);
                return r;
        }
        printf("%s%s%s: %s for %s%s%s\n", color_begin(ctl, COLOR_BOLD), get_text(root, "pair", "?"), color_end(ctl),
               get_text(root, "state", "?"), format_age(age, get_number(root, "state_age_ms")),
               get_text(root, "blocked", NULL) ? "; no failover: " : "", get_text(root, "blocked", ""));
        print_beliefs(ctl, root);
        if (get_count(root, "decisions") > 0)
                puts("Latest decisions, and decisions not to act:");
        print_events(root, "decisions");
        return r;
}

/* ---- a failover
 * ----------------------------------------------------------------------------------------------------- */

static int explain_failover(struct ctl *ctl, struct json_object *root) {
        struct json_object *flow = get_item(root, "flows", 0), *then = get_object(root, "explanation");
        char time[FORMAT_MAX], age[FORMAT_MAX];

        if (ctl->json)
                return ctl_print_json(root);
        printf("%s%s%s: %s, %s -> %s%s\n", color_begin(ctl, COLOR_BOLD), get_text(flow, "id", "?"), color_end(ctl),
               get_text(flow, "kind", "?"), get_text(flow, "from.domain", get_text(flow, "from.side", "?")),
               get_text(flow, "to.domain", get_text(flow, "to.side", "?")), get_bool(flow, "drill") ? ", a drill" : "");
        printf("  began    %s (%s ago)\n", format_time(time, get_number(flow, "begun_ms")),
               format_age(age, get_number(flow, "age_ms")));
        printf("  cause    %s\n", get_text(flow, "cause", "not recorded"));
        if (then) {
                json_object_object_add(flow, "objective_ms", json_object_get(get_object(then, "objective_ms")));
                puts("What was believed when it was decided:");
                print_beliefs(ctl, then);
        } else
                puts("What was believed when it was decided was not kept.");
        puts("What followed:");
        print_timeline(ctl, flow);
        printf("  outcome  %s%s%s\n", !get_object(flow, "ok") ? "under way" : get_bool(flow, "ok") ? "ok" : "failed",
               get_text(flow, "text", NULL) ? ": " : "", get_text(flow, "text", ""));
        if (get_count(root, "events") > 0)
                puts("Events:");
        print_events(root, "events");
        print_evidence(root);
        return CTL_OK;
}

/* ---- a VM that stands alone ---- */

static struct json_object *find_vm(struct json_object *root, const char *domain) {
        for (size_t i = 0; i < get_count(root, "vms"); i++)
                if (strcmp(get_text(get_item(root, "vms", i), "domain", ""), domain) == 0)
                        return get_item(root, "vms", i);
        return NULL;
}

static int explain_vm(struct ctl *ctl, struct json_object *vm, struct json_object *history) {
        if (ctl->json) {
                json_object_object_add(history, "vm", json_object_get(vm));
                return ctl_print_json(history);
        }
        status_vm_print(ctl, vm);
        if (get_count(history, "events") > 0)
                puts("Latest decisions, and what came of them:");
        print_events(history, "events");
        return CTL_OK;
}

static bool has_pair(struct json_object *root, const char *name) {
        for (size_t i = 0; i < get_count(root, "pairs"); i++)
                if (strcmp(get_text(get_item(root, "pairs", i), "name", ""), name) == 0)
                        return true;
        return false;
}

int verb_explain(struct ctl *ctl) {
        _cleanup_json_ struct json_object *now = NULL, *root = NULL;
        const char *id = ctl->args[0];
        struct json_object *vm;
        bool is_pair;
        int r;

        r = ctl_read_json(ctl, "Describe", &now, NULL);
        if (r != CTL_OK)
                return r;
        is_pair = has_pair(now, id);
        vm = is_pair ? NULL : find_vm(now, id);
        r = is_pair ? ctl_read_json(ctl, "Explain", &root, "s", id)
                    : ctl_read_json(ctl, "GetHistory", &root, "su", id, (uint32_t) EVENTS_ASKED);
        if (r != CTL_OK)
                return r;
        if (is_pair)
                return explain_now(ctl, root);
        if (vm)
                return explain_vm(ctl, vm, root);
        if (get_count(root, "flows") == 0)
                return ctl_fail(CTL_FAILED, "\"%s\" is neither a pair, nor a VM that stands alone, nor a failover; "
                                "failoverctl history lists them", id);
        return explain_failover(ctl, root);
}
