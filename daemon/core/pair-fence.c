/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One VM that must not act any more is fenced; what makes that certain is QEMU's word that it stands still, or its
 * process that is gone. */

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
        if (state == FENCE_GONE)
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

/* Makes certain that a VM can act no more: freeze it (QEMU confirms that its processors are stopped and its disks
 * drained), end it at once, and believe only the process that is seen to be gone. */
void advance_fence(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!pair->record.fence_wanted[side])
                return;
        if (member_is_gone(member)) {
                fence_enter(step, side, FENCE_GONE);
                return;
        }
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
                        step_say(step, RECORD_FENCE_FAILED, side,
                                 "%s is not proven stopped (QEMU pid %d); nothing that it may hold is started "
                                 "elsewhere before it is",
                                 pair_domain(pair, side), member->pid);
                }
                step_wake(step, step->now + USEC_PER_SEC);
                break;
        default:
                break;
        }
}
