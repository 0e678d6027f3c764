/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "daemon/ctl/ctl.h"
#include "daemon/ctl/status-state.h"
#include "daemon/ctl/status-vm.h"
#include "policy/policy.h"

static enum color state_color(const char *state) {
        if (strcmp(state, "armed") == 0)
                return COLOR_GOOD;
        if (strcmp(state, "unprotected") == 0 || strcmp(state, "held") == 0)
                return COLOR_BAD;
        return COLOR_WARN;
}

static const char *state_meaning(const char *state) {
        if (strcmp(state, "armed") == 0)
                return "a failover is possible now";
        if (strcmp(state, "unprotected") == 0)
                return "a failover is NOT possible now";
        if (strcmp(state, "held") == 0)
                return "stopped in a safe state, waits for you";
        if (strcmp(state, "failover") == 0)
                return "under way";
        if (strcmp(state, "starting") == 0)
                return "coming up";
        return "the hypervisor has not told";
}

static void print_head(const struct ctl *ctl, struct json_object *pair) {
        const char *state = get_text(pair, "state", "unknown");
        char since[FORMAT_MAX], age[FORMAT_MAX];

        printf("%s%s%s: %s%s%s", color_begin(ctl, COLOR_BOLD), get_text(pair, "name", "?"), color_end(ctl),
               color_begin(ctl, state_color(state)), state, color_end(ctl));
        if (get_number(pair, "state_age_ms") >= 0)
                printf(" since %s (%s)", format_time(since, get_number(pair, "state_since_ms")),
                       format_age(age, get_number(pair, "state_age_ms")));
        printf(": %s%s\n", state_meaning(state), get_bool(pair, "split") ? "; applications run on both sides" : "");
}

static void print_member(const struct ctl *ctl, struct json_object *member) {
        const char *state = get_text(member, "state.state", "unknown"),
                   *verdict = get_text(member, "verdict", "unknown");
        bool running = strcmp(state, "running") == 0;
        char age[FORMAT_MAX];

        printf("  %-8s %s: %s%s%s", get_text(member, "role", "?"), get_text(member, "domain", "?"),
               running ? "" : color_begin(ctl, COLOR_WARN), state, running ? "" : color_end(ctl));
        if (!running && get_number(member, "state.age_ms") >= 0)
                printf(" (%s, %s ago)", get_text(member, "state.reason", "unknown"),
                       format_age(age, get_number(member, "state.age_ms")));
        if (get_bool(member, "agent.connected") && get_bool(member, "agent.greeted"))
                printf(", %s, last beat %s ago, agent %s on %s", verdict,
                       format_age(age, get_number(member, "agent.last_beat_age_ms")),
                       get_text(member, "agent.version", "?"), get_text(member, "agent.system", "?"));
        else if (running)
                printf(", %sagent not connected%s", color_begin(ctl, COLOR_WARN), color_end(ctl));
        putchar('\n');
        if (strcmp(get_text(member, "fence.state", "none"), "none") != 0)
                printf("           fence: %s (%s ago)\n", get_text(member, "fence.state", "?"),
                       format_age(age, get_number(member, "fence.age_ms")));
        if (get_text(member, "failure.text", NULL))
                printf("           %sfailed%s %s ago: %s\n", color_begin(ctl, COLOR_BAD), color_end(ctl),
                       format_age(age, get_number(member, "failure.age_ms")), get_text(member, "failure.text", ""));
        if (get_text(member, "going.kind", NULL))
                printf("           announced its %s %s ago\n", get_text(member, "going.kind", ""),
                       format_age(age, get_number(member, "going.age_ms")));
}

/* State of the application on the side that owns it. */
static const char *owner_state(struct json_object *application) {
        const char *owner = get_text(application, "owner.side", "");

        for (size_t i = 0; i < get_count(application, "sides"); i++)
                if (strcmp(get_text(get_item(application, "sides", i), "side", ""), owner) == 0)
                        return get_text(get_item(application, "sides", i), "state", "unknown");
        return "unknown";
}

