/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/base/clock.h"
#include "daemon/core/event.h"
#include "daemon/manager/wakes.h"
#include "tests/unit/test.h"

#define SLOTS 100 /* more than are woken before the loop looks at what else there is */

struct bench {
        sd_event *loop;
        struct wakes *wakes;
        unsigned n_woken[SLOTS], n_all, n_engine;
        usec_t due_usec[SLOTS], woken_usec[SLOTS];
        usec_t again_usec; /* each that is woken is to be woken so much later; 0: not */
        int forget;        /* this one when any other is woken; NO_PAIR: none */
};

static void on_due(void *userdata, int slot, usec_t due_usec) {
        struct bench *bench = userdata;

        bench->n_all++;
        if (slot == NO_PAIR) {
                bench->n_engine++;
                return;
        }
        REQUIRE(slot >= 0 && slot < SLOTS);
        bench->n_woken[slot]++;
        bench->due_usec[slot] = due_usec;
        bench->woken_usec[slot] = clock_usec(CLOCK_BOOTTIME);
        CHECK(bench->woken_usec[slot] >= due_usec);
        if (bench->again_usec > 0)
                CHECK(wakes_set(bench->wakes, slot, due_usec + bench->again_usec, 0) == 0);
        if (bench->forget != NO_PAIR && bench->forget != slot)
                CHECK(wakes_set(bench->wakes, bench->forget, USEC_INFINITY, 0) == 0);
}

static struct bench *bench_new(void) {
        struct bench *bench = calloc(1, sizeof(*bench));

        REQUIRE(bench != NULL);
        bench->forget = NO_PAIR;
        REQUIRE(sd_event_new(&bench->loop) >= 0);
        REQUIRE(wakes_new(bench->loop, on_due, bench, &bench->wakes) == 0);
        return bench;
}

static void bench_free(struct bench *bench) {
        wakes_free(bench->wakes);
        sd_event_unref(bench->loop);
        free(bench);
}

static usec_t now(void) {
        return clock_usec(CLOCK_BOOTTIME);
}

/* Until nothing is to come within a while. Returns how often the loop had something to do. */
static unsigned run(struct bench *bench) {
        unsigned n = 0;

        while (sd_event_run(bench->loop, 400 * USEC_PER_MSEC) > 0)
                n++;
        return n;
}

static void each_is_woken_once_and_told_what_it_asked_for(void) {
        struct bench *bench = bench_new();
        usec_t start = now();

        for (int slot = SLOTS - 1; slot >= 0; slot--)
                CHECK(wakes_set(bench->wakes, slot, start + (usec_t) slot * 100, 0) == 0);
        CHECK(wakes_set(bench->wakes, NO_PAIR, start + 50, 0) == 0);
        run(bench);
        CHECK(bench->n_engine == 1);
        for (int slot = 0; slot < SLOTS; slot++)
                CHECK(bench->n_woken[slot] == 1 && bench->due_usec[slot] == start + (usec_t) slot * 100);
        bench_free(bench);
}

static void what_may_be_late_shares_wake_ups(void) {
        struct bench *bench = bench_new();
        usec_t start = now() + 20 * USEC_PER_MSEC;

        /* all of them due within one's slack */
        for (int slot = 0; slot < SLOTS; slot++)
                CHECK(wakes_set(bench->wakes, slot, start + (usec_t) slot * 2 * USEC_PER_MSEC, USEC_PER_SEC / 4) == 0);
        CHECK(run(bench) <= SLOTS / 10);
        CHECK(bench->n_all == SLOTS);
        CHECK(bench->woken_usec[0] >= start + USEC_PER_SEC / 4);
        bench_free(bench);
}

static void what_is_urgent_waits_for_no_other(void) {
        struct bench *bench = bench_new();
        usec_t start = now();

        CHECK(wakes_set(bench->wakes, 0, start, 500 * USEC_PER_MSEC) == 0);
        CHECK(wakes_set(bench->wakes, 1, start + 30 * USEC_PER_MSEC, 0) == 0);
        REQUIRE(sd_event_run(bench->loop, 10 * USEC_PER_SEC) > 0);
        /* the urgent one ends the wait, and takes along the one that might have waited on */
        CHECK(bench->n_woken[1] == 1 && bench->n_woken[0] == 1);
        bench_free(bench);
}

static void what_is_set_again_replaces_what_was_set(void) {
        struct bench *bench = bench_new();
        usec_t start = now();

        CHECK(wakes_set(bench->wakes, 4, start + 10 * USEC_PER_MSEC, 0) == 0);
        CHECK(wakes_set(bench->wakes, 4, start + 60 * USEC_PER_MSEC, 0) == 0); /* the timer is set to the former */
        CHECK(wakes_set(bench->wakes, 5, start + 10 * USEC_PER_MSEC, 0) == 0);
        CHECK(wakes_set(bench->wakes, 5, USEC_INFINITY, 0) == 0);
        run(bench);
        CHECK(bench->n_woken[4] == 1 && bench->due_usec[4] == start + 60 * USEC_PER_MSEC);
        CHECK(bench->n_woken[5] == 0);
        bench_free(bench);
}

static void one_that_is_forgotten_while_others_are_woken_is_not_woken(void) {
        struct bench *bench = bench_new();
        usec_t start = now();

        bench->forget = 7;
        for (int slot = 0; slot < 8; slot++)
                CHECK(wakes_set(bench->wakes, slot, start, 0) == 0);
        run(bench);
        CHECK(bench->n_woken[7] == 0 && bench->n_all == 7);
        bench_free(bench);
}

static void one_that_is_always_due_keeps_no_other_waiting(void) {
        struct bench *bench = bench_new();
        usec_t start = now() - USEC_PER_SEC;

        bench->again_usec = 1; /* long ago */
        for (int slot = 0; slot < SLOTS; slot++)
                CHECK(wakes_set(bench->wakes, slot, start, 0) == 0);
        for (int i = 0; i < 50; i++)
                REQUIRE(sd_event_run(bench->loop, 10 * USEC_PER_SEC) > 0);
        for (int slot = 0; slot < SLOTS; slot++)
                CHECK(bench->n_woken[slot] >= 50 * 16 / SLOTS - 1);
        bench_free(bench);
}

TEST_MAIN("wakes", TEST(each_is_woken_once_and_told_what_it_asked_for), TEST(what_may_be_late_shares_wake_ups),
          TEST(what_is_urgent_waits_for_no_other), TEST(what_is_set_again_replaces_what_was_set),
          TEST(one_that_is_forgotten_while_others_are_woken_is_not_woken),
          TEST(one_that_is_always_due_keeps_no_other_waiting))
