/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager/wakes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/clock.h"
#include "daemon/core/event.h"

#define ACCURACY_USEC (1 * USEC_PER_MSEC)
#define BATCH 16 /* slots, before the loop looks at what else there is */

struct wake {
        usec_t due_usec, latest_usec; /* USEC_INFINITY: not at all */
};

struct wakes {
        sd_event_source *timer;
        usec_t set_usec; /* what the timer is set to; USEC_INFINITY: nothing */
        wakes_due_t due;
        void *userdata;
        struct wake *all; /* NO_PAIR's is the first */
        size_t n_all;
        size_t next; /* whose turn it is */
};

static int set_timer(struct wakes *wakes, usec_t latest_usec) {
        int r = 0;

        wakes->set_usec = latest_usec;
        if (latest_usec != USEC_INFINITY)
                r = sd_event_source_set_time(wakes->timer, latest_usec);
        if (r >= 0)
                r = sd_event_source_set_enabled(wakes->timer,
                                                latest_usec == USEC_INFINITY ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
        return r;
}

static int set_timer_anew(struct wakes *wakes) {
        usec_t latest_usec = USEC_INFINITY;

        for (size_t i = 0; i < wakes->n_all; i++)
                if (wakes->all[i].latest_usec < latest_usec)
                        latest_usec = wakes->all[i].latest_usec;
        return set_timer(wakes, latest_usec);
}

/* Those whose latest instant has not come are woken along with those whose has. */
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct wakes *wakes = userdata;
        usec_t now_usec = clock_usec(CLOCK_BOOTTIME);
        int n_woken = 0, r;

        for (size_t n = wakes->n_all; n > 0 && n_woken < BATCH; n--) {
                size_t i = wakes->next >= wakes->n_all ? 0 : wakes->next;
                usec_t due_usec = wakes->all[i].due_usec;

                wakes->next = i + 1;
                if (due_usec > now_usec)
                        continue;
                wakes->all[i] = (struct wake) { USEC_INFINITY, USEC_INFINITY };
                wakes->due(wakes->userdata, (int) i + NO_PAIR, due_usec);
                n_woken++;
        }
        r = set_timer_anew(wakes);
        if (r < 0) {
                fprintf(stderr, "cannot set a timer (%s), exiting; guests run on\n", strerror(-r));
                abort(); /* without timers nothing would be detected any more */
        }
        return 0;
}

int wakes_new(sd_event *loop, wakes_due_t due, void *userdata, struct wakes **ret) {
        struct wakes *wakes = calloc(1, sizeof(*wakes));
        int r;

        if (!wakes)
                return -ENOMEM;
        wakes->set_usec = USEC_INFINITY;
        wakes->due = due;
        wakes->userdata = userdata;
        r = sd_event_add_time(loop, &wakes->timer, CLOCK_BOOTTIME, USEC_INFINITY, ACCURACY_USEC, on_timer, wakes);
        if (r >= 0)
                r = sd_event_source_set_enabled(wakes->timer, SD_EVENT_OFF);
        if (r < 0) {
                wakes_free(wakes);
                return r;
        }
        *ret = wakes;
        return 0;
}

struct wakes *wakes_free(struct wakes *wakes) {
        if (!wakes)
                return NULL;
        sd_event_source_disable_unref(wakes->timer);
        free(wakes->all);
        free(wakes);
        return NULL;
}

static int grow(struct wakes *wakes, size_t n) {
        struct wake *all = reallocarray(wakes->all, n, sizeof(*all));

        if (!all)
                return -ENOMEM;
        for (size_t i = wakes->n_all; i < n; i++)
                all[i] = (struct wake) { USEC_INFINITY, USEC_INFINITY };
        wakes->all = all;
        wakes->n_all = n;
        return 0;
}

int wakes_set(struct wakes *wakes, int slot, usec_t due_usec, usec_t slack_usec) {
        size_t i = (size_t) (slot - NO_PAIR);
        int r;

        if (i >= wakes->n_all) {
                r = grow(wakes, i + 1);
                if (r < 0)
                        return r;
        }
        wakes->all[i].due_usec = due_usec;
        wakes->all[i].latest_usec = slack_usec < USEC_INFINITY - due_usec ? due_usec + slack_usec : USEC_INFINITY;
        return wakes->all[i].latest_usec < wakes->set_usec ? set_timer(wakes, wakes->all[i].latest_usec) : 0;
}