static void print_application(const struct ctl *ctl, struct json_object *pair, struct json_object *application) {
        bool hot = strcmp(get_text(application, "kind", ""), "hot-standby") == 0;
        const char *owner = get_text(application, "owner.domain", "?"), *state = owner_state(application);
        const char *other = "?";
        char size[FORMAT_MAX];

        for (size_t i = 0; i < get_count(pair, "members"); i++)
                if (strcmp(get_text(get_item(pair, "members", i), "domain", ""), owner) != 0)
                        other = get_text(get_item(pair, "members", i), "domain", "?");
        printf("  %-8s %s on %s, %s%s%s, %s, ", get_text(application, "name", "?"),
               strcmp(state, "unknown") == 0 ? "state not known" : state, owner,
               get_bool(application, "healthy") ? "" : color_begin(ctl, COLOR_WARN),
               get_bool(application, "healthy") ? "healthy" : "not known to be healthy",
               get_bool(application, "healthy") ? "" : color_end(ctl),
               format_mib(size, get_number(application, "memory_bytes")));
        if (hot)
                printf("fails over to %s", other);
        else
                printf("%s, memory returns to the monitor", get_text(application, "kind", "plain"));
        printf(", %d/%d restarts left\n", (int) get_number(application, "restarts_left"),
               (int) get_number(application, "restart_budget"));
        if (hot && !get_bool(application, "exclusive"))
                puts("           has no disk, address or state of its own: that it runs only once is its guest's word");
        if (get_text(application, "failure", NULL))
                printf("           last failure: %s\n", get_text(application, "failure", ""));
        if (get_text(application, "refusal", NULL))
                printf("           not started, memory refused: %s\n", get_text(application, "refusal", ""));
        if (get_text(application, "state_refusal", NULL))
                printf("           %snot started%s for %s, its state is not its own to write: %s\n",
                       color_begin(ctl, COLOR_BAD), color_end(ctl),
                       format_age(size, get_number(application, "state_refusal_age_ms")),
                       get_text(application, "state_refusal", ""));
        status_state_print(application);
}

static void print_flow(const struct ctl *ctl, struct json_object *pair) {
        struct json_object *flow = get_object(pair, "flow"), *last = get_object(pair, "last_flow"), *phase;
        char age[FORMAT_MAX], time[FORMAT_MAX];
        const char *id;

        if (flow) {
                phase = get_item(flow, "phases", get_count(flow, "phases") - 1);
                printf("  %snow%s      %s %s: %s -> %s, %s reached %s ago; %s\n", color_begin(ctl, COLOR_BOLD),
                       color_end(ctl), get_text(flow, "kind", "?"), get_text(flow, "id", "?"),
                       get_text(flow, "from.domain", "?"), get_text(flow, "to.domain", "?"),
                       get_text(phase, "phase", "nothing"), format_age(age, get_number(phase, "age_ms")),
                       get_text(flow, "cause", "cause not recorded"));
                return;
        }
        if (!last)
                return;
        id = get_text(last, "id", "?");
        printf("  last     %s %s, %s ago: %s -> %s, ", get_text(last, "kind", "?"), id,
               format_age(age, get_number(get_item(last, "phases", 0), "age_ms")), get_text(last, "from.domain", "?"),
               get_text(last, "to.domain", "?"));
        if (get_number(last, "recovery_usec") >= 0)
                printf("recovered in %s\n", format_seconds(time, get_number(last, "recovery_usec")));
        else
                printf("%sstarted nothing there%s; failoverctl history %s\n", color_begin(ctl, COLOR_WARN),
                       color_end(ctl), id);
}

