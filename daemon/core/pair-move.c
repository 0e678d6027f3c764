/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One application's way in a flow. For each that moves, in this order, each step begun as soon as its own condition
 * holds:
 *
 *   stopped    its old side is fenced, or its agent has confirmed that the application has stopped
 *   let go     its disks are detached from a living old side, or the old side's process is gone
 *   detached   its region's memory has left a living old side, or unused memory stands in for it meanwhile; a fenced
 *              side's memory goes with it
 *   granted    the table's user changes; owner and token are written to disk; the new side's device grows
 *   alone      nothing is left of one of that name that the policy took out of another pair (retired.h)
 *   state      the holders of its regions have given them to the new side, so that the old one writes no more
 *   plugged    the new side's agent sees the memory
 *   disks      they are attached to the new side; not beside its plugging: the guest's kernel would look for the new
 *              device with the processor that plugs, and a small guest plugs half as fast then
 *   overflow   where the pool had not all of the region: the disk for the rest is there, or was waited for in vain
 *   started    only now, and only with stopped, disks, state and the owner's write behind it
 *   healthy    first passed health check
 *
 * In an OS failure the grant does not wait for the fence, so that plugging runs beside it; the start does.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/retired.h"

#define START_ATTEMPTS 3
#define ATTACH_ATTEMPTS 3 /* of some 30 s each */

/* The living old side does not let go in time. */
static void stuck(struct step *step, int app, const char *what) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        char text[EVENT_TEXT_LEN];

        snprintf(text, sizeof(text), "%s: %s does not let go (%.100s)", pair_app_name(pair, app),
                 pair_domain(pair, flow->from), what);
        if (pair->policy->on_exclusive_stuck == EXCLUSIVE_FENCE_VM && flow->kind == FLOW_APPLICATION_FAILURE) {
                step_say(step, RECORD_DECIDED, flow->from, "%s; policy: fence-vm", text);
                flow_take_system(step);
                return;
        }
        step_say(step, RECORD_REFUSED, flow->from, "%s; policy: refuse, nothing is started elsewhere", text);
        flow_end(step, -EBUSY, text);
}

/* True when the application can act no more on its old side. */
static bool move_stopped(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct record_app *record = &pair->record.apps[app];
        struct app_state *a = &pair->apps[app];
        struct request *request = &a->stop[flow->from];

        if (record->stopped)
                return true;
        if (pair->record.fence_wanted[flow->from]) {
                if (!member_fenced(pair, flow->from))
                        return false;
        } else if (member_is_gone(&pair->members[flow->from])) {
                /* it went with its VM */
        } else {
                if (request_expire(step, request, pair->policy->applications[app].stop_timeout_usec +
                                                          pair->policy->act_timeout_usec) ||
                    request->failures > 0) {
                        stuck(step, app, "its agent has not confirmed that it stopped");
                        return false;
                }
                if (a->state[flow->from] != APPLICATION_STOPPED || request->sent_usec == 0) {
                        if (pair_flow_written(step) && request_free(step, request))
                                step_ask(step, flow->from, MESSAGE_STOP, app, request);
                        return false;
                }
                if (request->id)
                        return false;
        }
        record->stopped = true;
        pair_dirty(pair);
        step->again = true;
        return true;
}

/* The memory for a move whose old side lives does not come together in time: the application goes on where it was.
 * After a system's failure there is no such place, and the flow waits, loudly. */
static bool give_up_late(struct step *step, int app, usec_t since_usec) {
        struct pair *pair = step->pair;
        usec_t until = since_usec + pair->policy->act_timeout_usec;
        char text[EVENT_TEXT_LEN];

        if (pair->record.fence_wanted[pair->record.flow.from])
                return false;
        if (step->now < until) {
                step_wake(step, until);
                return false;
        }
        snprintf(text, sizeof(text),
                 "%s: %s does not give its memory up in time and the pool has %" PRIu64 " MiB unused; it goes on there",
                 pair_app_name(pair, app), pair_domain(pair, pair->record.flow.from),
                 table_unused(&step->engine->table) / MIB);
        step_say(step, RECORD_REFUSED, pair->record.flow.from, "%s", text);
        flow_end(step, -ENOSPC, text);
        return true;
}

