/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Operators' commands: each ends in success or in a stated refusal. */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/utf8.h"
#include "daemon/core/pair-internal.h"

void command_reply(struct step *step, uint64_t id, int result, const char *format, ...) {
        struct action *action;
        va_list ap;

        if (id == 0)
                return;
        action = update_add(step->update, ACTION_REPLY, step->pair ? step->pair->slot : NO_PAIR, SIDE_INVALID, NO_APP);
        action->command_id = id;
        action->result = result;
        va_start(ap, format);
        vsnprintf(action->text, sizeof(action->text), format, ap);
        va_end(ap);
        utf8_mend(action->text);
}

const char *command_refusal(const struct pair *pair) {
        if (pair->drill_usec)
                return "a drill is under way";
        if (rehearsal_busy(pair))
                return "a rehearsal is under way";
        if (pair->state == PAIR_ARMED)
                return NULL;
        if (pair->state == PAIR_FAILOVER)
                return "a flow is under way";
        return pair->n_reasons ? pair->reasons[0] : "it is not armed";
}

/* One sentence for each application that would move. */
void command_plan(struct step *step, const struct operator_command *command, const char *what, enum side from) {
        struct pair *pair = step->pair;
        char text[EVENT_TEXT_LEN];
        size_t used;

        used = (size_t) snprintf(text, sizeof(text), "%s: %s to %s would move", what, pair_domain(pair, from),
                                 pair_domain(pair, side_other(from)));
        for (size_t i = 0; i < pair->policy->n_applications && used < sizeof(text); i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == from)
                        used += (size_t) snprintf(text + used, sizeof(text) - used, " %s (%" PRIu64 " MiB)",
                                                  pair->policy->applications[i].name,
                                                  pair->policy->applications[i].memory_bytes / MIB);
        command_reply(step, command->id, 0, "%s", text);
}

static void command_move(struct step *step, const struct operator_command *command) {
        struct pair *pair = step->pair;
        bool back = command->verb == COMMAND_RETURN;
        enum side from = back ? SIDE_B : pair_active(pair);
        bool any = false;

        if (command->force) {
                command_force(step, command);
                return;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                any |= pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == from;
        if (!any) {
                command_reply(step, command->id, 0, "nothing to do: %s is where its applications are",
                              pair_domain(pair, side_other(from)));
                return;
        }
        if (command_refusal(pair)) {
                command_reply(step, command->id, -EBUSY, "%s cannot %s now: %.150s", pair->policy->name,
                              command_verb_to_string(command->verb), command_refusal(pair));
                return;
        }
        if (command->dry_run) {
                command_plan(step, command, command_verb_to_string(command->verb), from);
                return;
        }
        flow_begin(step, back ? FLOW_RETURN : FLOW_SWITCH, from, NO_APP, step->now,
                   command->text[0] ? command->text : "asked for by an operator");
        pair->record.flow.command_id = command->id;
}

static void command_pause(struct step *step, const struct operator_command *command) {
        struct record *record = &step->pair->record;

        record->paused = true;
        record->paused_until_usec = command->until_usec;
        snprintf(record->pause_reason, sizeof(record->pause_reason), "%s", command->text);
        pair_owner_dirty(step->pair); /* it survives a power loss too */
        step_say(step, RECORD_PAUSED, SIDE_INVALID, "%s paused by %s%s%.150s", step->pair->policy->name, command->who,
                 command->text[0] ? ": " : "", command->text);
        command_reply(step, command->id, 0, "%s is paused: nothing is done by itself until failoverctl resume",
                      step->pair->policy->name);
        step->again = true;
}

static void command_resume(struct step *step, const struct operator_command *command) {
        struct pair *pair = step->pair;
        struct record *record = &pair->record;

        if (!record->paused && !record->held) {
                command_reply(step, command->id, 0, "nothing to do: %s is neither paused nor held", pair->policy->name);
                return;
        }
        if (record->held && pair->unsettled) {
                command_reply(step, command->id, -EPERM,
                              "who owns the data of %s is not known; failoverctl adopt %s --active DOMAIN says so",
                              pair->policy->name, pair->policy->name);
                return;
        }
        if (record->held && step->engine->pool_short) {
                command_reply(step, command->id, -ENOSPC,
                              "the pool in the policy is smaller than what is granted already; make pool.memory larger "
                              "first (failoverctl policy apply)");
                return;
        }
        record->paused = record->held = false;
        record->pause_reason[0] = record->held_reason[0] = 0;
        record->n_flaps = 0;
        pair->blocked[0] = 0;
        pair_owner_dirty(pair);
        step_say(step, RECORD_RESUMED, SIDE_INVALID, "%s resumed by %s", pair->policy->name, command->who);
        command_reply(step, command->id, 0, "%s is watched again", pair->policy->name);
        step->again = true;
}

/* After a lost store a person says which side owns the data. */
static void command_adopt(struct step *step, const struct operator_command *command) {
        struct pair *pair = step->pair;

        if (!pair->unsettled) {
                command_reply(step, command->id, -EBUSY, "who owns the data of %s is known; use switch to move it",
                              pair->policy->name);
                return;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                pair_renew_token(step, (int) i);
                /* A person's word does not end what may run on the other side. */
                if (pair_is_hot(pair, (int) i) && !pair_side_known(pair, side_other(command->side)))
                        pair->apps[i].state[side_other(command->side)] = APPLICATION_RUNNING;
                pair_adopt(step, (int) i, pair_is_hot(pair, (int) i) ? command->side : SIDE_A);
                app_state_trust(pair, (int) i);
        }
        pair->record.held = false;
        pair->record.held_reason[0] = 0;
        pair->restored = true;
        pair->unsettled = false;
        pair_owner_dirty(pair);
        step_say(step, RECORD_RESUMED, command->side, "%s: %s adopted as owner of the data, by %s", pair->policy->name,
                 pair_domain(pair, command->side), command->who);
        command_reply(step, command->id, 0, "%s owns the data of %s", pair_domain(pair, command->side),
                      pair->policy->name);
        step->again = true;
}

void pair_command(struct step *step, const struct operator_command *command) {
        if (!step->engine->ready) {
                command_reply(step, command->id, -EAGAIN, "failoverd is still starting; try again in a moment");
                return;
        }
        switch (command->verb) {
        case COMMAND_SWITCH:
        case COMMAND_RETURN:
                command_move(step, command);
                break;
        case COMMAND_DRILL:
                command_drill(step, command);
                break;
        case COMMAND_PAUSE:
                command_pause(step, command);
                break;
        case COMMAND_RESUME:
                command_resume(step, command);
                break;
        case COMMAND_ADOPT:
                command_adopt(step, command);
                break;
        default:
                command_reply(step, command->id, -EINVAL, "unknown command");
                break;
        }
}
