/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/paging.h"
#include "daemon/host/pressure.h"
#include "tests/unit/place.h"

static void stall_time_is_read_from_its_line(void) {
        usec_t total = 0;

        CHECK(pressure_parse("some avg10=1.00 avg60=0.00 avg300=0.00 total=7\n"
                             "full avg10=0.00 avg60=0.00 avg300=0.00 total=1234567\n", "full", &total) == 0);
        CHECK(total == 1234567);
        CHECK(pressure_parse("some avg10=1.00 avg60=0.00 avg300=0.00 total=7\n", "full", &total) == -ENODATA);
        CHECK(pressure_parse("full avg10=1.00\nsome total=7\n", "full", &total) == -ENODATA);
        CHECK(pressure_parse("", "full", &total) == -ENODATA);
        CHECK(total == 1234567);
        CHECK(pressure_parse("full avg10=1.00 total=8\nsome avg10=0.00 total=7\n", "some", &total) == 0 && total == 7);
}

static void swapped_process_is_told_by_the_pages_that_it_waits_for(void) {
        struct paging paging = { 0 };

        CHECK(paging_look(&paging, 4, 1000000, USEC_PER_SEC) == 0); /* since when? */
        CHECK(paging_look(&paging, 4, 1000049, 2 * USEC_PER_SEC) == 0); /* few */
        CHECK(paging_look(&paging, 4, 1000149, 3 * USEC_PER_SEC) == 100);
        CHECK(paging_look(&paging, 4, 1009999, 3 * USEC_PER_SEC + USEC_PER_MSEC) == 0); /* too soon */
        CHECK(paging_look(&paging, 4, 1000159, 3 * USEC_PER_SEC + 100 * USEC_PER_MSEC) == 100);
        CHECK(paging_look(&paging, 5, 9999999, 4 * USEC_PER_SEC) == 0); /* another process */
        CHECK(paging_look(&paging, 5, 10000999, 5 * USEC_PER_SEC) == 1000);
}

struct pressure_log {
        unsigned n, n_short;
        uint64_t last_ppm;
};

static void on_memory_short(void *userdata) {
        ((struct pressure_log *) userdata)->n_short++;
}

static void on_pressure(void *userdata, const struct event *event) {
        struct pressure_log *log = userdata;

        CHECK(event->kind == EVENT_PRESSURE && event->pair == NO_PAIR);
        log->n++;
        log->last_ppm = event->bytes;
}

static void a_stall_and_its_end_are_told(void) {
        struct pressure *pressure = NULL;
        struct pressure_log log = { 0 };
        struct sink sink = { .event = on_pressure, .userdata = &log };
        sd_event *loop = NULL;
        struct place place;

        place_init(&place);
        REQUIRE(sd_event_new(&loop) >= 0);
        CHECK(pressure_new(loop, place.dir, &sink, on_memory_short, &log, &pressure) == -ENOENT);
        write_file(&place, "memory", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n");
        write_file(&place, "io", "full avg10=0.00 avg60=0.00 avg300=0.00 total=5\n");
        REQUIRE(pressure_new(loop, place.dir, &sink, on_memory_short, &log, &pressure) == 0);
        write_file(&place, "memory", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n");
        CHECK(run_until(loop, &log.n, 1));
        CHECK(log.last_ppm > 100000 && log.last_ppm <= 500000);
        CHECK(run_until(loop, &log.n, 2));
        CHECK(log.last_ppm == 0 && log.n_short == 0);
        write_file(&place, "memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=900000\n"
                                     "full avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n");
        CHECK(run_until(loop, &log.n_short, 1));
        CHECK(log.n == 2);
        pressure_free(pressure);
        sd_event_unref(loop);
        place_deinit(&place);
}

TEST_MAIN("pressure",
          TEST(stall_time_is_read_from_its_line),
          TEST(swapped_process_is_told_by_the_pages_that_it_waits_for),
          TEST(a_stall_and_its_end_are_told))
