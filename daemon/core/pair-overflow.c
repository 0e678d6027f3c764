/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The overflow disk of an application that has to start with less than its whole region (I: part 6).
 *
 * Its pager is begun as soon as the region is granted, beside the plugging, so that the disk is there when the
 * application is: it is bound to its region's node, and without swap it ends where that ends. So the start waits for
 * the disk, but not for long: an application that is there with less may be better than none. That time begins when all
 * else is there, and anew with each start: a wait that was called off, or the last start's, counts for nothing.
 */

#include <inttypes.h>

#include "daemon/core/pair-internal.h"
#include "policy/worst-case.h"

uint64_t pair_remote_bytes(const struct pair *pair, const struct region *row) {
        const struct application *application;
        uint64_t missing, may;

        if (row->kind != REGION_APPLICATION || (size_t) row->app >= pair->policy->n_applications)
                return 0;
        if (row->usage_bytes == 0) /* all was lost: nothing runs there that could page anything out */
                return 0;
        application = &pair->policy->applications[row->app];
        may = application_remote_bytes(application);
        missing = row->usage_bytes < application->memory_bytes ? application->memory_bytes - row->usage_bytes : 0;
        return missing < may ? missing : may;
}

static uint64_t remote_bytes(const struct engine *engine, const struct pair *pair, int app, enum side side) {
        const struct region *row = table_find_application(&engine->table, pair_holder(pair, side), app);

        return row ? pair_remote_bytes(pair, row) : 0;
}

bool pair_wants_overflow(const struct engine *engine, const struct pair *pair, int app, enum side side) {
        const struct application *policy = &pair->policy->applications[app];

        return pair->record.known && !pair->policy->retired && !policy->retired && policy->overflow.n_servers > 0 &&
               pair->record.apps[app].owner == side &&
               (policy->overflow.when == OVERFLOW_ALWAYS || remote_bytes(engine, pair, app, side) > 0);
}

/* Its new side has the region and is on its way to the start: the disk comes beside the plugging. */
static bool is_on_its_way(const struct engine *engine, const struct pair *pair, int app) {
        const struct record_app *record = &pair->record.apps[app];

        return pair_flow_active(pair) && record->moving && !record->started && record->owner == pair->record.flow.to &&
               pair->apps[app].overflow_usec != USEC_INFINITY && !pair->apps[app].overflow[record->owner] &&
               remote_bytes(engine, pair, app, record->owner) > 0;
}

bool pair_awaits_overflow(const struct engine *engine, const struct pair *pair) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if ((pair->apps[i].overflow_usec > 0 && pair->apps[i].overflow_usec != USEC_INFINITY) ||
                    is_on_its_way(engine, pair, (int) i))
                        return true;
        return false;
}

void app_overflow_event(struct step *step, const struct event *event) {
        struct app_state *a;

        if (event->app < 0 || (size_t) event->app >= step->pair->policy->n_applications)
                return;
        a = &step->pair->apps[event->app];
        a->overflow[event->side] = event->up;
        step->again = step->changed = true;
}

bool app_overflow_there(struct step *step, int app, enum side side, bool ready) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        usec_t *since = &a->overflow_usec;
        bool waited = *since > 0;

        if (*since == USEC_INFINITY)
                return ready;
        if (!ready || remote_bytes(step->engine, pair, app, side) == 0 ||
            pair->members[side].protocol < PROTOCOL_VERSION_REMOTE) { /* it would not use it */
                *since = 0;
                return ready;
        }
        if (!waited)
                *since = step->now;
        if (!a->overflow[side] && step->now < *since + WORST_CASE_OVERFLOW_USEC) {
                step_wake(step, *since + WORST_CASE_OVERFLOW_USEC);
                return false;
        }
        if (!a->overflow[side])
                step_say(step, RECORD_OVERFLOW, side,
                         "%s starts without its overflow disk, which has not come to %s within %u s; what it needs "
                         "beyond its region is not there", pair_app_name(pair, app), pair_domain(pair, side),
                         (unsigned) (WORST_CASE_OVERFLOW_USEC / USEC_PER_SEC));
        else if (waited)
                step_say(step, RECORD_OVERFLOW, side, "the overflow disk of %s has come to %s after %" PRIu64 " ms",
                         pair_app_name(pair, app), pair_domain(pair, side), (step->now - *since) / USEC_PER_MSEC);
        *since = USEC_INFINITY;
        return true;
}
