/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The flow under way (H: OS-failure flow, application-failure flow; switch and return go the same way).
 *
 * For each application that moves, in this order, each step begun as soon as its own condition holds:
 *
 *   stopped    its old side is fenced, or its agent has confirmed that the application has stopped
 *   let go     its disks are detached from a living old side, or the old side's process is gone
 *   detached   its region's memory has left a living old side, or unused memory stands in for it meanwhile; a fenced
 *              side's memory goes with it
 *   granted    the table's user changes; owner and token are written to disk; the new side's device grows
 *   plugged    the new side's agent sees the memory
 *   started    only now, and only with stopped, disks and the owner's write behind it
 *   healthy    first passed health check
 *
 * In an OS failure the grant does not wait for the fence, so that plugging runs beside it; the start does.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define START_ATTEMPTS 3
#define ATTACH_ATTEMPTS 3 /* of some 30 s each */
#define HEALTHY_WAIT_USEC (30 * USEC_PER_SEC)

static const char *app_name(const struct pair *pair, int app) {
        return pair->policy->applications[app].name;
}

/* ---- whether ------------------------------------------------------------------------------------------- */

static unsigned recent_flaps(struct step *step) {
        struct record *record = &step->pair->record;
        unsigned keep = 0;

        for (unsigned i = 0; i < record->n_flaps; i++)
                if (step->engine->real_usec < record->flaps_usec[i] + step->pair->policy->flap_window_usec)
                        record->flaps_usec[keep++] = record->flaps_usec[i];
        record->n_flaps = keep;
        return keep;
}

static void add_flap(struct step *step) {
        struct record *record = &step->pair->record;

        if (record->n_flaps == FLAP_MAX) {
                memmove(record->flaps_usec, record->flaps_usec + 1, sizeof(record->flaps_usec) - sizeof(usec_t));
                record->n_flaps--;
        }
        record->flaps_usec[record->n_flaps++] = step->engine->real_usec;
}

const char *flow_blocked(struct step *step, enum side to) {
        struct pair *pair = step->pair;

        if (pair_flow_active(pair))
                return "another flow is under way";
        if (!step->engine->hypervisor_up)
                return "libvirt does not answer";
        if (pair->record.paused)
                return "the pair is paused";
        if (pair->record.held)
                return "the pair is held";
        if (pair->unsettled)
                return "where its applications run is not known yet";
        if (!member_usable(pair, to)) {
                static const char text[] = "the other side cannot take over: it is not up, not answering or failed itself";
                return text;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner != to &&
                    !pair->members[to].preflight.apps[i].present)
                        return "the other side has no memory device for it";
        if (recent_flaps(step) >= pair->policy->flap_limit) {
                pair->record.held = true;
                snprintf(pair->record.held_reason, sizeof(pair->record.held_reason),
                         "flap limit: %u failovers within the policy's window; find out why, then failoverctl resume %s",
                         pair->record.n_flaps, pair->policy->name);
                pair_owner_dirty(pair);
                step_say(step, RECORD_HELD, SIDE_INVALID, "%s is held: %s", pair->policy->name, pair->record.held_reason);
                return "the flap limit is reached";
        }
        return NULL;
}

/* ---- begin and end -------------------------------------------------------------------------------------- */

static void reach(struct step *step, enum phase phase) {
        struct pair *pair = step->pair;
        struct action *action;

        if (pair->record.flow.phase_usec[phase])
                return;
        pair->record.flow.phase_usec[phase] = step->now;
        pair_dirty(pair);
        action = update_add(step->update, ACTION_PHASE, pair->slot, SIDE_INVALID, NO_APP);
        action->phase = phase;
        action->flow = pair->record.flow;
        step->changed = true;
}

/* A plain application ends with its operating system; its region returns to the monitor (H). What a VM's system
 * held above its base goes back too. */
static void drop_memory(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct table *table = &step->engine->table;
        struct holder vm = pair_holder(pair, side);

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct record_app *record = &pair->record.apps[i];
                struct region *region = table_find_application(table, vm, (int) i);

                if (record->moving && region)
                        continue; /* moves with the flow */
                if (region)
                        table_give_back(table, region);
                else if (record->granted_bytes[side])
                        table_release(table, vm, record->granted_bytes[side]);
                record->granted_bytes[side] = 0;
                record->releasing[side] = false;
                if (record->owner == side && !record->moving && !pair_is_hot(pair, (int) i) && !record->ended) {
                        record->ended = true;
                        step_say(step, RECORD_ENDED, side, "%s ended with the system of %s; its region goes back to the monitor",
                                 app_name(pair, (int) i), pair_domain(pair, side));
                }
        }
}