static void print_readiness(const struct ctl *ctl, struct json_object *pair) {
        struct json_object *readiness = get_object(pair, "readiness");
        bool covered = strcmp(get_text(readiness, "level", ""), "covered") == 0;
        bool armed = strcmp(get_text(pair, "state", ""), "armed") == 0;

        if (!readiness || get_number(readiness, "failures") == 0)
                return;
        printf("  check    %s%d of %d single failures are covered%s", covered ? "" : color_begin(ctl, COLOR_WARN),
               (int) get_number(readiness, "covered"), (int) get_number(readiness, "failures"),
               covered ? "" : color_end(ctl));
        if (!covered && armed)
                printf(": %s", get_text(readiness, "why", "not armed"));
        printf(covered ? "\n" : "; failoverctl check %s\n", get_text(pair, "name", "?"));
}

static void print_drill(const struct ctl *ctl, struct json_object *pair) {
        struct json_object *drill = get_object(pair, "last_drill"), *rehearsal = get_object(pair, "rehearsal");
        char age[FORMAT_MAX], size[FORMAT_MAX];

        if (rehearsal)
                printf("  %snow%s      rehearsal on %s: %s for %s, %s granted\n", color_begin(ctl, COLOR_BOLD),
                       color_end(ctl), get_text(rehearsal, "standby.domain", "?"), get_text(rehearsal, "state", "?"),
                       format_age(age, get_number(rehearsal, "age_ms")),
                       format_mib(size, get_number(rehearsal, "bytes")));
        if (!drill)
                return;
        printf("  drill    %s, %s ago: ", get_text(drill, "level", "?"), format_age(age, get_number(drill, "age_ms")));
        print_verdict(ctl, drill);
        putchar('\n');
}

/* What to do where the reasons alone do not say: by what is wrong. Returns how many lines it printed. */
static unsigned print_hints(struct json_object *root, struct json_object *pair) {
        const char *name = get_text(pair, "name", "?");
        unsigned n = 0;

        if (get_object(pair, "held"))
                n += printf("  do       see that the state is as you want it, then: failoverctl resume %s\n", name) > 0;
        if (get_object(pair, "paused"))
                n += printf("  do       failoverctl resume %s\n", name) > 0;
        if (!get_bool(root, "hypervisor.up"))
                n += printf("  do       see why %s does not answer: systemctl status libvirtd virtqemud\n",
                            get_text(root, "hypervisor.uri", "the hypervisor")) > 0;
        if (get_bool(root, "store.lost"))
                n += printf("  do       say who owns the data: failoverctl adopt %s --active DOMAIN\n", name) > 0;
        for (size_t i = 0; i < get_count(pair, "findings"); i++) {
                struct json_object *finding = get_item(pair, "findings", i);

                if (!get_bool(finding, "advice"))
                        n += printf("  do       %s: %s -- %s\n", get_text(finding, "domain", "?"),
                                    get_text(finding, "text", ""), get_text(finding, "mend", "")) > 0;
        }
        for (size_t i = 0; i < get_count(pair, "members"); i++) {
                struct json_object *member = get_item(pair, "members", i);
                const char *domain = get_text(member, "domain", "?"), *state = get_text(member, "state.state", "");

                if (get_bool(member, "operator_hold"))
                        n += printf("  do       %s was %s by an operator, failoverd leaves it alone: virsh %s %s\n",
                                    domain, state, strcmp(state, "paused") == 0 ? "resume" : "start", domain) > 0;
                else if (strcmp(state, "running") == 0 && !get_bool(member, "agent.connected"))
                        n += printf("  do       see in %s why failover-agent is not connected: journalctl -u "
                                    "failover-agent\n", domain) > 0;
        }
        return n;
}

/* A finding stands with what to do about it (print_hints()). The reason may be cut short. */
static bool is_finding(struct json_object *pair, const char *reason) {
        for (size_t i = 0; i < get_count(pair, "findings"); i++) {
                struct json_object *finding = get_item(pair, "findings", i);
                const char *domain = get_text(finding, "domain", "?");
                size_t n = strlen(domain);

                if (!get_bool(finding, "advice") && strncmp(reason, domain, n) == 0 &&
                    strncmp(reason + n, ": ", 2) == 0 && reason[n + 2] &&
                    strncmp(get_text(finding, "text", ""), reason + n + 2, strlen(reason + n + 2)) == 0)
                        return true;
        }
        return false;
}

