/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

/* The engine asks to be woken this often and looks whether it was: whoever comes late has not been looking. */
#define TICK_USEC (250 * USEC_PER_MSEC)
#define LATE_USEC (250 * USEC_PER_MSEC)
/* From this share of stalled time on (parts per million) a silent guest may just be waiting for the host. */
#define STALLED_PPM 500000

struct engine *engine_new(void) {
        return calloc(1, sizeof(struct engine));
}

struct engine *engine_free(struct engine *engine) {
        if (!engine)
                return NULL;
        for (int i = 0; i < engine->n_pairs; i++)
                pair_free(engine->pairs[i]);
        free(engine->pairs);
        table_deinit(&engine->table);
        policy_free(engine->policy);
        free(engine);
        return NULL;
}

int engine_find_pair(const struct engine *engine, const char *name) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && strcmp(engine->pairs[i]->policy->name, name) == 0)
                        return i;
        return -ENOENT;
}

void engine_check(const struct engine *engine) {
        assert(engine->n_suspected <= engine->n_watched);
        assert(engine->table.rows == NULL || engine->policy);
}

struct step step_begin(struct engine *engine, struct pair *pair, struct update *update) {
        return (struct step) {
                .engine = engine, .pair = pair, .update = update, .now = engine->now_usec, .wake = USEC_INFINITY,
                .wake_latest = USEC_INFINITY,
        };
}

/* ---- start-up -------------------------------------------------------------------------------------------- */

static bool was_hot(const struct application *policy, const struct record_app *app) {
        return (policy->kind == APPLICATION_AUTO ? app->kind : policy->kind) == APPLICATION_HOT_STANDBY;
}

static void restore(struct engine *engine, const struct event *event) {
        struct pair *pair = engine->pairs[event->pair];
        const struct record *record = event->record;

        if (strcmp(record->pair, pair->policy->name) != 0)
                return;
        if (!record->known) {
                /* Written before anybody knew who owns what: only what people said of it counts. */
                pair->record.seq = record->seq;
                pair->record.failovers = record->failovers;
                pair->record.paused = record->paused;
                pair->record.paused_until_usec = record->paused_until_usec;
                memcpy(pair->record.pause_reason, record->pause_reason, sizeof(record->pause_reason));
                pair->record.held = record->held;
                memcpy(pair->record.held_reason, record->held_reason, sizeof(record->held_reason));
                return;
        }
        pair->record = *record;
        pair->restored = true;
        engine->lost_bytes += record->lost_bytes;
        engine->reserve_used_bytes += record->reserve_used_bytes;
        if (record->rehearsal != REHEARSAL_NONE) {
                pair->rehearsal.cut_off = record->rehearsal != REHEARSAL_LATE;
                pair->record.rehearsal = REHEARSAL_LATE;
        }
        pair->record.flow.command_id = 0; /* who asked has been told that failoverd went away */
        for (enum phase phase = 0; phase < PHASE_MAX; phase++) /* of an earlier boot: its clock is not ours */
                if (pair->record.flow.phase_usec[phase] > engine->now_usec)
                        pair->record.flow.phase_usec[phase] = engine->now_usec;
        pair->record.n_apps = (unsigned) pair->policy->n_applications;
        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                struct record_app app = { .token = 1, .owner = SIDE_A, .kind = APPLICATION_AUTO };

                if (i >= pair->policy->n_applications) {
                        pair->record.apps[i] = (struct record_app) { 0 };
                        continue;
                }
                for (unsigned k = 0; k < record->n_apps && k < POLICY_APPLICATIONS_MAX; k++)
                        if (strcmp(record->apps[k].name, pair->policy->applications[i].name) == 0)
                                app = record->apps[k];
                snprintf(app.name, sizeof(app.name), "%s", pair->policy->applications[i].name);
                /* It was taken out of the policy, and has come back with the one that is in force now. */
                if (pair->policy->applications[i].retired && !app.ended && !app.moving) { /* taken out since */
                        app.ended = true;
                        app.stopped = false;
                } else if (!pair->policy->applications[i].retired)
                        app.ended = app.ended && !was_hot(&pair->policy->applications[i], &app);
                /* A VM that is to be fenced may have been let go on meanwhile: to be seen once more. A stop that its
                 * agent confirmed holds, and so does the end of a VM that was rebuilt since (it is not to be fenced any
                 * more): nothing is started there again before the flow's end is written. */
                app.stopped = app.stopped && (app.started || !record->fence_wanted[record->flow.from]);
                pair->apps[i].told_start = app.moving && app.owner == record->flow.to;
                /* What was asked of whom before is not in the record. */
                pair->apps[i].disks_there[SIDE_A] = pair->apps[i].disks_there[SIDE_B] = true;
                pair->apps[i].release_usec = engine->now_usec;
                pair->record.apps[i] = app;
        }
        pair->persist_seq[PERSIST_STEP] = pair->persist_seq[PERSIST_OWNER] = record->seq;
        pair->owner_seq = record->seq;
        /* What came from the run-time directory alone may not be on disk yet: write it again. */
        pair_owner_dirty(pair);
}

