/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a run shows: faults, decisions and actions of weight with their milliseconds, the table at the end. */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/core/explain.h"
#include "daemon/replay/describe.h"
#include "daemon/replay/engine-print.h"
#include "daemon/sim/world.h"

static bool shown(const struct sim *sim) {
        return sim->out && !sim->options->quiet && sim_since(sim) >= sim->timeline.show_from_usec;
}

void print_line(struct sim *sim, const char *format, ...) {
        va_list ap;

        if (!shown(sim))
                return;
        fprintf(sim->out, "%8" PRIu64 " ", sim_since(sim) / USEC_PER_MSEC);
        va_start(ap, format);
        vfprintf(sim->out, format, ap);
        va_end(ap);
        fputc('\n', sim->out);
}

/* Only what weighs: no heartbeats, looks or wakes. */
void print_action(struct sim *sim, const struct action *action) {
        const struct pair_policy *policy = action->pair >= 0 ? sim_policy(sim, action->pair) : NULL;
        char text[DESCRIBE_LEN];

        if (shown(sim) &&
            describe_action(action, action->pair >= 0 ? sim->pairs[action->pair].name : NULL, policy, text))
                print_line(sim, "%s", text);
}

void print_states(struct sim *sim, int slot) {
        for (int i = slot < 0 ? 0 : slot; sim->engine && i < sim->engine->n_pairs && i < sim->n_pairs; i++) {
                const struct pair *pair = sim->engine->pairs[i];

                if (slot >= 0 && i != slot)
                        break;
                if (!pair)
                        continue;
                if (pair->state != sim->pairs[i].seen.pair)
                        print_line(sim, "%-10s %s -> %s", pair->policy->name,
                                   pair_state_to_string(sim->pairs[i].seen.pair), pair_state_to_string(pair->state));
                transitions_note(&sim->result.transitions, &sim->pairs[i].seen, pair);
        }
}

static void print_sentences(struct sim *sim, const char *name, const char *rule, const char *tip) {
        print_line(sim, "%-10s   %s: %s", "", name, rule);
        if (tip[0])
                print_line(sim, "%-10s     tips: %s", "", tip);
}

void print_explanation(struct sim *sim, int slot) {
        const struct pair *pair = sim->engine ? sim->engine->pairs[slot] : NULL;
        struct explanation explanation;

        if (!pair || !shown(sim))
                return;
        explain_pair(sim->engine, pair, sim->engine->now_usec, &explanation);
        if (explanation.doubt[0])
                print_line(sim, "%-10s   doubt: %s", "", explanation.doubt);
        for (enum side side = 0; side < SIDE_MAX; side++)
                print_sentences(sim, pair->policy->members[side].domain, explanation.members[side].rule,
                                explanation.members[side].tip);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                print_sentences(sim, pair->policy->applications[i].name, explanation.apps[i].rule,
                                explanation.apps[i].tip);
}

static void print_hand_memory(struct sim *sim, const struct pair *pair, size_t app) {
        for (enum side side = 0; side < SIDE_MAX; side++) {
                const struct assigned *assigned = &pair->record.assigned[side];
                char start[UNITS_TEXT_MAX], end[UNITS_TEXT_MAX];

                fprintf(sim->out, "  %s: %s manages", pair->policy->applications[app].name,
                        pair->policy->members[side].domain);
                for (unsigned i = 0; i < assigned->n_spans; i++)
                        fprintf(sim->out, " %s-%s", size_format(start, assigned->spans[i].start),
                                size_format(end, assigned->spans[i].end));
                fprintf(sim->out, "%s; in the world it has %" PRIu64 " MiB\n", assigned->n_spans ? "" : " nothing",
                        sim->pairs[pair->slot].vms[side].plugged[app] / MIB);
        }
}

static void print_pair(struct sim *sim, const struct pair *pair) {
        engine_print_pair(pair, sim->out);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct record_app *app = &pair->record.apps[i];
                const struct sim_vm *vms = sim->pairs[pair->slot].vms;

                if (pair_policy_find_memory(pair->policy) == (int) i) {
                        print_hand_memory(sim, pair, i);
                        continue;
                }
                fprintf(sim->out, "  %s: owner %s, token %" PRIu64 "%s; in the world %s on %s, %s on %s\n", app->name,
                        pair->policy->members[app->owner].domain, app->token, app->ended ? ", ended" : "",
                        application_state_to_string(vms[SIDE_A].apps[i].state), pair->policy->members[SIDE_A].domain,
                        application_state_to_string(vms[SIDE_B].apps[i].state), pair->policy->members[SIDE_B].domain);
        }
}

void print_end(struct sim *sim) {
        if (!sim->out || sim->options->quiet)
                return;
        print_line(sim, "end");
        if (!sim->engine) {
                fprintf(sim->out, "\nfailoverd does not run\n");
                return;
        }
        engine_print_table(sim->engine, sim->out);
        for (int i = 0; i < sim->engine->n_pairs; i++)
                if (sim->engine->pairs[i])
                        print_pair(sim, sim->engine->pairs[i]);
}