static void print_reasons(struct json_object *root, struct json_object *pair) {
        char until[FORMAT_MAX];

        if (get_object(pair, "held"))
                printf("  why      held: %s\n", get_text(pair, "held.reason", "no reason recorded"));
        if (get_object(pair, "paused")) {
                printf("  why      paused%s", get_number(pair, "paused.until_ms") < 0 ? "" : " until ");
                if (get_number(pair, "paused.until_ms") >= 0)
                        fputs(format_time(until, get_number(pair, "paused.until_ms")), stdout);
                printf(": %s\n", get_text(pair, "paused.reason", "no reason given"));
        }
        for (size_t i = 0; i < get_count(pair, "reasons"); i++) {
                const char *reason = json_object_get_string(get_item(pair, "reasons", i));

                if ((get_object(pair, "held") && strncmp(reason, "held", 4) == 0) ||
                    (get_object(pair, "paused") && strncmp(reason, "paused", 6) == 0))
                        continue; /* said above, with its end */
                if (is_finding(pair, reason))
                        continue; /* said below, with what to do */
                printf("  why      %s\n", reason);
        }
        if (get_text(pair, "blocked", NULL))
                printf("  why      no failover: %s\n", get_text(pair, "blocked", ""));
        if (print_hints(root, pair) == 0 && get_count(pair, "reasons") > 0)
                printf("  do       nothing yet, failoverd works on it; if it stays: failoverctl history %s\n",
                       get_text(pair, "name", "?"));
}

static void print_pair(const struct ctl *ctl, struct json_object *root, struct json_object *pair) {
        print_head(ctl, pair);
        if (strcmp(get_text(pair, "state", ""), "armed") != 0 || get_object(pair, "paused"))
                print_reasons(root, pair);
        for (int pass = 0; pass < 2; pass++) /* the active one first */
                for (size_t i = 0; i < get_count(pair, "members"); i++) {
                        struct json_object *member = get_item(pair, "members", i);

                        if ((strcmp(get_text(member, "role", ""), "active") == 0) == (pass == 0))
                                print_member(ctl, member);
                }
        for (size_t i = 0; i < get_count(pair, "applications"); i++)
                print_application(ctl, pair, get_item(pair, "applications", i));
        print_readiness(ctl, pair);
        print_flow(ctl, pair);
        print_drill(ctl, pair);
}

/* What concerns all pairs, only where it is not as it should be. */
static void print_daemon(const struct ctl *ctl, struct json_object *root) {
        char age[FORMAT_MAX];

        if (!get_bool(root, "failoverd.ready"))
                printf("%sfailoverd is starting%s: it decides nothing yet.\n", color_begin(ctl, COLOR_WARN),
                       color_end(ctl));
        if (!get_bool(root, "hypervisor.up") && get_number(root, "hypervisor.age_ms") < 0)
                printf("%sThe hypervisor %s has not answered so far.%s\n", color_begin(ctl, COLOR_BAD),
                       get_text(root, "hypervisor.uri", "(none)"), color_end(ctl));
        else if (!get_bool(root, "hypervisor.up"))
                printf("%sThe hypervisor %s does not answer%s since %s; what follows is at least that old.\n",
                       color_begin(ctl, COLOR_BAD), get_text(root, "hypervisor.uri", "(none)"), color_end(ctl),
                       format_age(age, get_number(root, "hypervisor.age_ms")));
        if (get_object(root, "failoverd.policy_taken") && !get_bool(root, "failoverd.policy_taken")) {
                printf("%sThe policy file is refused%s, and the policy that was in force last stays so: correct %s, "
                       "then: failoverctl policy apply FILE\n", color_begin(ctl, COLOR_BAD), color_end(ctl),
                       get_text(root, "failoverd.policy", "it"));
                for (size_t i = 0; i < get_count(root, "failoverd.policy_refused"); i++)
                        printf("  why      %s\n",
                               json_object_get_string(get_item(root, "failoverd.policy_refused", i)));
        }
        if (get_bool(root, "store.lost"))
                printf("%sThe store was lost%s: failoverd does not know who owned the data.\n",
                       color_begin(ctl, COLOR_BAD), color_end(ctl));
        else if (get_object(root, "store.up") && !get_bool(root, "store.up"))
                printf("%sThe store does not work%s since %s: %s\n", color_begin(ctl, COLOR_BAD), color_end(ctl),
                       format_age(age, get_number(root, "store.age_ms")), get_text(root, "store.error", ""));
}