/* True when its disks are free: gone with the old side's process, or seen to be detached from a living one. */
static bool move_disks_free(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        const struct application *policy = &pair->policy->applications[app];
        struct app_state *a = &pair->apps[app];

        if (policy->n_disks == 0 || a->disks_let_go)
                return true;
        if (pair->record.fence_wanted[flow->from])
                return a->disks_let_go = pair->members[flow->from].fence == FENCE_GONE;
        if (a->disks_detached >= policy->n_disks ||
            member_is_gone(&pair->members[flow->from]))
                return a->disks_let_go = true;
        if (a->disk.failures > 0) {
                request_reset(&a->disk);
                stuck(step, app, a->failure);
                return false;
        }
        app_disk_detach(step, app, flow->from);
        return false;
}

uint64_t move_left_bytes(const struct pair *pair, int app, enum side from) {
        uint64_t granted = pair->record.apps[app].granted_bytes[from], plugged = pair->members[from].plugged_bytes[app];

        if (pair->members[from].plugged_usec[app] == 0) /* not looked at since failoverd began */
                return granted;
        return plugged < granted ? plugged : granted;
}

/* Unused memory stands in for what the old side has not given up yet; what the new side has of the region already, late
 * from an earlier move or a rehearsal, counts, since the grant that follows at once takes it in. */
static bool stand_in(struct step *step, int app, uint64_t bytes) {
        struct pair *pair = step->pair;
        struct table *table = &step->engine->table;
        struct holder from = pair_holder(pair, pair->record.flow.from), to = pair_holder(pair, pair->record.flow.to);
        uint64_t *there = &pair->record.apps[app].granted_bytes[pair->record.flow.to];

        if (table_grant(table, from, bytes) >= 0)
                return true;
        if (*there == 0 || table_find_application(table, to, app))
                return false;
        table_release(table, to, *there);
        if (table_grant(table, from, bytes) >= 0) {
                *there = 0;
                return true;
        }
        table_grant(table, to, *there); /* it has only just been let go */
        return false;
}

/* True when the region can go: its memory has left the old side, went with a fenced one, or unused memory stands in
 * for what has not left yet (N: the right moves at once, the memory follows). */
static bool move_detached(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct record_app *record = &pair->record.apps[app];
        struct holder from = pair_holder(pair, flow->from);
        struct table *table = &step->engine->table;
        const struct region *region = table_find_application(table, from, app);
        uint64_t left = move_left_bytes(pair, app, flow->from);
        bool asked_now = !record->releasing[flow->from];

        if (record->owner == flow->to || pair->record.fence_wanted[flow->from] ||
            record->granted_bytes[flow->from] == 0)
                return true;
        app_release(step, app, flow->from);
        if (app_released(pair, app, flow->from)) {
                if (!region) /* in its system's row */
                        table_release(table, from, record->granted_bytes[flow->from]);
                record->releasing[flow->from] = false;
                record->granted_bytes[flow->from] = 0;
                pair_dirty(pair);
                return true;
        }
        /* What has not left yet stays with the old side's system and goes on being released: unused memory stands in
         * for it at once. Where unused does not cover it, the flow waits for each block that comes back. */
        if (!region)
                table_release(table, from, record->granted_bytes[flow->from] - left);
        else if (!stand_in(step, app, left)) {
                rehearsals_give_way(step);
                if (handover_possible(step->engine, pair, app, flow->from)) {
                        handover_begin(step, app, flow->from, left);
                        return true;
                }
                assigned_give_way(step);
                give_up_late(step, app, pair->apps[app].release_usec);
                return false;
        }
        record->granted_bytes[flow->from] = left;
        pair_dirty(pair);
        if (left > 0 && asked_now && handover_possible(step->engine, pair, app, flow->from))
                step_send(step, flow->from, MESSAGE_DETACH, app); /* all of it has to go, after all */
        if (left > 0 && region)
                handover_tell_managed(step, app, flow->from, 0);
        if (left > 0 && (region || asked_now)) /* without a region this is come by again until the pool has one */
                step_say(step, RECORD_GRANTED, flow->from,
                         "%" PRIu64 " MiB of unused memory stand in until %s has given up those of %s", left / MIB,
                         pair_domain(pair, flow->from), pair_app_name(pair, app));
        return true;
}

