/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One application while no flow moves it: started where it is owned, stopped where it is not, judged when it
 * fails, and its region kept in step with what it uses. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/retired.h"

#define START_ATTEMPTS 3 /* then the other side is tried, where it can take over */
#define STARVED_RESTARTS_MAX 5 /* that a starved host excuses in a row */
#define STARVED_WELL_USEC (10 * 60 * USEC_PER_SEC) /* without a failed check on a starved host: counted anew */

static const struct application *application_policy(const struct pair *pair, int app) {
        return &pair->policy->applications[app];
}

/* ---- memory --------------------------------------------------------------------------------------------- */

uint64_t engine_promised_bytes(const struct engine *engine) {
        uint64_t sum = 0;

        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];

                for (size_t k = 0; pair && k < pair->policy->n_applications; k++) {
                        const struct record_app *record = &pair->record.apps[k];
                        uint64_t has = record->granted_bytes[SIDE_A] + record->granted_bytes[SIDE_B];

                        if (pair_is_hot(pair, (int) k) && !record->ended &&
                            has < pair->policy->applications[k].memory_bytes)
                                sum += pair->policy->applications[k].memory_bytes - has;
                }
        }
        return sum;
}

/* What a region that nobody moves has beyond what the table grants there. */
static uint64_t dropped_bytes(const struct pair *pair, int app, enum side side) {
        const struct record_app *record = &pair->record.apps[app];
        uint64_t plugged = pair->members[side].plugged_bytes[app], granted = record->granted_bytes[side];

        if (!pair_is_memory(pair, app))
                granted += record->granted_bytes[side_other(side)]; /* a region that moved is the other side's */
        return plugged > granted ? plugged - granted : 0;
}

uint64_t engine_dropped_bytes(const struct engine *engine) {
        uint64_t sum = 0;

        for (int i = 0; i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        const struct pair *pair = engine->pairs[i];

                        if (!pair->record.fence_wanted[side] || member_is_gone(&pair->members[side]))
                                continue;
                        for (size_t k = 0; k < pair->policy->n_applications; k++)
                                sum += dropped_bytes(pair, (int) k, side);
                }
        return sum;
}

/* What the pool can give this application now. */
static uint64_t available_bytes(const struct step *step, int app) {
        uint64_t unused = table_unused(&step->engine->table), spent = engine_dropped_bytes(step->engine);

        if (!pair_is_hot(step->pair, app))
                spent += engine_promised_bytes(step->engine);
        return unused > spent ? unused - spent : 0;
}

/* Why not all of the unused memory is available. */
static const char *held_back(const struct step *step, uint64_t available) {
        if (engine_dropped_bytes(step->engine) > 0)
                return " beside what VMs that are being ended still hold";
        return available < table_unused(&step->engine->table) ? " beside what is promised to hot-standby applications"
                                                              : "";
}

int app_request(struct step *step, int app, enum side side, uint64_t bytes, char reason[MESSAGE_TEXT_LEN]) {
        struct pair *pair = step->pair;
        const struct application *policy = application_policy(pair, app);
        struct record_app *record = &pair->record.apps[app];
        uint64_t extent = step->engine->policy->extent_bytes, room, available;

        if (pair_is_memory(pair, app)) {
                snprintf(reason, MESSAGE_TEXT_LEN, "%s is assigned by the host's operator", policy->name);
                return -EPERM;
        }
        if (record->owner != side || record->ended || record->moving) {
                snprintf(reason, MESSAGE_TEXT_LEN, "%s is not to run on this side now", policy->name);
                return -EPERM;
        }
        room = policy->memory_bytes > record->granted_bytes[side] ? policy->memory_bytes - record->granted_bytes[side]
                                                                  : 0;
        if (room == 0 && table_find_application(&step->engine->table, pair_holder(pair, side), app))
                return 0; /* granted already and still being plugged */
        if (bytes > room) {
                if (room == 0)
                        return 0;
                snprintf(reason, MESSAGE_TEXT_LEN,
                         "%s asks for %" PRIu64 " MiB more; its region of %" PRIu64 " MiB leaves %" PRIu64 " MiB",
                         policy->name, bytes / MIB, policy->memory_bytes / MIB, room / MIB);
                return -EPERM;
        }
        bytes = (bytes + extent - 1) / extent * extent;
        if (bytes > room)
                bytes = room; /* what is there already need not be whole extents */
        available = available_bytes(step, app);
        if (bytes > available ||
            table_grant_application(&step->engine->table, pair_holder(pair, side), app, bytes) < 0) {
                snprintf(reason, MESSAGE_TEXT_LEN,
                         "%s needs %" PRIu64 " MiB more and the pool has %" PRIu64
                         " MiB unused%s; stop something or grow the pool (policy: pool.memory)",
                         policy->name, bytes / MIB, available / MIB, held_back(step, available));
                rehearsals_give_way(step);
                if (pair_is_hot(pair, app))
                        assigned_give_way(step);
                if (!pair->apps[app].refused) /* said once, asked for again and again */
                        member_say(step, RECORD_REFUSED, side, "%s", reason);
                return -ENOSPC;
        }
        record->granted_bytes[side] += bytes;
        pair_dirty(pair);
        step_say(step, RECORD_GRANTED, side, "%s: %" PRIu64 " MiB out of unused for %s", pair_domain(pair, side),
                 bytes / MIB, policy->name);
        step->again = true;
        return 0;
}

