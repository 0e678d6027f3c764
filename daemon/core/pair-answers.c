/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the pair's actions came to. An answer ends the request that it belongs to; one to a request that is out no more
 * changes nothing. A call that returned is no effect yet: that comes as an event (pair-facts.c).
 */

#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

/* A write that failed is tried again so soon at the latest. */
#define PERSIST_RETRY_USEC (1 * USEC_PER_SEC)
/* A VM was started; that it runs may be heard after the answer to the call. */
#define START_EVENT_USEC (5 * USEC_PER_SEC)

static void persist_done(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;

        for (enum persist_level level = 0; level < PERSIST_LEVEL_MAX; level++) {
                struct request *request = &pair->persist[level];

                if (request->id == 0 || request->id != event->action_id)
                        continue;
                request_end(step, request, event->result == 0);
                if (request->retry_usec > step->now + PERSIST_RETRY_USEC)
                        request->retry_usec = step->now + PERSIST_RETRY_USEC;
                if (event->result == 0) {
                        pair->persist_seq[level] = pair->persist_sent[level];
                        if (level == PERSIST_OWNER && pair->store_late) {
                                pair->store_late = false;
                                step_say(step, RECORD_STORE, SIDE_INVALID, "%s: the store is written again",
                                         pair->policy->name);
                        }
                } else if (level == PERSIST_OWNER && !pair->store_late) {
                        pair->store_late = true;
                        step_say(step, RECORD_STORE, SIDE_INVALID,
                                 "%s: who owns the data is not on disk (%s); going on with the copy in the run-time "
                                 "directory: a power loss now may forget it",
                                 pair->policy->name, event->text[0] ? event->text : strerror(-event->result));
                }
        }
}

static void freeze_done(struct step *step, enum side side, const struct event *event) {
        struct member_state *member = &step->pair->members[side];

        request_end(step, &member->freeze, event->result == 0);
        if (member->fence != FENCE_FREEZING)
                return;
        member->fence_usec = step->now;
        if (event->result == 0) {
                member->fence = dump_begin(step, side) ? FENCE_DUMPING : FENCE_FROZEN;
                step->pair->record.fence_frozen[side] = true;
                pair_dirty(step->pair);
        } else
                member->fence = FENCE_KILLING; /* it does not stop when told; ending it does not ask */
}

static void resize_done(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[event->side];
        bool stale;

        if (event->app < 0 || (size_t) event->app >= pair->policy->n_applications)
                return;
        if (member->resize[event->app].id != event->action_id)
                return;
        stale = member->resize[event->app].sent_usec <= member->lost_usec;
        request_end(step, &member->resize[event->app], event->result == 0 || stale);
        member->requested_known[event->app] = event->result == 0 && !stale;
        if (event->result != 0)
                member->requested_bytes[event->app] = 0; /* it is not known what it has been asked for */
        if (event->result != 0 && !stale)
                step_say(step, RECORD_REFUSED, event->side, "%s: resizing ua-%s failed, trying again: %s",
                         pair_domain(pair, event->side), pair->policy->applications[event->app].name,
                         event->text[0] ? event->text : strerror(-event->result));
}

static void disk_done(struct step *step, const struct event *event) {
        struct app_state *app;

        if (event->app < 0 || (size_t) event->app >= step->pair->policy->n_applications)
                return;
        app = &step->pair->apps[event->app];
        if (app->disk.id != event->action_id)
                return;
        request_end(step, &app->disk, event->result == 0);
        if (app->disk_stale) {
                app->disk_stale = false;
                request_reset(&app->disk);
                return;
        }
        if (event->result == 0) {
                if (event->action == ACTION_DETACH_DISK)
                        app->disks_detached++;
                else
                        app->disks_attached++;
                return;
        }
        snprintf(app->failure, sizeof(app->failure), "disk %s: %.200s",
                 event->action == ACTION_DETACH_DISK ? "is not let go" : "cannot be attached",
                 event->text[0] ? event->text : strerror(-event->result));
        if (event->action == ACTION_DETACH_DISK)
                app_disk_kept(step, event->app, event->side);
        else if (step->pair->members[side_other(event->side)].process_alive)
                app->disks_there[side_other(event->side)] = true; /* by whatever way: it may hold on to it */
}