static void mark_moving(struct step *step, int app) {
        struct record_app *record = &step->pair->record.apps[app];
        struct app_state *a = &step->pair->apps[app];

        record->moving = true;
        record->stopped = record->started = false;
        app_disks_forget(a);
        a->told_start = false;
        a->failed = a->restart_wanted = a->healthy = false;
        for (enum side side = 0; side < SIDE_MAX; side++) {
                request_reset(&a->start[side]);
                request_reset(&a->stop[side]);
                request_reset(&a->attach[side]);
        }
}

static void fence(struct step *step, enum side side) {
        struct pair *pair = step->pair;

        if (pair->record.fence_wanted[side])
                return;
        pair->record.fence_wanted[side] = true;
        pair->members[side].fence_usec = step->now;
        pair_dirty(pair);
        step->again = true;
}

static void take_whole_system(struct step *step, enum side from) {
        struct pair *pair = step->pair;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == from && !pair->record.apps[i].moving)
                        mark_moving(step, (int) i);
}

void flow_begin(struct step *step, enum flow_kind kind, enum side from, int app, usec_t detected_usec,
                const char *cause) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;

        *flow = (struct flow) { .kind = kind, .number = ++pair->record.failovers, .from = from, .to = side_other(from) };
        snprintf(flow->cause, sizeof(flow->cause), "%s", cause);
        if (pair->drill_usec) {
                flow->drill = true;
                flow->command_id = pair->drill_command_id;
                flow->phase_usec[PHASE_FAULT] = pair->drill_usec;
                pair->drill_usec = 0;
        }
        pair->flow_dirty = true;
        pair->blocked[0] = 0;
        pair->rejoin_pending = false;
        flow->phase_usec[PHASE_DETECTED] = detected_usec;
        if (app >= 0)
                mark_moving(step, app);
        else
                take_whole_system(step, from);
        if (kind == FLOW_OS_FAILURE) {
                fence(step, from);
                drop_memory(step, from);
        }
        if (!flow->drill && (kind == FLOW_OS_FAILURE || kind == FLOW_APPLICATION_FAILURE))
                add_flap(step);
        reach(step, PHASE_DECIDED);
        step_say(step, RECORD_DECIDED, from, "%s: %s to %s (%s): %.150s",
                 flow_id(pair->policy, flow, (char[FAILOVER_ID_LEN]){ 0 }), pair_domain(pair, from),
                 pair_domain(pair, flow->to), flow_kind_to_string(kind), cause);
        step->again = true;
}

static void flow_end(struct step *step, int result, const char *text) {
        struct pair *pair = step->pair;
        struct action *action = update_add(step->update, ACTION_FLOW_ENDED, pair->slot, SIDE_INVALID, NO_APP);

        action->flow = pair->record.flow;
        action->result = result;
        snprintf(action->text, sizeof(action->text), "%s", text);
        if (pair->record.flow.command_id)
                command_reply(step, pair->record.flow.command_id, result, "%s", text);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct record_app *record = &pair->record.apps[i];

                /* What goes nowhere keeps its memory and gets its disks back before it is started again. */
                if (record->moving && record->owner == pair->record.flow.from)
                        record->releasing[record->owner] = false;
                if (record->moving)
                        app_disks_forget(&pair->apps[i]);
                for (enum side side = 0; record->moving && side < SIDE_MAX; side++) {
                        request_reset(&pair->apps[i].stop[side]);
                        request_reset(&pair->apps[i].attach[side]);
                }
                record->moving = false;
        }
        pair->last_flow = pair->record.flow;
        pair->rejoin_pending = result == 0;
        pair->record.flow = (struct flow) { .kind = FLOW_NONE };
        pair_owner_dirty(pair); /* a power loss must not bring the flow back */
        step->again = step->changed = true;
}

/* ---- one application's way ------------------------------------------------------------------------------ */