static void hold_lost(struct step *step) {
        struct pair *pair = step->pair;

        pair->record.held = true;
        snprintf(pair->record.held_reason, sizeof(pair->record.held_reason),
                 "the store was lost: who owns the data is not known; failoverctl adopt %s --active DOMAIN",
                 pair->policy->name);
        step_say(step, RECORD_HELD, SIDE_INVALID, "%s: %s", pair->policy->name, pair->record.held_reason);
}

/* The pool is too small for the policy's plans, which have given way (engine_build_table()). */
static void say_short(struct engine *engine, struct update *update) {
        const struct policy *policy = engine->policy;
        struct step step = step_begin(engine, NULL, update);
        uint64_t planned = policy_monitor_bytes(policy) + policy->reserve_bytes, counted;

        for (int i = 0; i < engine->n_pairs; i++)
                planned += engine->pairs[i] ? policy->overhead_bytes * SIDE_MAX : 0;
        counted = table_monitor(&engine->table) + table_overhead(&engine->table) + table_reserve(&engine->table) +
                  engine->reserve_used_bytes;
        if (counted < planned)
                step_say(&step, RECORD_TABLE_MISMATCH, SIDE_INVALID,
                         "the pool of %" PRIu64 " MiB is %" PRIu64 " MiB too small for what the policy plans; so much "
                         "less is counted for failoverd, memory servers, reserve and QEMU, and pairs go on: make "
                         "pool.memory larger",
                         policy->pool_bytes / MIB, (planned - counted + MIB - 1) / MIB);
}

static void become_ready(struct engine *engine, struct update *update) {
        struct table table;
        int r;

        engine->ready = true;
        engine->ready_usec = engine->now_usec;
        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *pair = engine->pairs[i];
                struct step step = step_begin(engine, pair, update);

                if (!pair || pair->restored)
                        continue;
                for (size_t k = 0; k < pair->policy->n_applications; k++) {
                        pair->record.apps[k].token = 1;
                        pair->record.apps[k].ended = pair->policy->applications[k].retired;
                        pair->apps[k].disks_there[SIDE_A] = pair->apps[k].disks_there[SIDE_B] = engine->store_lost;
                }
                if (engine->store_lost && engine->policy->on_store_lost == STORE_LOST_HOLD)
                        hold_lost(&step);
                else
                        pair_hold_initial(pair);
                pair->unsettled = true;
                pair_owner_dirty(pair);
        }
        if (!engine->policy)
                return;
        assigned_restore(engine, update);
        r = assigned_build_table(engine, &table, update);
        if (r >= 0) {
                table_deinit(&engine->table);
                engine->table = table;
                say_short(engine, update);
        } else if (r == -ENOMEM)
                update->failed = true;
        else {
                /* The pool was made smaller than what is granted, behind our back. Nothing can be given out, and
                 * nothing that runs is touched. */
                engine->pool_short = true;
                for (int i = 0; i < engine->n_pairs; i++) {
                        struct step step = step_begin(engine, engine->pairs[i], update);

                        if (!engine->pairs[i])
                                continue;
                        engine->pairs[i]->record.held = true;
                        snprintf(engine->pairs[i]->record.held_reason, RECORD_TEXT_LEN,
                                 "the pool in the policy is smaller than what is granted already; make pool.memory "
                                 "larger, then failoverctl resume %.63s",
                                 engine->pairs[i]->policy->name);
                        step_say(&step, RECORD_HELD, SIDE_INVALID, "%s", engine->pairs[i]->record.held_reason);
                }
        }
}