int app_uses(struct step *step, int app, enum side side, uint64_t bytes) {
        struct pair *pair = step->pair;
        const struct application *policy = application_policy(pair, app);
        struct holder vm = pair_holder(pair, side);
        struct holder target = pair_is_hot(pair, app) ? pair_holder(pair, side_other(side)) : HOLDER_MONITOR;
        struct region *region = table_find_application(&step->engine->table, vm, app);
        int r;

        /* Whether it uses it is the guest's to tell; how much it has is not. */
        bytes = pair->record.apps[app].granted_bytes[side];
        if (region) {
                region->target = target;
                return 0;
        }
        if (bytes == 0)
                return 0;
        r = table_carve(&step->engine->table, vm, pair->policy->members[side].base_bytes, app, policy->name, bytes,
                        target);
        if (r == -ENOMEM)
                step->update->failed = true;
        else if (r < 0)
                member_say(step, RECORD_TABLE_MISMATCH, side,
                           "%s tells that %s uses %" PRIu64 " MiB; the table has not so much there",
                           pair_domain(pair, side), policy->name, bytes / MIB);
        step->again = step->changed = true;
        return r;
}

void app_release(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];

        if (record->releasing[side] || record->granted_bytes[side] == 0)
                return;
        record->releasing[side] = true;
        pair->apps[app].release_usec = step->now;
        pair->members[side].requested_known[app] = false;
        pair->apps[app].attached[side] = false;
        pair_dirty(pair);
        if (!record->moving || !handover_possible(step->engine, pair, app, side)) /* else it may keep what is in use */
                step_send(step, side, MESSAGE_DETACH, app);
        if (record->moving)
                handover_say_eager(step, app, side);
        step->again = true;
}

bool app_released(const struct pair *pair, int app, enum side side) {
        const struct member_state *member = &pair->members[side];

        if (!pair->record.apps[app].releasing[side])
                return pair->record.apps[app].granted_bytes[side] == 0;
        if (member_is_gone(member))
                return true;
        return member->requested_known[app] && member->requested_bytes[app] == 0 && member->resize[app].id == 0 &&
               member->plugged_usec[app] >= pair->apps[app].release_usec && member->plugged_bytes[app] == 0;
}

/* A region that is on its way back: a row of its own stays until all of it is back; what a flow left behind in
 * the system's row shrinks with every block. */
static void follow_release(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        struct holder vm = pair_holder(pair, side);
        struct region *region = table_find_application(&step->engine->table, vm, app);
        struct region *rehearsal = table_find_rehearsal(&step->engine->table, vm, app);
        uint64_t left = 0;

        if (!record->releasing[side] || (record->moving && region))
                return;
        if (!app_released(pair, app, side)) {
                left = handover_left(pair, app, side, record->granted_bytes[side]);
                if (region || left == record->granted_bytes[side])
                        return;
        }
        if (region)
                table_give_back(&step->engine->table, region);
        else if (rehearsal)
                table_shrink(&step->engine->table, rehearsal, record->granted_bytes[side] - left);
        else
                table_release(&step->engine->table, vm, record->granted_bytes[side] - left);
        record->granted_bytes[side] = left;
        if (left == 0) {
                record->releasing[side] = false;
                handover_ended(step, app, side);
        }
        pair_dirty(pair);
        step->again = step->changed = true;
}

/* The region that it runs in is short: there was no more when it was granted, or memory errors took it. It grows as the
 * pool has unused memory again. */