/* The living old side does not let go in time. */
static void stuck(struct step *step, int app, const char *what) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        char text[EVENT_TEXT_LEN];

        snprintf(text, sizeof(text), "%s: %s does not let go (%.100s)", app_name(pair, app), pair_domain(pair, flow->from), what);
        if (pair->policy->on_exclusive_stuck == EXCLUSIVE_FENCE_VM && flow->kind == FLOW_APPLICATION_FAILURE) {
                step_say(step, RECORD_DECIDED, flow->from, "%s; policy: fence-vm", text);
                flow->kind = FLOW_OS_FAILURE;
                take_whole_system(step, flow->from);
                fence(step, flow->from);
                drop_memory(step, flow->from);
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
        } else if (pair->members[flow->from].process_known && !pair->members[flow->from].process_alive) {
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
        snprintf(text, sizeof(text), "%s: %s does not give its memory up in time and the pool has %" PRIu64 " MiB unused; it goes on there",
                 app_name(pair, app), pair_domain(pair, pair->record.flow.from), table_unused(&step->engine->table) / MIB);
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
        struct action *action;

        if (policy->n_disks == 0 || a->disks_let_go)
                return true;
        if (pair->record.fence_wanted[flow->from])
                return a->disks_let_go = pair->members[flow->from].fence == FENCE_GONE;
        if (a->disks_detached >= policy->n_disks ||
            (pair->members[flow->from].process_known && !pair->members[flow->from].process_alive))
                return a->disks_let_go = true;
        if (a->disk.failures > 0) {
                request_reset(&a->disk);
                stuck(step, app, a->failure);
                return false;
        }
        if (request_free(step, &a->disk)) {
                action = step_act(step, ACTION_DETACH_DISK, flow->from, app, &a->disk, pair->policy->act_timeout_usec);
                snprintf(action->text, sizeof(action->text), "%s", policy->disks[a->disks_detached]);
        }
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
        uint64_t left = pair->members[flow->from].plugged_bytes[app];

        if (left > record->granted_bytes[flow->from])
                left = record->granted_bytes[flow->from];
        if (record->owner == flow->to || pair->record.fence_wanted[flow->from] || record->granted_bytes[flow->from] == 0)
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
        else if (table_grant(table, from, left) < 0) {
                give_up_late(step, app, pair->apps[app].release_usec);
                return false;
        }
        record->granted_bytes[flow->from] = left;
        pair_dirty(pair);
        if (left > 0)
                step_say(step, RECORD_GRANTED, flow->from, "%" PRIu64 " MiB of unused memory stand in until %s has given up those of %s",
                         left / MIB, pair_domain(pair, flow->from), app_name(pair, app));
        return true;
}

static bool give_region(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct table *table = &step->engine->table;
        uint64_t size = pair->policy->applications[app].memory_bytes;
        struct holder from = pair_holder(pair, flow->from), to = pair_holder(pair, flow->to);
        struct region *region = table_find_application(table, from, app);

        if (region && table_find_application(table, to, app)) {
                table_give_back(table, region); /* one region has one row */
                return true;
        }
        if (region) {
                table_move(table, region, to, from);
                return true;
        }
        if (table_find_application(table, to, app))
                return true;
        if (size == 0)
                return true;
        if (table_grant(table, to, size) < 0)
                return false;
        table_carve(table, to, pair->policy->members[flow->to].base_bytes, app, app_name(pair, app), size, from);
        return true;
}

