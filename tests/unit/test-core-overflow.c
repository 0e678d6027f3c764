/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done next about an overflow disk, and that nothing a guest may have pages with is ever ended. */
#include <string.h>

#include "daemon/core/overflow.h"
#include "daemon/core/pair-internal.h"
#include "tests/unit/test.h"

#define NOW (1000 * USEC_PER_SEC)
#define LONG_AGO (NOW - 60 * USEC_PER_SEC)

/* Steps to an end state in a small world that does at once what it is told; `ret` keeps the steps as text. */
static void live(struct overflow_sight *sight, bool guest_agrees, char ret[static 256]) {
        ret[0] = 0;
        for (int i = 0; i < 12; i++) {
                enum overflow_work work = overflow_next(sight, NOW);

                if (work == OVERFLOW_REST)
                        return;
                strcat(ret, overflow_work_to_string(work));
                strcat(ret, " ");
                switch (work) {
                case OVERFLOW_CONFIGURE:
                        sight->configured = sight->current = sight->bearable = true;
                        break;
                case OVERFLOW_START:
                        sight->alive = sight->told = sight->serving = true;
                        break;
                case OVERFLOW_ATTACH:
                        sight->attached = true;
                        sight->clients = 1;
                        sight->held_bytes = 4096;
                        break;
                case OVERFLOW_ASK:
                        if (!guest_agrees)
                                return;
                        sight->asked_usec = LONG_AGO;
                        sight->held_bytes = 0;
                        break;
                case OVERFLOW_DETACH:
                        sight->attached = false;
                        sight->clients = 0;
                        sight->idle_usec = LONG_AGO;
                        break;
                case OVERFLOW_END:
                        sight->alive = sight->told = sight->serving = false;
                        sight->dead_usec = LONG_AGO;
                        break;
                case OVERFLOW_FORGET:
                        sight->configured = sight->current = sight->bearable = false;
                        break;
                default:
                        return;
                }
        }
        CHECK(false); /* it never came to rest */
}

static void a_disk_comes_and_goes_step_by_step(void) {
        struct overflow_sight sight = { .wanted = true, .vm_known = true, .pager_known = true, .vm_ready = true };
        char steps[256];

        live(&sight, true, steps);
        CHECK_TEXT(steps, "configure start attach ");
        sight.wanted = false;
        live(&sight, true, steps);
        CHECK_TEXT(steps, "ask detach end forget ");
}

static void another_size_is_another_disk(void) {
        struct overflow_sight sight = { .wanted = true, .vm_known = true, .vm_ready = true, .configured = true,
                                        .pager_known = true, .attached = true, .alive = true, .told = true,
                                        .serving = true, .clients = 1, .held_bytes = 4096 };
        char steps[256];

        live(&sight, true, steps);
        CHECK_TEXT(steps, "ask detach end configure start attach ");
}

static void a_change_that_can_wait_takes_no_disk_away(void) {
        struct overflow_sight sight = { .wanted = true, .vm_known = true, .vm_ready = true, .configured = true,
                                        .pager_known = true, .bearable = true, .attached = true, .alive = true,
                                        .told = true, .serving = true, .clients = 1, .held_bytes = 4096 };
        char steps[256];

        live(&sight, true, steps);
        CHECK_TEXT(steps, "");
        sight.attached = false; /* its VM was off for a moment */
        sight.clients = 0;
        sight.idle_usec = LONG_AGO;
        live(&sight, true, steps);
        CHECK_TEXT(steps, "end configure start attach ");
}

static void a_disk_whose_pager_died_makes_way_for_a_new_one(void) {
        struct overflow_sight sight = { .wanted = true, .vm_known = true, .vm_ready = true, .configured = true,
                                        .pager_known = true, .current = true, .bearable = true, .attached = true,
                                        .dead_usec = LONG_AGO };
        char steps[256];

        live(&sight, true, steps);
        CHECK_TEXT(steps, "detach start attach ");
}

static void what_a_vm_had_goes_when_it_has_ended(void) {
        struct overflow_sight sight = { .vm_known = true, .pager_known = true, .configured = true, .alive = true,
                                        .told = true, .serving = true, .held_bytes = 1 << 20, .idle_usec = LONG_AGO };
        char steps[256];

        live(&sight, true, steps);
        CHECK_TEXT(steps, "end forget ");
}

/* Every sight that there can be: what is done never costs a guest a page that it still has. */
static void nothing_that_a_guest_uses_is_taken_from_it(void) {
        for (unsigned bits = 0; bits < 1U << 16; bits++) {
                struct overflow_sight s = {
                        .wanted = bits & 1, .vm_known = bits & 2, .vm_ready = bits & 4, .attached = bits & 8,
                        .configured = bits & 16, .current = (bits & 48) == 48, .alive = bits & 64, .told = bits & 128,
                        .serving = bits & 256, .held_bytes = bits & 512 ? 4096 : 0, .clients = bits & 1024 ? 1 : 0,
                        .asked_usec = bits & 2048 ? LONG_AGO : 0, .idle_usec = bits & 4096 ? LONG_AGO : 0,
                        .bearable = (bits & 48) == 48 || bits & 32768, .pager_known = bits & 8192,
                        .dead_usec = bits & 16384 ? LONG_AGO : 0,
                };
                enum overflow_work work = overflow_next(&s, NOW);

                if (!s.vm_known || !s.pager_known)
                        CHECK(work == OVERFLOW_REST);
                if (work == OVERFLOW_END)
                        CHECK(s.alive && !s.attached && s.told && s.clients == 0 && s.idle_usec > 0);
                if (work == OVERFLOW_DETACH)
                        CHECK(s.attached && ((!s.alive && s.dead_usec > 0) ||
                                             (s.alive && s.told && s.held_bytes == 0 && s.asked_usec > 0)));
                if (work == OVERFLOW_CONFIGURE || work == OVERFLOW_FORGET || work == OVERFLOW_START)
                        CHECK(!s.alive && !s.attached);
                if (work == OVERFLOW_ATTACH)
                        CHECK(s.alive && s.current && s.serving && s.wanted && s.vm_ready && !s.attached);
                if (work == OVERFLOW_ASK)
                        CHECK(s.attached && (!s.wanted || !s.bearable));
        }
}

