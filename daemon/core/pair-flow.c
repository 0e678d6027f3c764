/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The flow under way (H: OS-failure flow, application-failure flow; switch and return go the same way): whether one may
 * begin, its beginning, its end, and second faults in the middle of it. Each application's way is pair-move.c. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define HEALTHY_WAIT_USEC (30 * USEC_PER_SEC)

/* ---- whether ------------------------------------------------------------------------------------------- */

unsigned flow_flaps(const struct engine *engine, const struct pair *pair) {
        const struct record *record = &pair->record;
        unsigned n = 0;

        for (unsigned i = 0; i < record->n_flaps; i++) {
                usec_t then = record->flaps_usec[i], now = engine->real_usec;

                /* The host's clock may have been set back since: what lies far ahead is not of late. */
                n += (now > then ? now - then : then - now) < pair->policy->flap_window_usec;
        }
        return n;
}

static void add_flap(struct step *step) {
        struct record *record = &step->pair->record;

        if (record->n_flaps == FLAP_MAX) {
                memmove(record->flaps_usec, record->flaps_usec + 1, sizeof(record->flaps_usec) - sizeof(usec_t));
                record->n_flaps--;
        }
        record->flaps_usec[record->n_flaps++] = step->engine->real_usec;
}

enum flow_blocker flow_blocker(const struct engine *engine, const struct pair *pair, enum side to) {
        if (pair_flow_active(pair))
                return FLOW_BLOCKED_BY_FLOW;
        if (!engine->hypervisor_up)
                return FLOW_BLOCKED_BY_HYPERVISOR;
        if (pair->record.paused)
                return FLOW_BLOCKED_BY_PAUSE;
        if (pair->record.held)
                return FLOW_BLOCKED_BY_HOLD;
        if (pair->unsettled)
                return FLOW_BLOCKED_UNSETTLED;
        if (!member_usable(pair, to))
                return FLOW_BLOCKED_BY_OTHER_SIDE;
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner != to &&
                    !pair->members[to].preflight.apps[i].present)
                        return FLOW_BLOCKED_BY_DEVICE;
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner != to &&
                    !app_state_understood(pair, (int) i, to))
                        return FLOW_BLOCKED_BY_AGENT;
        return flow_flaps(engine, pair) >= pair->policy->flap_limit ? FLOW_BLOCKED_BY_FLAPS : FLOW_FREE;
}

const char *flow_blocked(struct step *step, enum side to) {
        struct pair *pair = step->pair;
        enum flow_blocker blocker = flow_blocker(step->engine, pair, to);

        if (blocker == FLOW_BLOCKED_BY_FLAPS) {
                pair->record.held = true;
                snprintf(
                        pair->record.held_reason, sizeof(pair->record.held_reason),
                        "flap limit: %u failovers within the policy's window; find out why, then failoverctl resume %s",
                        flow_flaps(step->engine, pair), pair->policy->name);
                pair_owner_dirty(pair);
                step_say(step, RECORD_HELD, SIDE_INVALID, "%s is held: %s", pair->policy->name,
                         pair->record.held_reason);
        }
        return blocker == FLOW_FREE ? NULL : flow_blocker_to_string(blocker);
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
                handover_ended(step, (int) i, side);
                if (record->owner == side && !record->moving && !pair_is_hot(pair, (int) i) && !record->ended &&
                    !pair_is_memory(pair, (int) i)) {
                        record->ended = true;
                        step_say(step, RECORD_ENDED, side,
                                 "%s ended with the system of %s; its region goes back to the monitor",
                                 pair_app_name(pair, (int) i), pair_domain(pair, side));
                }
        }
}

static void mark_moving(struct step *step, int app) {
        struct record_app *record = &step->pair->record.apps[app];
        struct app_state *a = &step->pair->apps[app];

        record->moving = true;
        record->stopped = record->started = false;
        app_disks_forget(a);
        a->told_start = a->prefaulted = false;
        a->overflow_usec = 0;
        request_reset(&a->touch);
        a->failed = a->restart_wanted = a->healthy = false;
        for (enum side side = 0; side < SIDE_MAX; side++) {
                request_reset(&a->start[side]);
                request_reset(&a->stop[side]);
                request_reset(&a->attach[side]);
        }
}

static void take_whole_system(struct step *step, enum side from) {
        struct pair *pair = step->pair;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == from && !pair->record.apps[i].moving)
                        mark_moving(step, (int) i);
}

void flow_take_system(struct step *step) {
        struct flow *flow = &step->pair->record.flow;

        flow->kind = FLOW_OS_FAILURE;
        take_whole_system(step, flow->from);
        member_fence(step, flow->from);
        drop_memory(step, flow->from);
}

void flow_begin(struct step *step, enum flow_kind kind, enum side from, int app, usec_t detected_usec,
                const char *cause) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;

        *flow = (struct flow) { .kind = kind, .number = ++pair->record.failovers, .from = from,
                                .to = side_other(from) };
        snprintf(flow->cause, sizeof(flow->cause), "%s", cause);
        rehearsal_abandon(step);
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
                member_fence(step, from);
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