static void start_done(struct step *step, enum side side, const struct event *event) {
        struct member_state *member = &step->pair->members[side];

        request_end(step, &member->start, event->result == 0);
        if (event->result == 0) {
                member->start.retry_usec = step->now + START_EVENT_USEC;
                if (++member->rebuilds == 4)
                        step_say(step, RECORD_UNPROTECTED, side,
                                 "%s was started 3 times and its agent never answered; it is started ever more slowly, "
                                 "see its console",
                                 pair_domain(step->pair, side));
        } else {
                snprintf(member->start_failure, sizeof(member->start_failure), "%s",
                         event->text[0] ? event->text : strerror(-event->result));
                step_say(step, RECORD_REFUSED, side, "%s does not start, trying again: %s",
                         pair_domain(step->pair, side), member->start_failure);
        }
}

static void vcpus_taken(struct step *step, const struct event *event) {
        struct member_state *member = &step->pair->members[event->side];

        request_end(step, &member->vcpu, true);
        for (size_t i = 0; i < step->pair->policy->n_applications; i++)
                if (member->resize[i].id == 0)
                        request_reset(&member->resize[i]); /* what was refused for it need not wait any longer */
        if (event->result == 0)
                return;
        member->vcpus_stay = true;
        step_say(step, RECORD_IGNORED, event->side,
                 "%s keeps processors that its applications do not use any more, until it is rebuilt: %.160s",
                 pair_domain(step->pair, event->side), event->text[0] ? event->text : strerror(-event->result));
}

void pair_answered(struct step *step, const struct event *event) {
        struct member_state *member = event->side >= 0 ? &step->pair->members[event->side] : NULL;

        step->again = true;
        if (event->action == ACTION_PERSIST) {
                persist_done(step, event);
                return;
        }
        if (!member)
                return;
        switch (event->action) {
        case ACTION_FREEZE:
                if (member->freeze.id == event->action_id)
                        freeze_done(step, event->side, event);
                break;
        case ACTION_DUMP:
                if (member->dump.id == event->action_id)
                        dump_done(step, event->side, event);
                break;
        case ACTION_KILL:
        case ACTION_STOP_PROCESS:
                if (member->kill.id == event->action_id)
                        request_end(step, &member->kill, event->result == 0);
                break;
        case ACTION_START_DOMAIN:
                if (member->start.id == event->action_id)
                        start_done(step, event->side, event);
                break;
        case ACTION_INSPECT:
                if (member->inspect.id == event->action_id)
                        request_end(step, &member->inspect, event->result == 0);
                break;
        case ACTION_PREFLIGHT:
                if (member->look.id == event->action_id)
                        request_end(step, &member->look, event->result == 0 && !member->look_failed);
                break;
        case ACTION_VCPUS:
                if (member->vcpu.id != event->action_id)
                        break;
                request_end(step, &member->vcpu, event->result == 0);
                if (event->result != 0)
                        member->vcpus = 0; /* how many there are is not known; asked again */
                break;
        case ACTION_TAKE_VCPUS:
                if (member->vcpu.id == event->action_id)
                        vcpus_taken(step, event);
                break;
        case ACTION_RESIZE:
                resize_done(step, event);
                break;
        case ACTION_PAGE_OUT:
                handover_paged_out(step, event);
                break;
        case ACTION_GRANT_STATE:
                app_state_done(step, event);
                break;
        case ACTION_ATTACH_DISK:
        case ACTION_DETACH_DISK:
                disk_done(step, event);
                break;
        default:
                break;
        }
}
