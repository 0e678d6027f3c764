/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One VM that must not act any more is fenced; what makes that certain is QEMU's word that it stands still, or its
 * process that is gone. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

/* A freeze takes a few milliseconds; a QEMU that has not answered by then is ended without asking. */
#define FREEZE_DEADLINE_USEC (100 * USEC_PER_MSEC)
#define KILL_DEADLINE_USEC (1 * USEC_PER_SEC)
#define KILL_AGAIN_USEC (1 * USEC_PER_SEC)
/* How long fencing waits for the intent to be written before it goes ahead: the write takes well under a
 * millisecond unless something is very wrong. */
#define INTENT_WAIT_USEC (50 * USEC_PER_MSEC)
#define FENCE_UNCONFIRMED_USEC (5 * USEC_PER_SEC)

void fence_enter(struct step *step, enum side side, enum fence_state state) {
        struct member_state *member = &step->pair->members[side];

        if (member->fence == state)
                return;
        member->fence = state;
        member->fence_usec = step->now;
        member->fence_late = false;
        step->again = step->changed = true;
        if (state == FENCE_GONE && member_is_gone(member))
                step_say(step, RECORD_FENCED, side, "%s is fenced: its process is gone", pair_domain(step->pair, side));
}

static void fence_kill(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];

        /* The signal was taken; the process takes a while to go. */
        if (member->kill.failures == 0 && member->kill.sent_usec >= member->fence_usec &&
            step->now - member->kill.sent_usec < KILL_AGAIN_USEC) {
                step_wake(step, member->kill.sent_usec + KILL_AGAIN_USEC);
                return;
        }
        if (!request_free(step, &member->kill))
                return;
        step_act(step, ACTION_KILL, side, NO_APP, &member->kill, KILL_DEADLINE_USEC);
}

/* What tells why it failed is kept before the fence destroys it; of a VM that fails without a failover, the latest. */
static void keep_evidence(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct action *action = update_add(step->update, ACTION_EVIDENCE, pair->slot, side, NO_APP);
        char id[FAILOVER_ID_LEN];

        if (pair_flow_active(pair) && pair->record.flow.from == side)
                snprintf(action->text, sizeof(action->text), "%s", flow_id(pair->policy, &pair->record.flow, id));
        else
                snprintf(action->text, sizeof(action->text), "%s+%s", pair->policy->name, pair_domain(pair, side));
}

void member_fence(struct step *step, enum side side) {
        struct pair *pair = step->pair;

        if (pair->record.fence_wanted[side])
                return;
        pair->record.fence_wanted[side] = true;
        pair->members[side].fence_usec = step->now;
        keep_evidence(step, side);
        pair_dirty(pair);
        step->again = true;
}

static void fence_begin(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!pair_step_safe(pair)) {
                usec_t until = member->fence_usec + INTENT_WAIT_USEC;

                if (step->now < until) {
                        step_wake(step, until);
                        return;
                }
                /* Found frozen after a crash it would look as if an operator had suspended it. Found gone, or as it is,
                 * it is no riddle. */
                fence_enter(step, side, FENCE_KILLING);
                return;
        }
        if (!request_free(step, &member->freeze))
                return;
        step_act(step, ACTION_FREEZE, side, NO_APP, &member->freeze, FREEZE_DEADLINE_USEC);
        fence_enter(step, side, FENCE_FREEZING);
}

bool member_stated_dead(const struct pair *pair, enum side side) {
        int stated = pair->record.fence_stated[side], pid = pair->members[side].pid;

        return stated > 0 && (pid == 0 || pid == stated);
}

/* True when there is nothing to wait for: the process is seen to be gone, or a person's word for it is kept. Until it
 * is kept a crash would forget it, with the application running on the other side already. */
static bool fence_done(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (member_is_gone(member)) {
                if (pair->record.fence_stated[side]) {
                        if (member->fence == FENCE_GONE)
                                step_say(step, RECORD_FENCED, side, "%s: its process is gone now, as was stated",
                                         pair_domain(pair, side));
                        pair->record.fence_stated[side] = 0;
                        pair_dirty(pair);
                }
                fence_enter(step, side, FENCE_GONE);
                return true;
        }
        if (!member_stated_dead(pair, side) || (member->fence != FENCE_GONE && !pair_step_safe(pair)))
                return false;
        fence_enter(step, side, FENCE_GONE);
        fence_kill(step, side); /* whoever was wrong is so for as short as can be */
        step_wake(step, step->now + KILL_AGAIN_USEC);
        return true;
}