enum region_source move_region_source(const struct pair *pair, int app, const struct region *at_from,
                                      const struct region *at_to) {
        if (at_to)
                return REGION_IS_THERE;
        if (at_from)
                return REGION_COMES_ALONG;
        return pair->policy->applications[app].memory_bytes ? REGION_OUT_OF_UNUSED : REGION_NOT_NEEDED;
}

uint64_t move_pool_bytes(const struct engine *engine, const struct pair *pair, int app, uint64_t unused_bytes) {
        const struct application *policy = &pair->policy->applications[app];
        uint64_t whole = unused_bytes - unused_bytes % engine->policy->extent_bytes;

        if (unused_bytes >= policy->memory_bytes)
                return policy->memory_bytes;
        return whole > 0 && policy->memory_bytes - whole <= application_remote_bytes(policy) ? whole : 0;
}

static bool give_region(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct table *table = &step->engine->table;
        uint64_t size = pair->policy->applications[app].memory_bytes;
        struct holder from = pair_holder(pair, flow->from), to = pair_holder(pair, flow->to);
        struct region *region = table_find_application(table, from, app);

        switch (move_region_source(pair, app, region, table_find_application(table, to, app))) {
        case REGION_IS_THERE:
                if (region)
                        table_give_back(table, region); /* one region has one row */
                return true;
        case REGION_COMES_ALONG:
                table_move(table, region, to, from);
                return true;
        case REGION_OUT_OF_UNUSED:
                size = move_pool_bytes(step->engine, pair, app, table_unused(table));
                if (size == 0 || table_grant(table, to, size) < 0)
                        return false;
                if (table_carve(table, to, pair->policy->members[flow->to].base_bytes, app, pair_app_name(pair, app),
                                size, from) == -ENOMEM)
                        step->update->failed = true;
                return true;
        default:
                return true;
        }
}

/* What was lost of the region and not replaced is made good out of unused, as far as that goes. Returns its size. */
static uint64_t full_region(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct region *region =
                table_find_application(&step->engine->table, pair_holder(pair, pair->record.flow.to), app);
        uint64_t size = pair->policy->applications[app].memory_bytes;

        if (!region)
                return 0;
        if (region->usage_bytes < size)
                table_grow(&step->engine->table, region, size - region->usage_bytes);
        if (region->usage_bytes < size && pair_remote_bytes(pair, region) == size - region->usage_bytes)
                step_say(step, RECORD_GRANTED, pair->record.flow.to,
                         "%s starts with %" PRIu64 " of %" PRIu64 " MiB: the rest is overflow, at memory servers",
                         pair_app_name(pair, app), region->usage_bytes / MIB, size / MIB);
        else if (region->usage_bytes < size)
                step_say(step, RECORD_REFUSED, pair->record.flow.to,
                         "%s starts with %" PRIu64 " of %" PRIu64
                         " MiB: reserve and unused memory do not cover what was lost",
                         pair_app_name(pair, app), region->usage_bytes / MIB, size / MIB);
        return region->usage_bytes;
}