/* ---- doubt ----------------------------------------------------------------------------------------------- */

/* Was nobody looking for a while? Then the silence of that while says nothing about guests. */
static void doubt_late(struct engine *engine, struct update *update) {
        struct step step = step_begin(engine, NULL, update);
        usec_t late;

        if (engine->wake_usec == 0 || engine->now_usec <= engine->wake_usec + LATE_USEC)
                return;
        late = engine->now_usec - engine->wake_usec;
        engine->void_usec = engine->now_usec;
        engine->wake_usec = engine->now_usec; /* said once for each time */
        step_say(&step, RECORD_DOUBT, SIDE_INVALID,
                 "failoverd itself was away for %" PRIu64
                 " ms (stopped, starved or suspended); silence in that time does not count",
                 late / USEC_PER_MSEC);
}

static void doubt_pressure(struct engine *engine, const struct event *event, struct update *update) {
        struct step step = step_begin(engine, NULL, update);
        bool before = engine->pressure_usec && engine->now_usec - engine->pressure_usec < 5 * USEC_PER_SEC;

        if (event->bytes < STALLED_PPM)
                return;
        engine->pressure_usec = engine->void_usec = engine->now_usec;
        if (!before)
                step_say(&step, RECORD_DOUBT, SIDE_INVALID,
                         "the host is starved (tasks stalled %" PRIu64
                         " %% of the last second); silence in that time does not count",
                         event->bytes / 10000);
}

/* Said once for each change; who depends on it is told by status. */
static void reclaim_changed(struct engine *engine, const struct event *event, struct update *update) {
        struct step step = step_begin(engine, NULL, update);

        if (engine->reclaim_able != event->up && engine->ready)
                step_say(&step, RECORD_RECLAIM, SIDE_INVALID, "memory %s: %s",
                         event->up ? "can be taken back from VMs by force"
                                   : "can no longer be taken back from VMs by force; what is handed over waits for "
                                     "their guests",
                         event->text);
        if ((engine->pool_limit_bytes == 0) != (event->bytes == 0) && engine->ready)
                step_say(&step, RECORD_RECLAIM, SIDE_INVALID, "%s", event->bytes
                         ? "the kernel holds what the VMs have in memory to the pool"
                         : "the kernel no longer holds what the VMs have in memory to the pool; failoverctl memory "
                           "says why");
        engine->pool_limit_bytes = event->bytes;
        engine->swap_bytes = event->swap_bytes;
        engine->reclaim_able = event->up;
        snprintf(engine->reclaim_text, sizeof(engine->reclaim_text), "%s", event->text);
}

static void tick(struct engine *engine, struct update *update) {
        if (engine->wake_usec > engine->now_usec)
                return;
        engine->wake_usec = engine->now_usec + TICK_USEC;
        update_add(update, ACTION_WAKE, NO_PAIR, SIDE_INVALID, NO_APP)->due_usec = engine->wake_usec;
}

/* ---- step ------------------------------------------------------------------------------------------------ */

