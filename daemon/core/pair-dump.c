/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A core dump of a guest whose system has failed, where the policy asks for one: once it stands still, before it is
 * killed, within the policy's time and up to its size. Until that is over the VM does not count as fenced, so that
 * nothing is started beside a frozen VM that is being dumped; when the time is over the kill ends the dump too. A
 * dump is evidence, and the failover does without it where anything stands in its way.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

static const char out_of_time[] = "it has not ended in the policy's time";

static uint64_t guest_bytes(const struct pair *pair, enum side side) {
        uint64_t sum = pair->policy->members[side].base_bytes;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                sum += pair->members[side].plugged_bytes[i];
        return sum;
}

/* An application that had stopped there before goes on to the standby without waiting for the fence. */
static bool moves_already(const struct pair *pair) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].moving && pair->record.apps[i].stopped)
                        return true;
        return false;
}

bool dump_begin(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        const struct flow *flow = &pair->record.flow;
        uint64_t bytes = guest_bytes(pair, side);

        /* Frozen once before, and not by this failoverd: the time was used then. */
        if (pair->policy->core_dump_within_usec == 0 || pair->record.fence_frozen[side] ||
            flow->kind != FLOW_OS_FAILURE || flow->from != side)
                return false;
        if (bytes > pair->policy->core_dump_limit_bytes) {
                step_say(step, RECORD_IGNORED, side,
                         "no core dump of %s: its %" PRIu64 " MiB are more than the policy's core-dump: limit",
                         pair_domain(pair, side), bytes / MIB);
                return false;
        }
        if (moves_already(pair)) {
                step_say(step, RECORD_IGNORED, side,
                         "no core dump of %s: an application that has stopped there is on its way to %s already",
                         pair_domain(pair, side), pair_domain(pair, side_other(side)));
                return false;
        }
        return true;
}

void advance_dump(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        usec_t until = member->fence_usec + pair->policy->core_dump_within_usec;
        struct action *action;

        if (!pair_flow_active(pair) || pair->record.flow.from != side) { /* what it was for has ended without it */
                fence_enter(step, side, FENCE_FROZEN);
                return;
        }
        if (step->now >= until) {
                step_say(step, RECORD_IGNORED, side, "no core dump of %s: %s", pair_domain(pair, side), out_of_time);
                fence_enter(step, side, FENCE_FROZEN);
                return;
        }
        step_wake(step, until);
        if (member->dump.id || member->dump.sent_usec >= member->fence_usec)
                return;
        action = step_act(step, ACTION_DUMP, side, NO_APP, &member->dump, pair->policy->core_dump_within_usec);
        action->bytes = guest_bytes(pair, side);
        flow_id(pair->policy, &pair->record.flow, action->text);
}

void dump_done(struct step *step, enum side side, const struct event *event) {
        struct member_state *member = &step->pair->members[side];

        request_end(step, &member->dump, true); /* there is no second one */
        if (member->fence != FENCE_DUMPING)
                return;
        if (event->result < 0)
                step_say(step, RECORD_IGNORED, side, "no core dump of %s: %.180s", pair_domain(step->pair, side),
                         event->result == -ETIMEDOUT ? out_of_time
                         : event->text[0]              ? event->text
                                                       : strerror(-event->result));
        fence_enter(step, side, FENCE_FROZEN);
}