/* What was lost of the region and not replaced is made good out of unused, as far as that goes. Returns its size. */
static uint64_t full_region(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct region *region = table_find_application(&step->engine->table, pair_holder(pair, pair->record.flow.to), app);
        uint64_t size = pair->policy->applications[app].memory_bytes;

        if (!region)
                return 0;
        if (region->usage_bytes < size)
                table_grow(&step->engine->table, region, size - region->usage_bytes);
        if (region->usage_bytes < size)
                step_say(step, RECORD_REFUSED, pair->record.flow.to, "%s starts with %" PRIu64 " of %" PRIu64 " MiB: reserve and unused memory do not cover what was lost",
                         app_name(pair, app), region->usage_bytes / MIB, size / MIB);
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
        if (record->granted_bytes[flow->to] && !table_find_application(&step->engine->table, pair_holder(pair, flow->to), app)) {
                /* Late from an earlier move away from there: it becomes part of the region again. */
                table_release(&step->engine->table, pair_holder(pair, flow->to), record->granted_bytes[flow->to]);
                record->granted_bytes[flow->to] = 0;
        }
        if (!give_region(step, app)) {
                if (give_up_late(step, app, flow->phase_usec[PHASE_DECIDED]))
                        return false;
                if (!a->refused)
                        step_say(step, RECORD_REFUSED, flow->to, "%s: the pool has %" PRIu64 " MiB unused, its region needs %" PRIu64 " MiB",
                                 app_name(pair, app), table_unused(&step->engine->table) / MIB,
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
        record->releasing[flow->to] = false;
        record->owner = flow->to;
        record->token++;
        a->attached[flow->to] = false;
        pair_owner_dirty(pair);
        step->again = true;
        return true;
}

/* True when the new side's agent sees the memory online. */
static bool move_attached(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct app_state *a = &pair->apps[app];
        struct request *request = &a->attach[flow->to];

        if (a->attached[flow->to] || pair->policy->applications[app].memory_bytes == 0)
                return true;
        request_expire(step, request, 30 * USEC_PER_SEC + pair->policy->act_timeout_usec);
        if (request->failures >= ATTACH_ATTEMPTS) {
                snprintf(a->failure, sizeof(a->failure), "%.63s does not bring its memory online", pair_domain(pair, flow->to));
                flow_end(step, -EIO, a->failure);
                return false;
        }
        if (pair->members[flow->to].configured && request_free(step, request))
                step_ask(step, flow->to, MESSAGE_ATTACH, app, request);
        return false;
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
                step_say(step, RECORD_STARTED, flow->to, "%s runs on %s", app_name(pair, app), pair_domain(pair, flow->to));
                return true;
        }
        request_expire(step, request, pair->policy->act_timeout_usec + 30 * USEC_PER_SEC);
        if (request->failures >= START_ATTEMPTS) {
                flow_end(step, -EIO, a->failure[0] ? a->failure : "the application does not start on the other side");
                return false;
        }
        if (pair_owner_safe(pair) && pair->members[flow->to].configured && request_free(step, request)) {
                a->told_start = true;
                step_ask(step, flow->to, MESSAGE_START, app, request);
        }
        return false;
}

/* How far one application has come; PHASE_DECIDED while it has not stopped. */
static enum phase move(struct step *step, int app) {
        struct pair *pair = step->pair;
        bool fenced_flow = pair->record.fence_wanted[pair->record.flow.from];
        bool stopped, free_disks, granted, attached;

        if (pair->record.apps[app].started)
                return pair->apps[app].healthy ? PHASE_HEALTHY : PHASE_STARTED;
        stopped = move_stopped(step, app);
        if (!pair_flow_active(pair) || (!stopped && !fenced_flow))
                return PHASE_DECIDED;
        free_disks = stopped && move_disks_free(step, app);
        if (!pair_flow_active(pair))
                return PHASE_DECIDED;
        granted = (fenced_flow || free_disks) && move_detached(step, app) && move_granted(step, app);
        attached = granted && move_attached(step, app);
        if (!stopped || !pair_flow_active(pair))
                return PHASE_DECIDED;
        if (!granted)
                return PHASE_FENCED;
        if (!attached)
                return PHASE_GRANTED;
        if (!free_disks || !app_disks_attached(step, app, pair->record.flow.to) || !move_started(step, app))
                return PHASE_PLUGGED;
        return pair->apps[app].healthy ? PHASE_HEALTHY : PHASE_STARTED;
}

static void finish(struct step *step, enum phase reached) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        usec_t from = flow->phase_usec[PHASE_FAULT] ? flow->phase_usec[PHASE_FAULT] : flow->phase_usec[PHASE_DETECTED];
        usec_t took = flow->phase_usec[PHASE_STARTED] - from;
        usec_t until = flow->phase_usec[PHASE_STARTED] + HEALTHY_WAIT_USEC;
        char text[EVENT_TEXT_LEN];

        if (reached < PHASE_HEALTHY && step->now < until) {
                step_wake(step, until);
                return;
        }
        snprintf(text, sizeof(text), "%s after %" PRIu64 " ms on %s%s", reached < PHASE_HEALTHY ? "started, not yet healthy," : "healthy; started",
                 took / USEC_PER_MSEC, pair_domain(pair, flow->to),
                 took > pair->policy->objective_usec ? "; the objective was missed" : "");
        for (size_t i = 0; flow->to == SIDE_A && i < pair->policy->n_applications; i++)
                if (!pair->policy->applications[i].retired)
                        pair->record.apps[i].ended = false; /* back home: plain applications may run again */
        flow_end(step, 0, text);
}