static void grow_region(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        enum side owner = record->owner;
        uint64_t extent = step->engine->policy->extent_bytes, bytes, missing;
        struct region *row = table_find_application(&step->engine->table, pair_holder(pair, owner), app);

        if (!row || row->usage_bytes >= application_policy(pair, app)->memory_bytes || record->ended ||
            record->releasing[owner] || record->granted_bytes[owner] != row->usage_bytes || pair->record.paused ||
            pair->record.held || pair->unsettled || !member_usable(pair, owner))
                return;
        missing = application_policy(pair, app)->memory_bytes - row->usage_bytes;
        bytes = available_bytes(step, app);
        bytes = bytes < missing ? bytes - bytes % extent : missing;
        if (bytes == 0)
                return;
        bytes = table_grow(&step->engine->table, row, bytes);
        record->granted_bytes[owner] += bytes;
        pair_dirty(pair);
        step_say(step, RECORD_GRANTED, owner, "%s: %" PRIu64 " MiB out of unused for %s, which was short of them",
                 pair_domain(pair, owner), bytes / MIB, pair_app_name(pair, app));
        step->again = true;
        /* Its agent sets it online where the kernel does not. One that starts is going to wait for it. */
        if (pair->apps[app].state[owner] == APPLICATION_RUNNING && request_free(step, &pair->apps[app].attach[owner]))
                step_ask(step, owner, MESSAGE_ATTACH, app, &pair->apps[app].attach[owner]);
}

#define TOUCH_LIMIT_USEC (5 * USEC_PER_SEC) /* and as long for each GiB */

void app_prefault(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        uint64_t bytes = pair->record.apps[app].granted_bytes[side];

        if (a->prefaulted || pair->record.rehearsal != REHEARSAL_NONE) /* which touches memory too */
                return;
        (void) request_expire(step, &a->touch, TOUCH_LIMIT_USEC + TOUCH_LIMIT_USEC * (bytes / MIB) / 1024);
        if (a->touch.failures > 0 || pair->members[side].protocol < PROTOCOL_VERSION_REHEARSE || bytes == 0) {
                a->prefaulted = true;
                step->again = true;
                return;
        }
        if (pair->members[side].configured && request_free(step, &a->touch))
                step_ask(step, side, MESSAGE_TOUCH, app, &a->touch)->bytes = bytes;
}

bool app_prefault_answer(struct step *step, enum side side, int app, const struct message *message) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        usec_t took = step->now - a->touch.sent_usec;

        if (a->touch.id != message->id || message->id == 0)
                return false;
        request_end(step, &a->touch, true); /* whatever it has come to: it is not tried again */
        a->prefaulted = true;
        step->again = true;
        if (message->result == 0)
                step_say(step, RECORD_GRANTED, side,
                         "%" PRIu64 " MiB of the region of %s were touched on %s in %" PRIu64 " ms",
                         message->bytes / MIB, pair_app_name(pair, app), pair_domain(pair, side), took / USEC_PER_MSEC);
        else
                step_say(step, RECORD_REFUSED, side, "the region of %s could not be touched on %s first: %.120s",
                         pair_app_name(pair, app), pair_domain(pair, side),
                         message->text[0] ? message->text : strerror(-message->result));
        return true;
}

/* ---- failures ------------------------------------------------------------------------------------------- */

unsigned pair_recent_restarts(const struct pair *pair, int app, usec_t now_usec) {
        const struct app_state *a = &pair->apps[app];
        unsigned n = 0;

        for (unsigned i = 0; i < a->n_restarts; i++)
                n += now_usec - a->restarts_usec[i] < application_policy(pair, app)->restart_window_usec;
        return n;
}

enum severity app_severity(const struct pair *pair, int app, usec_t now_usec, const char **ret_why) {
        const struct application *policy = application_policy(pair, app);
        const struct app_state *a = &pair->apps[app];
        enum severity severity = application_severity(policy, a->failed_cause, a->failed_code);

        *ret_why = "by its severity rule";
        if (severity != SEVERITY_MINOR)
                return severity;
        *ret_why = "hard to repair there: its agent says so";
        if (a->failed_hard)
                return SEVERITY_HARD;
        *ret_why = "hard to repair there: its restart budget is used up";
        if (pair_recent_restarts(pair, app, now_usec) >= policy->restart_budget)
                return SEVERITY_HARD;
        *ret_why = "hard to repair there: a restart takes longer than a failover";
        if (policy->restart_expected_usec > pair->policy->failover_expected_usec)
                return SEVERITY_HARD;
        *ret_why = "";
        return SEVERITY_MINOR;
}

