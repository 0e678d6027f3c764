/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/read-ahead.h"

#include <string.h>

#include "daemon/base/units.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define PAGE 4096
#define SPACE_BYTES (512 * KIB)

/* As a pager reads. How much it would ask a server for; 0: it has it. */
static uint64_t read_from(struct read_ahead *ahead, const char *space, char *buffer, uint64_t length, uint64_t offset) {
        uint64_t all;

        if (read_ahead_get(ahead, buffer, length, offset))
                return 0;
        all = read_ahead_want(ahead, length, offset, SPACE_BYTES);
        memcpy(buffer, space + offset, length);
        if (all > length) {
                memcpy(ahead->data, space + offset, all);
                read_ahead_keep(ahead, all, offset);
        }
        return all;
}

static void reads_that_follow_each_other_are_had_ahead_and_others_are_not(void) {
        static char space[SPACE_BYTES], buffer[SPACE_BYTES];
        struct read_ahead ahead = { 0 };
        unsigned n_asked = 0;

        CHECK(read_from(&ahead, space, buffer, PAGE, 0) == PAGE);
        CHECK(read_from(&ahead, space, buffer, PAGE, 9 * PAGE) == PAGE);
        CHECK(read_from(&ahead, space, buffer, PAGE, 7 * PAGE) == PAGE && !ahead.data);
        CHECK(read_from(&ahead, space, buffer, PAGE, 8 * PAGE) == 4 * PAGE);
        for (uint64_t page = 9; page < 12; page++)
                CHECK(read_from(&ahead, space, buffer, PAGE, page * PAGE) == 0);
        CHECK(read_from(&ahead, space, buffer, PAGE, 12 * PAGE) == 8 * PAGE);
        for (uint64_t page = 13; page < SPACE_BYTES / PAGE; page++)
                n_asked += read_from(&ahead, space, buffer, PAGE, page * PAGE) > 0;
        CHECK(n_asked == 4); /* 16 pages, twice 32, and the 28 that are left */
        CHECK(read_from(&ahead, space, buffer, READ_AHEAD_BYTES, 0) == READ_AHEAD_BYTES);
        CHECK(read_from(&ahead, space, buffer, READ_AHEAD_BYTES, READ_AHEAD_BYTES) == READ_AHEAD_BYTES);
        ahead.busy = true;
        CHECK(read_from(&ahead, space, buffer, PAGE, 2 * READ_AHEAD_BYTES) == PAGE);
        read_ahead_deinit(&ahead);
}

static void what_is_had_ahead_is_what_was_saved_last(void) {
        static char space[SPACE_BYTES], buffer[SPACE_BYTES];
        struct read_ahead ahead = { 0 };
        uint64_t random = 7;
        uint64_t at = 0, n_had = 0, n_forgotten = 0;

        for (int i = 0; i < 100000; i++) {
                uint64_t length = 1 + random_below(&random, 3 * PAGE);

                if (random_below(&random, 4) == 0 || at + length > SPACE_BYTES)
                        at = random_below(&random, SPACE_BYTES - length);
                if (random_below(&random, 8) == 0) {
                        bool had = ahead.length > 0;

                        read_ahead_forget(&ahead, length, at);
                        n_forgotten += had && ahead.length == 0;
                        memset(space + at, i, length);
                        continue;
                }
                n_had += read_from(&ahead, space, buffer, length, at) == 0;
                REQUIRE(memcmp(buffer, space + at, length) == 0);
                at += length;
        }
        CHECK(n_had > 1000 && n_forgotten > 100);
        read_ahead_deinit(&ahead);
}

TEST_MAIN("read-ahead", TEST(reads_that_follow_each_other_are_had_ahead_and_others_are_not),
          TEST(what_is_had_ahead_is_what_was_saved_last))