/* True when the region is the new side's. Writes owner and token, which rises at each grant. */
static bool move_granted(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct record_app *record = &pair->record.apps[app];
        struct app_state *a = &pair->apps[app];

        if (record->owner == flow->to)
                return true;
        if (record->granted_bytes[flow->to] &&
            !table_find_application(&step->engine->table, pair_holder(pair, flow->to), app)) {
                /* Late from an earlier move away from there: it becomes part of the region again. */
                table_release(&step->engine->table, pair_holder(pair, flow->to), record->granted_bytes[flow->to]);
                record->granted_bytes[flow->to] = 0;
        }
        if (!give_region(step, app)) {
                rehearsals_give_way(step);
                assigned_give_way(step);
                if (give_up_late(step, app, flow->phase_usec[PHASE_DECIDED]))
                        return false;
                if (!a->refused)
                        step_say(step, RECORD_REFUSED, flow->to,
                                 "%s: the pool has %" PRIu64 " MiB unused, its region needs %" PRIu64 " MiB",
                                 pair_app_name(pair, app), table_unused(&step->engine->table) / MIB,
                                 pair->policy->applications[app].memory_bytes / MIB);
                a->refused = true;
                snprintf(a->refusal, sizeof(a->refusal), "the pool has not enough unused memory for its region");
                step_wake(step, step->now + USEC_PER_SEC);
                return false;
        }
        a->refused = false;
        if (pair->record.fence_wanted[flow->from])
                record->granted_bytes[flow->from] = 0;
        record->granted_bytes[flow->to] = full_region(step, app);
        if (record->granted_bytes[flow->to] < pair->policy->applications[app].memory_bytes) {
                rehearsals_give_way(step); /* it grows as they do */
                assigned_give_way(step);
        }
        record->releasing[flow->to] = false;
        handover_undone(step, app, flow->to);
        record->owner = flow->to;
        record->token++;
        app_state_leaves(pair, app);
        a->attached[flow->to] = false;
        pair_owner_dirty(pair);
        step->again = true;
        return true;
}

/* True when the new side's agent sees the memory online. */
static bool move_attached(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        const struct member_state *member = &pair->members[flow->to];
        struct app_state *a = &pair->apps[app];
        struct request *request = &a->attach[flow->to];

        if (a->attached[flow->to] || pair->policy->applications[app].memory_bytes == 0)
                return true;
        /* What is there already may be on its way out: first the device is told that it stays. */
        if (member->plugged_bytes[app] > 0 && (member->resize[app].id || member->requested_known[app]) &&
            member->requested_bytes[app] < pair->record.apps[app].granted_bytes[flow->to])
                return false;
        request_expire(step, request, 30 * USEC_PER_SEC + pair->policy->act_timeout_usec);
        if (request->failures >= ATTACH_ATTEMPTS) {
                snprintf(a->failure, sizeof(a->failure), "%.63s does not bring its memory online",
                         pair_domain(pair, flow->to));
                flow_end(step, -EIO, a->failure);
                return false;
        }
        if (pair->members[flow->to].configured && request_free(step, request))
                step_ask(step, flow->to, MESSAGE_ATTACH, app, request);
        return false;
}

/* True when no memory is to be touched first: plugged is not usable. What does not come to that in time does not hold
 * the start back. */
static bool move_prefaulted(struct step *step, int app) {
        struct app_state *a = &step->pair->apps[app];

        if (step->pair->policy->applications[app].prefault == PREFAULT_BEFORE_START)
                app_prefault(step, app, step->pair->record.flow.to);
        else
                return true;
        return a->prefaulted;
}

static bool move_started(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct record_app *record = &pair->record.apps[app];
        struct app_state *a = &pair->apps[app];
        struct request *request = &a->start[flow->to];

        if (record->started)
                return true;
        if (a->state[flow->to] == APPLICATION_RUNNING && request->id == 0 && request->sent_usec) {
                record->started = true;
                pair_dirty(pair);
                step_say(step, RECORD_STARTED, flow->to, "%s runs on %s", pair_app_name(pair, app),
                         pair_domain(pair, flow->to));
                return true;
        }
        request_expire(step, request, pair->policy->act_timeout_usec + 30 * USEC_PER_SEC);
        if (request->failures >= START_ATTEMPTS) {
                flow_end(step, -EIO, a->failure[0] ? a->failure : "the application does not start on the other side");
                return false;
        }
        if (!a->told_start && !move_prefaulted(step, app))
                return false;
        if (pair_owner_safe(pair) && pair->members[flow->to].configured && request_free(step, request)) {
                a->told_start = true;
                step_ask(step, flow->to, MESSAGE_START, app, request);
        }
        return false;
}

/* The policy makes do without a holder that is out of reach, but only once the old side can write there no more: that
 * takes a fence where the policy wants one. */