static void say_unconfirmed(struct step *step, enum side side) {
        const struct pair *pair = step->pair;
        char what[48];

        if (pair->members[side].pid > 0)
                snprintf(what, sizeof(what), "QEMU pid %d", pair->members[side].pid);
        else
                snprintf(what, sizeof(what), "libvirt has not told of its QEMU yet");
        step_say(step, RECORD_FENCE_FAILED, side,
                 "%s is not proven stopped (%s); nothing that it may hold is started elsewhere before it is",
                 pair_domain(pair, side), what);
}

/* Makes certain that a VM can act no more: freeze it (QEMU confirms that its processors are stopped and its disks
 * drained), end it at once, and believe only the process that is seen to be gone. */
void advance_fence(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!pair->record.fence_wanted[side])
                return;
        if (fence_done(step, side))
                return;
        switch (member->fence) {
        case FENCE_NONE:
        case FENCE_GONE: /* it came back */
                if (member->fence == FENCE_GONE)
                        fence_enter(step, side, FENCE_NONE);
                if (member->fence_usec == 0)
                        member->fence_usec = step->now;
                fence_begin(step, side);
                break;
        case FENCE_FREEZING:
                break; /* its answer or deadline comes */
        case FENCE_DUMPING:
                advance_dump(step, side);
                if (member->fence == FENCE_DUMPING)
                        break;
                /* the kill that ends a dump goes out before anything is started elsewhere */
                __attribute__((fallthrough));
        case FENCE_FROZEN:
        case FENCE_KILLING:
        case FENCE_FAILED:
                fence_kill(step, side);
                if (step->now - member->fence_usec < FENCE_UNCONFIRMED_USEC)
                        step_wake(step, member->fence_usec + FENCE_UNCONFIRMED_USEC);
                else if (member->fence == FENCE_FROZEN && !member->fence_late) {
                        member->fence_late = step->again = true;
                        step_say(step, RECORD_FENCE_FAILED, side,
                                 "%s is frozen and can act no more, but its QEMU (pid %d) does not end: the disks that "
                                 "it holds stay there",
                                 pair_domain(pair, side), member->pid);
                } else if (member->fence == FENCE_KILLING) {
                        fence_enter(step, side, FENCE_FAILED);
                        say_unconfirmed(step, side);
                }
                step_wake(step, step->now + USEC_PER_SEC);
                break;
        default:
                break;
        }
}

/* Which VM of the pair --force is about, or why there is none. */
static const char *force_refusal(const struct pair *pair, const struct operator_command *command) {
        const struct flow *flow = &pair->record.flow;
        const struct member_state *member;

        if (!pair_flow_active(pair) || !pair->record.fence_wanted[flow->from])
                return "no failover waits for a fence";
        member = &pair->members[flow->from];
        if (command->verb == COMMAND_RETURN && flow->to != SIDE_A)
                return "what is under way does not lead home; use switch";
        if (pair->record.fence_stated[flow->from])
                return "it was stated already";
        if (member->fence != FENCE_FAILED && !(member->fence == FENCE_FROZEN && member->fence_late))
                return member_is_gone(member) ? "its process is gone" : "it is still being fenced";
        if (member->pid <= 0)
                return "its QEMU process is not known";
        return NULL;
}

void command_force(struct step *step, const struct operator_command *command) {
        struct pair *pair = step->pair;
        const char *refusal = force_refusal(pair, command);
        enum side from = pair->record.flow.from;

        if (refusal) {
                command_reply(step, command->id, -EBUSY,
                              "%s: --force is only for a VM that a failover waits for and that is not proven stopped: "
                              "%s",
                              pair->policy->name, refusal);
                return;
        }
        if (command->dry_run) {
                command_reply(step, command->id, 0,
                              "%s (QEMU pid %d) would count as dead by your word, and what it runs would start on %s",
                              pair_domain(pair, from), pair->members[from].pid, pair_domain(pair, side_other(from)));
                return;
        }
        pair->record.fence_stated[from] = pair->members[from].pid;
        pair_dirty(pair);
        step_say(step, RECORD_FENCED, from, "%s (QEMU pid %d) is not proven stopped; %.64s states that it is dead",
                 pair_domain(pair, from), pair->members[from].pid, command->who);
        command_reply(step, command->id, 0, "%s counts as dead by your word; what it ran starts on %s",
                      pair_domain(pair, from), pair_domain(pair, side_other(from)));
        step->again = true;
}