/* A sign of life of a guest that was alive, with nothing new in it: most of all events, and no goal has changed. */
static bool nothing_new(const struct step *step, const struct event *event) {
        bool sign = event->kind == EVENT_SECOND_PATH ||
                    (event->kind == EVENT_MESSAGE && event->message->type == MESSAGE_PONG);

        return sign && !step->again && !step->changed && !step->update->n_actions &&
               step->pair->members[event->side].detector.verdict == VERDICT_ALIVE;
}

static void advance(struct engine *engine, struct pair *pair, const struct event *event, struct update *update) {
        struct step step = step_begin(engine, pair, update);

        if (event) {
                pair_event(&step, event);
                if (nothing_new(&step, event))
                        return;
        }
        pair_advance(&step);
}

static void advance_all(struct engine *engine, struct update *update) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i])
                        advance(engine, engine->pairs[i], NULL, update);
}

static void hypervisor_changed(struct engine *engine, const struct event *event) {
        engine->hypervisor_up = event->up;
        engine->hypervisor_usec = engine->now_usec;
        for (int i = 0; event->up && i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        /* The truth may have moved on while nobody told: read it again. */
                        engine->pairs[i]->members[side].domain_usec = 0;
                        engine->pairs[i]->members[side].inspect.retry_usec = 0;
                }
}

static void pair_or_all(struct engine *engine, const struct event *event, struct update *update) {
        bool one = event->pair >= 0;

        if (one && (event->pair >= engine->n_pairs || !engine->pairs[event->pair]))
                return; /* an answer for a pair that is no more */
        for (int i = one ? event->pair : 0; i < (one ? event->pair + 1 : engine->n_pairs); i++)
                if (engine->pairs[i])
                        advance(engine, engine->pairs[i], event, update);
}

static void guest_asks(struct engine *engine, const struct event *event, struct update *update) {
        if (event->pair >= 0 && event->pair < engine->n_pairs && engine->pairs[event->pair])
                engine_guest_asks(engine, engine->pairs[event->pair], event->side, event->message, update);
}

void engine_step(struct engine *engine, const struct event *event, struct update *update) {
        update_clear(update);
        assert(event->time_usec >= engine->now_usec);
        engine->now_usec = event->time_usec;
        engine->real_usec = event->real_usec;
        doubt_late(engine, update);

        switch (event->kind) {
        case EVENT_POLICY:
                engine_apply_policy(engine, event, update);
                advance_all(engine, update);
                break;
        case EVENT_RESTORED:
                if (event->pair >= 0 && event->pair < engine->n_pairs && engine->pairs[event->pair] && !engine->ready)
                        restore(engine, event);
                break;
        case EVENT_STORE_LOST:
                engine->store_lost = true;
                break;
        case EVENT_READY:
                become_ready(engine, update);
                advance_all(engine, update);
                break;
        case EVENT_HYPERVISOR:
                hypervisor_changed(engine, event);
                advance_all(engine, update);
                break;
        case EVENT_PRESSURE:
                doubt_pressure(engine, event, update);
                break;
        case EVENT_RECLAIM:
                reclaim_changed(engine, event, update);
                advance_all(engine, update);
                break;
        case EVENT_WAKE:
                if (event->pair >= 0)
                        pair_or_all(engine, event, update);
                break;
        case EVENT_COMMAND:
                if (event->command->verb == COMMAND_ASSIGN || event->command->verb == COMMAND_ASSIGN_CANCEL)
                        engine_assign(engine, event->command, update);
                else
                        pair_or_all(engine, event, update);
                break;
        case EVENT_MESSAGE:
                if (event->message->type == MESSAGE_ASK)
                        guest_asks(engine, event, update);
                else
                        pair_or_all(engine, event, update);
                break;
        default:
                pair_or_all(engine, event, update);
                break;
        }
        engine_advance_assignment(engine, event, update);
        tick(engine, update);
        engine_check(engine);
}