static bool state_held(const struct pair *pair, int app) {
        const struct flow *flow = &pair->record.flow;

        return flow->kind == FLOW_APPLICATION_FAILURE && pair->policy->on_exclusive_stuck == EXCLUSIVE_FENCE_VM &&
               !pair->record.fence_wanted[flow->from] && app_state_waits(pair, app);
}

/* True when its disks are attached to the new side. What is attached to a VM that stands still does not come off again,
 * so nothing is asked of one that an operator has just suspended. */
static bool move_disks_attached(struct step *step, int app) {
        enum side to = step->pair->record.flow.to;

        return (step->pair->policy->applications[app].n_disks == 0 ||
                step->pair->members[to].domain == DOMAIN_RUNNING) &&
               app_disks_attached(step, app, to);
}

/* How far one application has come; PHASE_DECIDED while it has not stopped. */
enum phase move_advance(struct step *step, int app) {
        struct pair *pair = step->pair;
        bool fenced_flow = pair->record.fence_wanted[pair->record.flow.from];
        bool stopped, free_disks, granted, attached, alone, state, disks, overflow;

        if (pair->record.apps[app].started)
                return pair->apps[app].healthy ? PHASE_HEALTHY : PHASE_STARTED;
        stopped = move_stopped(step, app);
        if (!pair_flow_active(pair) || (!stopped && !fenced_flow))
                return PHASE_DECIDED;
        free_disks = stopped && move_disks_free(step, app);
        if (!pair_flow_active(pair))
                return PHASE_DECIDED;
        if (free_disks)
                pair->apps[app].disks_there[pair->record.flow.from] = false;
        granted = (fenced_flow || free_disks) && move_detached(step, app) && move_granted(step, app);
        attached = granted && move_attached(step, app);
        if (!stopped || !pair_flow_active(pair))
                return PHASE_DECIDED;
        if (!granted)
                return PHASE_FENCED;
        alone = retired_gone(step, app);
        state = alone && app_state_granted(step, app, pair->record.flow.to); /* beside the plugging */
        if (!state && state_held(pair, app)) {
                stuck(step, app, "a holder of its state is out of reach, and cannot take that from it");
                return PHASE_GRANTED;
        }
        disks = free_disks && alone && attached && move_disks_attached(step, app);
        overflow = app_overflow_there(step, app, pair->record.flow.to, attached && state && disks);
        if (!attached)
                return PHASE_GRANTED;
        if (!overflow || !move_started(step, app))
                return PHASE_PLUGGED;
        return pair->apps[app].healthy ? PHASE_HEALTHY : PHASE_STARTED;
}

/* The new side is out of play and the application does not run there: it was never told to start it, or its VM is
 * gone. The old side owns it again, under a new token. */
void move_take_back(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct record_app *record = &pair->record.apps[app];
        struct table *table = &step->engine->table;
        struct region *region = table_find_application(table, pair_holder(pair, flow->to), app);
        bool gone = member_is_gone(&pair->members[flow->to]);
        uint64_t left = gone ? 0 : pair->members[flow->to].plugged_bytes[app];

        if (record->owner != flow->to || (!gone && pair->apps[app].told_start))
                return;
        if (left > 0 && table_grant(table, pair_holder(pair, flow->to), left) < 0)
                return; /* its memory is there and nothing can stand in for it */
        if (region && !table_find_application(table, pair_holder(pair, flow->from), app)) {
                /* What unused memory stood in for there becomes part of the region again. */
                table_release(table, pair_holder(pair, flow->from), record->granted_bytes[flow->from]);
                record->granted_bytes[flow->from] = region->usage_bytes;
                record->releasing[flow->from] = false;
                handover_undone(step, app, flow->from);
                table_move(table, region, pair_holder(pair, flow->from), pair_holder(pair, flow->to));
        }
        record->granted_bytes[flow->to] = left;
        record->releasing[flow->to] = left > 0;
        record->owner = flow->from;
        record->token++;
        app_state_leaves(pair, app);
        pair_owner_dirty(pair);
}