/* What an armed pair's domains lack, and, where one pair is looked at closely, what could be better. */
static void print_findings(struct json_object *pair, bool armed, bool closely) {
        for (size_t i = 0; i < get_count(pair, "findings"); i++) {
                struct json_object *finding = get_item(pair, "findings", i);
                bool advice = get_bool(finding, "advice");

                if (advice ? closely : armed)
                        printf("  %-8s %s: %s -- %s\n", advice ? "advice" : "lacks",
                               get_text(finding, "domain", "?"), get_text(finding, "text", ""),
                               get_text(finding, "mend", ""));
        }
}

/* Leaves only that one in a list of the document. */
static size_t keep(struct json_object *root, const char *list, const char *key, const char *name) {
        struct json_object *kept = json_object_new_array();

        for (size_t i = 0; kept && i < get_count(root, list); i++)
                if (strcmp(get_text(get_item(root, list, i), key, ""), name) == 0)
                        json_object_array_add(kept, json_object_get(get_item(root, list, i)));
        json_object_object_add(root, list, kept);
        return get_count(root, list);
}

/* Leaves only the pair or VM that was asked for in the document. False where there is none. */
static bool keep_wanted(struct json_object *root, const char *name) {
        return keep(root, "pairs", "name", name) + keep(root, "vms", "domain", name) > 0;
}

static bool is_armed(struct json_object *one) {
        return strcmp(get_text(one, "state", ""), "armed") == 0 && !get_object(one, "paused");
}

/* Returns how many are not armed. */
static unsigned show_vms(const struct ctl *ctl, struct json_object *root) {
        unsigned degraded = 0;

        for (size_t i = 0; i < get_count(root, "vms"); i++) {
                struct json_object *vm = get_item(root, "vms", i);

                degraded += !is_armed(vm);
                if (ctl->json)
                        continue;
                if (i > 0 || get_count(root, "pairs") > 0)
                        putchar('\n');
                status_vm_print(ctl, vm);
        }
        return degraded;
}

int verb_status(struct ctl *ctl) {
        _cleanup_json_ struct json_object *root = NULL;
        const char *wanted = ctl->n_args > 0 ? ctl->args[0] : NULL;
        unsigned degraded = 0;
        int r;

        r = ctl_read_json(ctl, "Describe", &root, NULL);
        if (r != CTL_OK)
                return r;
        if (wanted && !keep_wanted(root, wanted))
                return ctl_fail(CTL_FAILED, "no pair is called \"%s\"; `failoverctl status` lists them", wanted);
        if (ctl->json) {
                ctl_print_json(root);
        } else {
                status_state_ask(ctl, root);
                print_daemon(ctl, root);
        }
        for (size_t i = 0; i < get_count(root, "pairs"); i++) {
                struct json_object *pair = get_item(root, "pairs", i);
                bool armed = is_armed(pair);

                degraded += !armed;
                if (ctl->json)
                        continue;
                if (i > 0)
                        putchar('\n');
                print_pair(ctl, root, pair);
                print_findings(pair, armed, wanted != NULL);
        }
        degraded += show_vms(ctl, root);
        if (!ctl->json && get_count(root, "pairs") + get_count(root, "vms") == 0)
                puts("No pair in the policy. Add one: failoverctl policy apply FILE; failoverd-policy(5) has "
                     "examples.");
        return degraded > 0 ? CTL_DEGRADED : CTL_OK;
}