static void restart_in_place(struct step *step, int app, const char *why) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        enum side owner = pair->record.apps[app].owner;

        a->failed = false;
        a->restart_wanted = true;
        if (a->n_restarts == sizeof(a->restarts_usec) / sizeof(a->restarts_usec[0])) {
                memmove(a->restarts_usec, a->restarts_usec + 1, sizeof(a->restarts_usec) - sizeof(a->restarts_usec[0]));
                a->n_restarts--;
        }
        a->restarts_usec[a->n_restarts++] = step->now;
        step_say(step, RECORD_RESTARTED, owner, "%s failed on %s (%.120s): restarted in place%s%s",
                 application_policy(pair, app)->name, pair_domain(pair, owner), a->failure, why[0] ? "; " : "", why);
        step->again = true;
}

/* An application that takes all processors that there are starves its host itself: it is excused a few times in a row,
 * and again only when it has been well for a while. */
static bool excused_starved(struct step *step, int app) {
        struct app_state *a = &step->pair->apps[app];
        enum side owner = step->pair->record.apps[app].owner;

        if (a->starved_usec == 0 || step->now - a->starved_usec >= STARVED_WELL_USEC)
                a->n_starved = 0;
        a->starved_usec = step->now;
        if (a->n_starved > STARVED_RESTARTS_MAX)
                return false;
        if (a->n_starved++ < STARVED_RESTARTS_MAX)
                return true;
        member_say(step, RECORD_DOUBT, owner,
                   "%s: %d restarts in a row were put down to a starved host; its failed checks count from now on",
                   application_policy(step->pair, app)->name, STARVED_RESTARTS_MAX);
        return false;
}

/* A health check that fails while the host is in trouble tells little of the application. Restarted in place, and not
 * on its budget: a failover would not make it better. */
static void restart_starved(struct step *step, int app) {
        struct app_state *a = &step->pair->apps[app];
        enum side owner = step->pair->record.apps[app].owner;

        a->failed = false;
        a->restart_wanted = true;
        member_say(step, RECORD_RESTARTED, owner,
                   "%s failed on %s (%.120s) while the host is starved: restarted in place, which does not count",
                   application_policy(step->pair, app)->name, pair_domain(step->pair, owner), a->failure);
        step->again = true;
}

/* A plain application beyond its budget: its region goes to the monitor; it is never moved. */
static void end_plain(struct step *step, int app) {
        struct pair *pair = step->pair;
        enum side owner = pair->record.apps[app].owner;

        pair->apps[app].failed = false;
        pair->record.apps[app].ended = true;
        pair_dirty(pair);
        step_say(step, RECORD_ENDED, owner,
                 "%s failed on %s beyond its restart budget: its region goes back to the monitor",
                 application_policy(pair, app)->name, pair_domain(pair, owner));
        step->again = true;
}

static void judge_failure(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        enum side owner = pair->record.apps[app].owner;
        const char *why, *blocked;
        enum severity severity;
        char cause[FLOW_TEXT_LEN];

        if (pair->members[owner].failure[0] || pair->record.fence_wanted[owner] || pair_flow_active(pair) ||
            pair->record.paused || pair->record.held)
                return; /* kept; judged when that is over */
        if (pair_is_hot(pair, app) && pair_too_early(step, side_other(owner)))
                return;
        if (a->failed_cause == FAILURE_CHECK && member_starved(step, owner) && excused_starved(step, app)) {
                restart_starved(step, app);
                return;
        }
        severity = app_severity(pair, app, step->now, &why);
        if (severity == SEVERITY_MINOR) {
                restart_in_place(step, app, "");
                return;
        }
        if (!pair_is_hot(pair, app)) {
                end_plain(step, app);
                return;
        }
        snprintf(cause, sizeof(cause), "%s: %.120s; %s (%s)", application_policy(pair, app)->name, a->failure,
                 severity_to_string(severity), why);
        blocked = flow_blocked(step, side_other(owner));
        if (!blocked) {
                flow_begin(step, FLOW_APPLICATION_FAILURE, owner, app, a->failed_usec, cause);
                return;
        }
        if (pair->record.held)
                return;
        /* No better place to be: go on trying here, ever more slowly. */
        if (request_free(step, &a->start[owner]))
                restart_in_place(step, app, blocked);
}

/* ---- running where it is owned -------------------------------------------------------------------------- */

/* No path may lead to two at once: the side that does not own it must not be about to be fenced, and whatever of the
 * application its agent last told of there must be gone with its VM or stopped. */
static bool other_side_clear(const struct pair *pair, int app) {
        enum side other = side_other(pair->record.apps[app].owner);
        const struct member_state *member = &pair->members[other];
        enum application_state state = pair->apps[app].state[other];

        if (member_is_gone(member))
                return true;
        if (pair->record.fence_wanted[other])
                return member->fence == FENCE_GONE ||
                       (member->fence == FENCE_FROZEN && application_policy(pair, app)->n_disks == 0);
        return state == APPLICATION_STOPPED || state == APPLICATION_FAILED;
}

