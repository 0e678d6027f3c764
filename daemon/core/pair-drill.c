/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Drills: asked for by an operator, judged against the pair's recovery-time objective, and remembered. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "policy/worst-case.h"

#define DRILL_WAIT_USEC (60 * USEC_PER_SEC)

const char *drill_verdict(const struct drill_result *result) {
        if (result->ok)
                return "met";
        return result->took_usec != USEC_INFINITY && result->took_usec > result->objective_usec ? "missed" : "failed";
}

/* ---- the verdict ---------------------------------------------------------------------------------------- */

void drill_end(struct step *step, struct drill_result *result, uint64_t command_id) {
        struct pair *pair = step->pair;
        struct action *action;

        result->at_usec = step->engine->real_usec;
        result->objective_usec = pair->policy->objective_usec;
        result->ok = result->ok && result->took_usec <= result->objective_usec;
        action = update_add(step->update, ACTION_DRILL_ENDED, pair->slot, SIDE_INVALID, NO_APP);
        action->drill = *result;
        action->command_id = command_id;
        if (result->level == DRILL_LEVEL_PLAN)
                return; /* nothing was tried: what was tried last stays the latest */
        pair->record.last_drill = *result;
        pair_owner_dirty(pair); /* a power loss must not forget it */
        step_say(step, result->ok ? RECORD_DRILL : RECORD_DRILL_MISSED, SIDE_INVALID, "drill (%s) on %s: %s: %.200s",
                 drill_level_to_string(result->level), pair->policy->name, drill_verdict(result), result->text);
}

void drill_flow_ended(struct step *step, const struct flow *flow, int result, const char *text) {
        struct drill_result drill = { .level = DRILL_LEVEL_FULL, .took_usec = USEC_INFINITY, .number = flow->number };

        if (!flow->drill)
                return;
        if (result == 0 && flow->phase_usec[PHASE_STARTED] && flow->phase_usec[PHASE_FAULT])
                drill.took_usec = flow->phase_usec[PHASE_STARTED] - flow->phase_usec[PHASE_FAULT];
        drill.ok = drill.took_usec != USEC_INFINITY;
        snprintf(drill.text, sizeof(drill.text), "%s", text);
        drill_end(step, &drill, flow->command_id);
}

/* ---- a real fault ---------------------------------------------------------------------------------------- */

static int first_hot(const struct pair *pair, enum side owner) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == owner)
                        return (int) i;
        return NO_APP;
}

static void cause_fault(struct step *step, enum drill_fault fault, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        switch (fault) {
        case DRILL_QEMU_KILL:
                step_act(step, ACTION_KILL, side, NO_APP, &member->kill, USEC_PER_SEC);
                break;
        case DRILL_QEMU_STOP:
                step_act(step, ACTION_STOP_PROCESS, side, NO_APP, &member->kill, USEC_PER_SEC);
                break;
        default: {
                int app = first_hot(pair, side);
                struct message *message = step_send(step, side, MESSAGE_FAULT, app);

                snprintf(message->text, sizeof(message->text), "%s", drill_fault_to_string(fault));
        }
        }
}

/* Nothing is done; the policy's settings say how long it would take at worst. */
static void plan_drill(struct step *step, const struct operator_command *command, enum side from) {
        static const enum worst_case_fault faults[DRILL_FAULT_MAX] = {
                [DRILL_APP_KILL] = WORST_CASE_APPLICATION_EXIT, [DRILL_PANIC] = WORST_CASE_PANIC,
                [DRILL_HANG] = WORST_CASE_GUEST_HANG,           [DRILL_QEMU_KILL] = WORST_CASE_QEMU_GONE,
                [DRILL_QEMU_STOP] = WORST_CASE_QEMU_STOPPED,
        };
        const struct pair_policy *policy = step->pair->policy;
        struct drill_result drill = { .level = DRILL_LEVEL_PLAN, .took_usec = USEC_INFINITY };
        struct worst_case rows[WORST_CASES_MAX];
        size_t n = worst_case_list(policy, rows);

        for (size_t i = 0; i < n; i++)
                if (rows[i].fault == faults[command->fault] &&
                    (rows[i].application < 0 || rows[i].application == first_hot(step->pair, from))) {
                        drill.took_usec = worst_case_total_usec(&rows[i]);
                        snprintf(drill.text, sizeof(drill.text),
                                 "%s: by the policy at most %" PRIu64 " ms to detect and decide, %" PRIu64
                                 " ms expected to recover",
                                 drill_fault_to_string(command->fault),
                                 (rows[i].detect_usec + rows[i].decide_usec) / USEC_PER_MSEC,
                                 rows[i].recover_usec / USEC_PER_MSEC);
                }
        drill.ok = true;
        drill_end(step, &drill, command->id);
        command_plan(step, command, drill_fault_to_string(command->fault), from);
}

void command_drill(struct step *step, const struct operator_command *command) {
        struct pair *pair = step->pair;
        enum side from = pair_active(pair);

        if (command_refusal(pair)) {
                command_reply(step, command->id, -EBUSY, "no drill on %s now: %.150s", pair->policy->name,
                              command_refusal(pair));
                return;
        }
        if (first_hot(pair, from) == NO_APP) {
                command_reply(step, command->id, -ENOENT, "%s has no hot-standby application", pair->policy->name);
                return;
        }
        if (command->dry_run || command->level == DRILL_LEVEL_PLAN) {
                plan_drill(step, command, from);
                return;
        }
        if (command->level == DRILL_LEVEL_REHEARSE) {
                rehearsal_begin(step, command);
                return;
        }
        pair->drill_usec = step->now;
        pair->drill_command_id = command->id;
        step_say(step, RECORD_DRILL, from, "drill on %s by %s: %s", pair->policy->name, command->who,
                 drill_fault_to_string(command->fault));
        cause_fault(step, command->fault, from);
        step->again = true;
}

/* When every application of the active side that has failed since the drill's fault runs again: that long it took;
 * 0 until then. Ones that were not touched do not count. */
static usec_t restarted_in(const struct step *step) {
        const struct pair *pair = step->pair;
        bool any = false;

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct app_state *a = &pair->apps[i];

                if (a->n_restarts == 0 || a->restarts_usec[a->n_restarts - 1] < pair->drill_usec)
                        continue;
                any = true;
                if (a->state[pair->record.apps[i].owner] != APPLICATION_RUNNING)
                        return 0;
        }
        return any ? step->now - pair->drill_usec : 0;
}

/* A drill whose fault was repaired in place, or came to nothing, ends too. */
void advance_drill(struct step *step) {
        struct pair *pair = step->pair;
        struct drill_result drill = { .level = DRILL_LEVEL_FULL, .took_usec = USEC_INFINITY };
        usec_t restarted;

        if (pair->drill_usec == 0)
                return;
        restarted = restarted_in(step);
        if (restarted == 0 && step->now - pair->drill_usec < DRILL_WAIT_USEC) {
                step_wake(step, pair->drill_usec + DRILL_WAIT_USEC);
                return;
        }
        if (restarted) {
                drill.ok = true;
                drill.took_usec = restarted;
                snprintf(drill.text, sizeof(drill.text),
                         "the application was restarted in place after %" PRIu64 " ms: its failure is minor by policy",
                         restarted / USEC_PER_MSEC);
        } else
                snprintf(drill.text, sizeof(drill.text),
                         "the fault led to no failover; failoverctl history says what was seen");
        drill_end(step, &drill, pair->drill_command_id);
        command_reply(step, pair->drill_command_id, restarted ? 0 : -ETIMEDOUT, "%s", drill.text);
        pair->drill_usec = 0;
}
