/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* When pairs are woken: one timer for all of them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/manager-internal.h"

/* How late a pair may be woken: one wake-up serves the beats of many, while the steps of a failover, and a silence that
 * has lasted, are in a hurry. */
#define HURRY_USEC (1 * USEC_PER_MSEC)
#define WAKES_A_BEAT 20
#define BATCH 16 /* pairs, before the loop looks at what else there is */

static usec_t slack(const struct manager *manager, const struct manager_pair *woken) {
        const struct pair *pair = woken->slot == NO_PAIR ? NULL : manager->engine->pairs[woken->slot];

        if (pair && pair->state == PAIR_ARMED)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (woken->due_usec == pair->members[side].detector.next_beat_usec)
                                return pair->policy->beat_usec / WAKES_A_BEAT;
        return HURRY_USEC;
}

/* The pairs, and behind them what is no pair's. NULL: a slot that is free. */
static struct manager_pair *waker(struct manager *manager, int i) {
        return i == manager->n_pairs ? &manager->engine_wake : manager->pairs[i];
}

static void set_timer(struct manager *manager, usec_t latest_usec) {
        int r = 0;

        manager->wake_usec = latest_usec;
        if (latest_usec != USEC_INFINITY)
                r = sd_event_source_set_time(manager->wake, latest_usec > HURRY_USEC ? latest_usec - HURRY_USEC : 0);
        if (r >= 0)
                r = sd_event_source_set_enabled(manager->wake,
                                                latest_usec == USEC_INFINITY ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        if (r < 0) {
                fprintf(stderr, "cannot set a timer (%s), exiting; guests run on\n", strerror(-r));
                abort(); /* without timers nothing would be detected any more */
        }
}

static void set_timer_anew(struct manager *manager) {
        usec_t latest_usec = USEC_INFINITY;

        for (int i = 0; i <= manager->n_pairs; i++) {
                const struct manager_pair *pair = waker(manager, i);

                if (pair && pair->latest_usec < latest_usec)
                        latest_usec = pair->latest_usec;
        }
        set_timer(manager, latest_usec);
}

static void wake(struct manager *manager, struct manager_pair *pair) {
        struct event event = { .kind = EVENT_WAKE, .pair = pair->slot, .due_usec = pair->due_usec };

        pair->due_usec = pair->latest_usec = USEC_INFINITY; /* until the engine asks for the next one */
        manager_event(manager, &event);
}

static int on_wake(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;
        usec_t now_usec = manager_now();
        int n_woken = 0;

        for (int n = 0; n <= manager->n_pairs && n_woken < BATCH; n++) {
                struct manager_pair *pair;

                manager->wake_next = manager->wake_next >= manager->n_pairs ? 0 : manager->wake_next + 1;
                pair = waker(manager, manager->wake_next);
                if (!pair || pair->due_usec > now_usec)
                        continue;
                wake(manager, pair);
                n_woken++;
        }
        set_timer_anew(manager);
        return 0;
}

int manager_open_wake(struct manager *manager) {
        int r;

        manager->engine_wake = (struct manager_pair) { .slot = NO_PAIR };
        manager->engine_wake.due_usec = manager->engine_wake.latest_usec = manager->wake_usec = USEC_INFINITY;
        r = sd_event_add_time(manager->loop, &manager->wake, CLOCK_BOOTTIME, USEC_INFINITY, HURRY_USEC, on_wake,
                              manager);
        return r < 0 ? r : sd_event_source_set_enabled(manager->wake, SD_EVENT_OFF);
}

void manager_wake_at(struct manager *manager, const struct action *action) {
        struct manager_pair *pair = action->pair == NO_PAIR            ? &manager->engine_wake
                                    : action->pair < manager->n_pairs ? manager->pairs[action->pair]
                                                                      : NULL;

        if (!pair)
                return;
        pair->due_usec = pair->latest_usec = action->due_usec;
        if (action->due_usec != USEC_INFINITY)
                pair->latest_usec += slack(manager, pair);
        if (pair->latest_usec < manager->wake_usec)
                set_timer(manager, pair->latest_usec);
}