static bool may_run(struct step *step, int app) {
        const struct pair *pair = step->pair;
        const struct record_app *record = &pair->record.apps[app];
        enum side owner = record->owner;

        if (record->ended || record->releasing[owner] || pair->record.paused || pair->record.held || pair->unsettled)
                return false;
        return member_usable(pair, owner) && other_side_clear(pair, app) && retired_gone(step, app) &&
               pair_owner_safe(pair);
}

/* It has been told to start here again and again, and does not. */
static bool start_elsewhere(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        enum side owner = pair->record.apps[app].owner;
        char cause[FLOW_TEXT_LEN];

        if (!pair_is_hot(pair, app) || a->refused || a->start[owner].id || flow_blocked(step, side_other(owner)))
                return false;
        snprintf(cause, sizeof(cause), "%s: %u starts have failed there (%.120s)", application_policy(pair, app)->name,
                 a->start[owner].failures, a->failure);
        flow_begin(step, FLOW_APPLICATION_FAILURE, owner, app, step->now, cause);
        return true;
}

/* Whether all that its start here takes is there, but for the overflow disk. */
static bool may_start(struct step *step, int app) {
        struct app_state *a = &step->pair->apps[app];
        enum side owner = step->pair->record.apps[app].owner;

        if (a->failed || a->state[owner] == APPLICATION_RUNNING || !may_run(step, app))
                return false;
        if (a->start[owner].failures >= START_ATTEMPTS && start_elsewhere(step, app))
                return false;
        if (a->state[owner] == APPLICATION_STOPPING || (a->state[owner] == APPLICATION_FAILED && !a->restart_wanted))
                return false;
        return request_free(step, &a->start[owner]) && app_disks_attached(step, app, owner) &&
               app_state_granted(step, app, owner);
}

static void start(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        enum side owner = pair->record.apps[app].owner;
        usec_t limit = pair->policy->act_timeout_usec + application_policy(pair, app)->stop_timeout_usec +
                       30 * USEC_PER_SEC; /* the agent waits that long for memory */

        if (request_expire(step, &a->start[owner], limit))
                snprintf(a->failure, sizeof(a->failure), "its start was not answered in time");
        if (a->state[owner] == APPLICATION_RUNNING)
                a->state_failure[0] = 0; /* a start from before was answered late */
        if (!app_overflow_there(step, app, owner, may_start(step, app)))
                return;
        a->healthy = false;
        app_disks_forget(a); /* the next start looks again */
        a->overflow_usec = 0;
        step_ask(step, owner, a->restart_wanted ? MESSAGE_RESTART : MESSAGE_START, app, &a->start[owner]);
}

/* Whatever runs on a side that does not own it is left over from before, and stopped. */
static void stop_left_over(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        enum application_state state = a->state[side];

        request_expire(step, &a->stop[side],
                       pair->policy->act_timeout_usec + application_policy(pair, app)->stop_timeout_usec);
        if (!pair->members[side].configured || pair->members[side].failure[0] || pair->record.fence_wanted[side] ||
            pair->record.held || pair->unsettled ||
            (state != APPLICATION_RUNNING && state != APPLICATION_STARTING && state != APPLICATION_WAITING))
                return;
        if (request_free(step, &a->stop[side]))
                step_ask(step, side, MESSAGE_STOP, app, &a->stop[side]);
}

void advance_app(struct step *step, int app) {
        struct pair *pair = step->pair;
        const struct record_app *record = &pair->record.apps[app];
        enum side owner = record->owner;
        bool stopped = pair->apps[app].state[owner] == APPLICATION_STOPPED ||
                       pair->apps[app].state[owner] == APPLICATION_FAILED;

        for (enum side side = 0; side < SIDE_MAX; side++)
                follow_release(step, app, side);
        if (record->moving)
                return;
        stop_left_over(step, app, side_other(owner));
        if (!record->rehearsed) /* what a flow that ended half-way left there */
                app_release(step, app, side_other(owner));
        if (record->ended) {
                if (application_policy(pair, app)->retired)
                        stopped = advance_retired(step, app);
                else
                        stop_left_over(step, app, owner);
                if (stopped)
                        app_release(step, app, owner);
        }
        if (application_policy(pair, app)->prefault == PREFAULT_BACKGROUND && pair->apps[app].told_start &&
            pair->apps[app].state[owner] == APPLICATION_RUNNING && !record->ended)
                app_prefault(step, app, owner);
        if (pair->apps[app].failed)
                judge_failure(step, app);
        if (record->moving)
                return;
        grow_region(step, app);
        start(step, app);
}
