/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One VM that failed, or is off, is built anew: waited for where its guest said that it comes back, fenced where no
 * flow does it, and started as a small standby. */

#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/retired.h"

#define INSPECT_DEADLINE_USEC (5 * USEC_PER_SEC)
#define START_DEADLINE_USEC (60 * USEC_PER_SEC)
/* A guest that has booted but whose agent never speaks is built anew after so long. */
#define GREETING_USEC (300 * USEC_PER_SEC)
/* So long where its last life failed, with applications that the other side can take over by now. */
#define GREETING_AWAITED_USEC (10 * USEC_PER_SEC)
/* So long both its agent and its kernel have to be silent where the guest was running before we looked. */
#define FOUND_SILENT_USEC (10 * USEC_PER_SEC)
/* A failed VM whose applications may still go elsewhere is not started anew before. */
#define REBUILD_GRACE_USEC (5 * USEC_PER_SEC)
#define REBUILD_PAUSE_USEC (1 * USEC_PER_SEC) /* doubled with each start that led to no greeting */
#define REBUILD_PAUSE_MAX_USEC (120 * USEC_PER_SEC)
#define RELEASE_POLL_USEC (250 * USEC_PER_MSEC)

/* A flow that still works towards its start comes first: booting a VM beside it would only slow it down. */
static bool recovery_comes_first(struct step *step) {
        const struct pair *pair = step->pair;

        return pair_flow_active(pair) && pair->record.flow.phase_usec[PHASE_STARTED] == 0 &&
               (member_usable(pair, pair->record.flow.to) || pair_too_early(step, pair->record.flow.to));
}

/* A guest on its announced way down is waited for so long; then it counts as failed. */
static bool still_waited_for(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t until;

        if (member->failure[0] || step->pair->record.fence_wanted[side])
                member->going_usec = 0; /* it failed on its way down: it is rebuilt as any other */
        if (member->going_usec == 0)
                return false;
        if (member->domain == DOMAIN_SHUTOFF && strcmp(member->going, "reboot") == 0)
                return false; /* on_reboot is destroy, so that a reboot does not take its memory back: start it */
        until = member->going_usec + step->pair->policy->guest_stop_timeout_usec;
        if (step->now < until) {
                step_wake(step, until);
                return true;
        }
        member->going_usec = 0;
        member_fail(step, side, "the guest announced its %s and has not come back in time", member->going);
        return true; /* where its applications go is decided first */
}

/* A guest whose agent has not greeted, or not since its link was lost, and that nobody watches: it may have hung
 * before failoverd looked. Only its kernel can tell; silent for long by a way that is known to have worked, it counts
 * as hung. */
static void watch_found(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t silence = detector_silence(&member->detector, step->now), since;

        if (member->greeted || member->detector.watching || !member->process_alive ||
            member->domain != DOMAIN_RUNNING || member->failure[0] || member->going_usec ||
            step->pair->record.fence_wanted[side]) {
                member->found_usec = 0;
                return;
        }
        if (member->found_usec == 0)
                member->found_usec = step->now;
        if (step->now >= member->detector.next_probe_usec) {
                member->detector.next_probe_usec = step->now + USEC_PER_SEC;
                update_add(step->update, ACTION_PROBE, step->pair->slot, side, NO_APP);
        }
        step_wake(step, member->detector.next_probe_usec);
        since = member_void_usec(step->engine, member);
        if (member->found_usec > since)
                since = member->found_usec;
        if (silence == USEC_INFINITY || silence < FOUND_SILENT_USEC || step->now - since < FOUND_SILENT_USEC)
                return;
        if (step->now - silence <= member->lost_usec)
                return; /* heard in its last life only: it boots, see watch_greeting() */
        member_fail(step, side, "it runs, but neither its agent nor its kernel has answered for %u s",
                    (unsigned) (silence / USEC_PER_SEC));
}

static void watch_greeting(struct step *step, enum side side) {
        const struct pair *pair = step->pair;
        const struct member_state *member = &pair->members[side];
        usec_t since = member->process_alive && member->greeted_usec < member->started_usec ? member->started_usec : 0;
        bool awaited = member->failure_usec > member->greeted_usec && pair_owns_hot(pair, side) &&
                       member_usable(pair, side_other(side));
        usec_t limit = awaited ? GREETING_AWAITED_USEC : GREETING_USEC;

        if (since == 0 || member->greeted || member->failure[0])
                return;
        if (step->now - since < limit) {
                step_wake(step, since + limit);
                return;
        }
        member_fail(step, side, "it was started, but no agent has answered for %u s",
                    (unsigned) (limit / USEC_PER_SEC));
}