static void a_word_that_is_too_fresh_does_not_count(void) {
        struct overflow_sight sight = { .vm_known = true, .pager_known = true, .attached = true, .configured = true,
                                        .alive = true, .told = true, .asked_usec = NOW - OVERFLOW_ASKED_USEC + 1 };

        CHECK(overflow_next(&sight, NOW) == OVERFLOW_ASK);
        CHECK(overflow_next(&sight, NOW + 1) == OVERFLOW_DETACH);
        sight = (struct overflow_sight) { .vm_known = true, .pager_known = true, .configured = true, .alive = true,
                                          .told = true, .idle_usec = NOW - OVERFLOW_IDLE_USEC + 1 };
        CHECK(overflow_next(&sight, NOW) == OVERFLOW_REST);
        CHECK(overflow_next(&sight, NOW + 1) == OVERFLOW_END);
        sight = (struct overflow_sight) { .vm_known = true, .pager_known = true, .attached = true, .wanted = true,
                                          .dead_usec = NOW - OVERFLOW_DEAD_USEC + 1 };
        CHECK(overflow_next(&sight, NOW) == OVERFLOW_REST);
        CHECK(overflow_next(&sight, NOW + 1) == OVERFLOW_DETACH);
        sight = (struct overflow_sight) { .vm_known = true, .pager_known = true, .wanted = true, .configured = true,
                                          .current = true, .started_usec = NOW - OVERFLOW_START_USEC + 1 };
        CHECK(overflow_next(&sight, NOW) == OVERFLOW_REST);
        CHECK(overflow_next(&sight, NOW + 1) == OVERFLOW_START);
}

/* A region of 512 MiB in extents of 128 MiB, of which up to 256 MiB may be overflow. */
static uint64_t of_the_pool(uint64_t unused_mib, enum overflow_when when) {
        struct policy policy = { .extent_bytes = 128 * MIB };
        struct application application = { .memory_bytes = 512 * MIB, .overflow = { .n_servers = 1, .when = when,
                                                                                   .size_bytes = 256 * MIB } };
        struct pair_policy pair_policy = { .applications = &application, .n_applications = 1 };
        struct engine engine = { .policy = &policy };
        struct pair pair = { .policy = &pair_policy };

        return move_pool_bytes(&engine, &pair, 0, unused_mib * MIB) / MIB;
}

static void a_short_pool_gives_whole_extents_where_overflow_covers_the_rest(void) {
        CHECK(of_the_pool(1024, OVERFLOW_SHORT) == 512 && of_the_pool(512, OVERFLOW_SHORT) == 512);
        CHECK(of_the_pool(511, OVERFLOW_SHORT) == 384 && of_the_pool(256, OVERFLOW_SHORT) == 256);
        CHECK(of_the_pool(255, OVERFLOW_SHORT) == 0 && of_the_pool(0, OVERFLOW_SHORT) == 0);
        CHECK(of_the_pool(511, OVERFLOW_ALWAYS) == 0 && of_the_pool(512, OVERFLOW_ALWAYS) == 512);
}

static void only_a_guest_that_has_something_there_may_be_waiting(void) {
        struct overflow_sight sight = { .attached = true, .pager_known = true, .alive = true, .told = true,
                                        .held_bytes = 4096 };

        CHECK(!overflow_stalls(&sight));
        sight.recovering = true;
        CHECK(overflow_stalls(&sight));
        sight.held_bytes = 0;
        CHECK(!overflow_stalls(&sight));
        sight.waiting = 1; /* its first page goes out */
        CHECK(overflow_stalls(&sight));
        sight.waiting = 0;
        sight.told = sight.recovering = false; /* the pager itself hangs */
        CHECK(!overflow_stalls(&sight));
        sight.held_bytes = 4096;
        CHECK(overflow_stalls(&sight));
        sight.alive = false;
        CHECK(!overflow_stalls(&sight));
}

TEST_MAIN("core-overflow",
          TEST(only_a_guest_that_has_something_there_may_be_waiting),
          TEST(a_short_pool_gives_whole_extents_where_overflow_covers_the_rest),
          TEST(a_disk_comes_and_goes_step_by_step),
          TEST(another_size_is_another_disk),
          TEST(a_change_that_can_wait_takes_no_disk_away),
          TEST(a_disk_whose_pager_died_makes_way_for_a_new_one),
          TEST(what_a_vm_had_goes_when_it_has_ended),
          TEST(nothing_that_a_guest_uses_is_taken_from_it),
          TEST(a_word_that_is_too_fresh_does_not_count))