/* The new side is out of play and the application does not run there: it was never told to start it, or its VM is
 * gone. The old side owns it again, under a new token. */
static void take_back(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        struct record_app *record = &pair->record.apps[app];
        struct table *table = &step->engine->table;
        struct region *region = table_find_application(table, pair_holder(pair, flow->to), app);
        bool gone = pair->members[flow->to].process_known && !pair->members[flow->to].process_alive;
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
                table_move(table, region, pair_holder(pair, flow->from), pair_holder(pair, flow->to));
        }
        record->granted_bytes[flow->to] = left;
        record->releasing[flow->to] = left > 0;
        record->owner = flow->from;
        record->token++;
        pair_owner_dirty(pair);
}

/* A second fault in the middle of the first. */
static bool flow_disturbed(struct step *step) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        char text[EVENT_TEXT_LEN];

        if (pair->members[flow->to].failure[0]) {
                snprintf(text, sizeof(text), "%s failed while it took over: %.150s", pair_domain(pair, flow->to),
                         pair->members[flow->to].failure);
                flow_end(step, -EIO, text);
                return true;
        }
        if (pair->members[flow->to].operator_hold) {
                snprintf(text, sizeof(text), "%s was suspended or ended by an operator while it took over",
                         pair_domain(pair, flow->to));
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        if (pair->record.apps[i].moving)
                                take_back(step, (int) i);
                flow_end(step, -ECANCELED, text);
                return true;
        }
        if (pair->members[flow->from].failure[0] && flow->kind != FLOW_OS_FAILURE) {
                step_say(step, RECORD_DECIDED, flow->from, "%s failed during the %s: %.120s; its whole system moves",
                         pair_domain(pair, flow->from), flow_kind_to_string(flow->kind), pair->members[flow->from].failure);
                flow->kind = FLOW_OS_FAILURE;
                take_whole_system(step, flow->from);
                fence(step, flow->from);
                drop_memory(step, flow->from);
        }
        return false;
}

void advance_flow(struct step *step) {
        struct pair *pair = step->pair;
        enum phase least = PHASE_HEALTHY;
        bool any = false;

        if (!pair_flow_active(pair) || flow_disturbed(step))
                return;
        for (size_t i = 0; i < pair->policy->n_applications && pair_flow_active(pair); i++) {
                enum phase reached;

                if (!pair->record.apps[i].moving)
                        continue;
                any = true;
                reached = move(step, (int) i);
                if (reached < least)
                        least = reached;
        }
        if (!pair_flow_active(pair))
                return;
        if (!any) {
                flow_end(step, -ENOENT, "nothing is left to move");
                return;
        }
        for (enum phase phase = PHASE_FENCED; phase <= least && phase <= PHASE_HEALTHY; phase++)
                reach(step, phase);
        if (least >= PHASE_STARTED)
                finish(step, least);
}

/* Level-triggered: a failed system whose hot-standby applications could go elsewhere goes there. */
void advance_failures(struct step *step) {
        struct pair *pair = step->pair;

        for (enum side side = 0; side < SIDE_MAX; side++) {
                struct member_state *member = &pair->members[side];
                const char *blocked;
                bool owns = false;

                if (member->failure[0] == 0)
                        continue;
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        owns |= pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == side;
                if (!owns || pair_flow_active(pair) || pair_too_early(step, side_other(side)))
                        continue;
                blocked = flow_blocked(step, side_other(side));
                if (!blocked) {
                        flow_begin(step, FLOW_OS_FAILURE, side, NO_APP, member->failure_usec, member->failure);
                        continue;
                }
                if (strcmp(pair->blocked, blocked) != 0) {
                        snprintf(pair->blocked, sizeof(pair->blocked), "%s", blocked);
                        step_say(step, RECORD_IGNORED, side, "%s failed (%.80s), no failover: %s", pair_domain(pair, side),
                                 member->failure, blocked);
                }
        }
}