/* What was wrong with the old life ends with it: the process of the new one may be seen before libvirt says that
 * the domain runs, and must not be taken for the old one. */
static void begin_life(struct member_state *member) {
        member->failure[0] = 0;
        member->fence = FENCE_NONE;
        member->preflight_usec = 0;
        member->going_usec = 0;
}

/* The side that would take over lives, but is out of reach for a moment (its agent's link was cut, failoverd has just
 * come up): a failover is much quicker than a boot, so it gets a little time. */
static bool failover_may_follow(struct step *step, enum side side) {
        const struct member_state *member = &step->pair->members[side];
        const struct member_state *other = &step->pair->members[side_other(side)];
        usec_t until = member->failure_usec + REBUILD_GRACE_USEC;

        if (member->failure[0] == 0 || !pair_owns_hot(step->pair, side) || !other->process_alive || other->failure[0] ||
            other->operator_hold || step->now >= until)
                return false;
        step_wake(step, until);
        return true;
}

/* A VM that is built anew again and again without its agent ever speaking is given more time each time. */
static bool rebuilt_often(struct step *step, enum side side) {
        const struct member_state *member = &step->pair->members[side];
        usec_t pause, until;

        if (member->rebuilds == 0)
                return false;
        pause = member->rebuilds >= 7 ? REBUILD_PAUSE_MAX_USEC : REBUILD_PAUSE_USEC << member->rebuilds;
        until = member->started_usec + pause;
        if (step->now >= until)
                return false;
        step_wake(step, until);
        return true;
}

/* False while it is to be fenced and is not gone yet. */
static bool fence_is_over(struct step *step, enum side side) {
        struct record *record = &step->pair->record;

        if (!record->fence_wanted[side])
                return true;
        if (step->pair->members[side].fence != FENCE_GONE)
                return false;
        record->fence_wanted[side] = record->fence_frozen[side] = false;
        record->fence_stated[side] = 0;
        pair_dirty(step->pair);
        return true;
}

/* Nobody builds a VM anew that the policy has taken out. One that fails before all is out of it can confirm nothing any
 * more: it is fenced, which gets it all out, and stays off. That an agent alone is silent is no such failure. */
static void advance_taken_out(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];

        if (member_is_gone(member)) {
                if (member->domain == DOMAIN_SHUTOFF)
                        (void) fence_is_over(step, side);
                return;
        }
        if (!retired_holds(step->pair))
                return;
        watch_found(step, side);
        if (member->failure[0] && !step->pair->record.fence_wanted[side])
                member_fence(step, side);
}

/* A failed VM that no flow fences is fenced for its own rebuilding; a VM that is gone is started as a small
 * standby, with nothing requested. */
void advance_rebuild(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!step->engine->hypervisor_up || pair->record.paused || pair->record.held || member->operator_hold)
                return;
        if (pair->policy->retired) {
                advance_taken_out(step, side);
                return;
        }
        watch_greeting(step, side);
        watch_found(step, side);
        if (member->domain == DOMAIN_RUNNING && !pair->record.fence_wanted[side] && member->failure[0] == 0) {
                if (member->going_usec)
                        still_waited_for(step, side);
                return;
        }
        if (still_waited_for(step, side) || recovery_comes_first(step))
                return;
        if (member->failure[0] && !pair->record.fence_wanted[side] && !member_is_gone(member)) {
                member_fence(step, side);
                return;
        }
        if (member->domain != DOMAIN_SHUTOFF || !member_is_gone(member)) {
                /* libvirt has not reaped it yet, does not know it, or gave up on a process that lives: look again */
                if (member->inspect.id == 0 && step->now - member->inspect.sent_usec >= RELEASE_POLL_USEC)
                        step_act(step, ACTION_INSPECT, side, NO_APP, &member->inspect, INSPECT_DEADLINE_USEC);
                step_wake(step, step->now + USEC_PER_SEC);
                return;
        }
        if (!fence_is_over(step, side))
                return;
        if (member->failure[0] && pair_owns_hot(pair, side) && pair_too_early(step, side_other(side)))
                return; /* its applications may go elsewhere; a new life would forget that it failed */
        if (member->freeze.id != 0)
                return; /* asked of the old life and still on its way: it would stop the new one */
        if (failover_may_follow(step, side) || rebuilt_often(step, side))
                return;
        if (!request_free(step, &member->start))
                return;
        step_act(step, ACTION_START_DOMAIN, side, NO_APP, &member->start, START_DEADLINE_USEC);
        begin_life(member);
        member->started_usec = step->now;
}