void flow_end(struct step *step, int result, const char *text) {
        struct pair *pair = step->pair;
        struct action *action = update_add(step->update, ACTION_FLOW_ENDED, pair->slot, SIDE_INVALID, NO_APP);

        action->flow = pair->record.flow;
        action->result = result;
        snprintf(action->text, sizeof(action->text), "%s", text);
        drill_flow_ended(step, &pair->record.flow, result, text);
        if (pair->record.flow.command_id)
                command_reply(step, pair->record.flow.command_id, result, "%s", text);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct record_app *record = &pair->record.apps[i];

                /* What goes nowhere keeps its memory and gets its disks back before it is started again. */
                if (record->moving && record->owner == pair->record.flow.from)
                        record->releasing[record->owner] = false;
                if (record->moving) {
                        app_disks_forget(&pair->apps[i]);
                        pair->apps[i].overflow_usec = 0;
                }
                for (enum side side = 0; record->moving && side < SIDE_MAX; side++) {
                        request_reset(&pair->apps[i].stop[side]);
                        request_reset(&pair->apps[i].attach[side]);
                }
                if (record->moving) {
                        record->stopped = false;
                        /* Taken out while failoverd was down: now it ends, wherever it is. */
                        record->ended = record->ended || pair->policy->applications[i].retired;
                }
                record->moving = false;
        }
        pair->last_flow = pair->record.flow;
        pair->rejoin_pending = result == 0;
        pair->record.flow = (struct flow) { .kind = FLOW_NONE };
        pair_owner_dirty(pair); /* a power loss must not bring the flow back */
        step->again = step->changed = true;
}

/* What has started and failed before it was healthy is judged like any other failure, and at once. */
static bool failed_again(struct step *step) {
        struct pair *pair = step->pair;
        const struct flow *flow = &pair->record.flow;
        char text[EVENT_TEXT_LEN];

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                if (!pair->record.apps[i].moving || !pair->apps[i].failed)
                        continue;
                snprintf(text, sizeof(text), "%s started on %s and failed there before it was healthy: %.120s",
                         pair_app_name(pair, (int) i), pair_domain(pair, flow->to), pair->apps[i].failure);
                flow_end(step, -EIO, text);
                return true;
        }
        return false;
}

static void finish(struct step *step, enum phase reached) {
        struct pair *pair = step->pair;
        struct flow *flow = &pair->record.flow;
        usec_t from = flow->phase_usec[PHASE_FAULT] ? flow->phase_usec[PHASE_FAULT] : flow->phase_usec[PHASE_DETECTED];
        usec_t took = flow->phase_usec[PHASE_STARTED] - from;
        usec_t until = flow->phase_usec[PHASE_STARTED] + HEALTHY_WAIT_USEC;
        char text[EVENT_TEXT_LEN];

        if (failed_again(step))
                return;
        if (reached < PHASE_HEALTHY && step->now < until) {
                step_wake(step, until);
                return;
        }
        snprintf(text, sizeof(text), "%s after %" PRIu64 " ms on %s%s",
                 reached < PHASE_HEALTHY ? "started, not yet healthy," : "healthy; started", took / USEC_PER_MSEC,
                 pair_domain(pair, flow->to), took > pair->policy->objective_usec ? "; the objective was missed" : "");
        for (size_t i = 0; flow->to == SIDE_A && i < pair->policy->n_applications; i++)
                if (!pair->policy->applications[i].retired)
                        pair->record.apps[i].ended = false; /* back home: plain applications may run again */
        flow_end(step, 0, text);
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
                                move_take_back(step, (int) i);
                flow_end(step, -ECANCELED, text);
                return true;
        }
        if (pair->members[flow->from].failure[0] && flow->kind != FLOW_OS_FAILURE) {
                step_say(step, RECORD_DECIDED, flow->from, "%s failed during the %s: %.120s; its whole system moves",
                         pair_domain(pair, flow->from), flow_kind_to_string(flow->kind),
                         pair->members[flow->from].failure);
                flow_take_system(step);
        }
        return false;
}

void advance_flow(struct step *step) {
        struct pair *pair = step->pair;
        enum phase least = PHASE_HEALTHY;
        bool any = false;

        if (pair_flow_active(pair) && pair->policy->retired)
                flow_end(step, -ECANCELED, "the pair was taken out of the policy while failoverd was down");
        if (!pair_flow_active(pair) || flow_disturbed(step))
                return;
        for (size_t i = 0; i < pair->policy->n_applications && pair_flow_active(pair); i++) {
                enum phase reached;

                if (!pair->record.apps[i].moving)
                        continue;
                any = true;
                reached = move_advance(step, (int) i);
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

                if (member->failure[0] == 0)
                        continue;
                if (!pair_owns_hot(pair, side) || pair_flow_active(pair) || pair_too_early(step, side_other(side)))
                        continue;
                blocked = flow_blocked(step, side_other(side));
                if (!blocked) {
                        flow_begin(step, FLOW_OS_FAILURE, side, NO_APP, member->failure_usec, member->failure);
                        continue;
                }
                if (strcmp(pair->blocked, blocked) != 0) {
                        snprintf(pair->blocked, sizeof(pair->blocked), "%s", blocked);
                        step_say(step, RECORD_IGNORED, side, "%s failed (%.80s), no failover: %s",
                                 pair_domain(pair, side), member->failure, blocked);
                }
        }
}
