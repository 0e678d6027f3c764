/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sampling the memory of a process, this one: of each shape so much is known to be resident, and the error that is
 * stated has to hold as often as it says. The samples are seeded: the same on each run. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/memory/pagemap.h"
#include "daemon/host/memory/resident-sample.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define PAGE 4096
#define PAGES 131072 /* 512 MiB, of which a third at most is touched */
#define SAMPLES 120
#define SEED 7

struct place {
        char *memory;
        size_t n_pages, n_touched;
        int page_map;
};

static void place_init(struct place *place, size_t n_pages) {
        *place = (struct place) { .n_pages = n_pages };
        place->memory = mmap(NULL, n_pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                             -1, 0);
        REQUIRE(place->memory != MAP_FAILED);
        REQUIRE(madvise(place->memory, n_pages * PAGE, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
        place->page_map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        REQUIRE(place->page_map >= 0);
}

static void place_deinit(struct place *place) {
        munmap(place->memory, place->n_pages * PAGE);
        close(place->page_map);
}

static void touch(struct place *place, size_t first, size_t n) {
        for (size_t i = first; i < first + n && i < place->n_pages; i++) {
                place->n_touched += place->memory[i * PAGE] == 0;
                place->memory[i * PAGE] = 1;
        }
}

static struct resident_estimate sample(const struct place *place, struct drand48_data *random) {
        struct resident_estimate found = { 0 };

        REQUIRE(resident_sample(place->page_map, (uint64_t) (uintptr_t) place->memory, place->n_pages * PAGE, random,
                                &found) == 0);
        return found;
}

/* The stated error holds in 95 of 100 samples, is no more than `at_most_percent` of the memory, and the samples are
 * off to neither side. */
static void holds(const struct place *place, double at_most_percent) {
        double truth = (double) place->n_touched * PAGE, sum = 0, error = 0;
        struct drand48_data random;
        unsigned good = 0;

        srand48_r(SEED, &random);
        for (unsigned i = 0; i < SAMPLES; i++) {
                struct resident_estimate found = sample(place, &random);
                double off = (double) found.bytes - truth;

                good += (off < 0 ? -off : off) <= (double) found.error_bytes;
                error = error > (double) found.error_bytes ? error : (double) found.error_bytes;
                sum += off;
        }
        printf("%zu pages: %u of %u within the error, at most %.2f%%; ", place->n_touched, good, SAMPLES,
               100 * error / (double) (place->n_pages * PAGE));
        CHECK(good * 100 >= SAMPLES * 95);
        CHECK(error > 0 && 100 * error <= at_most_percent * (double) (place->n_pages * PAGE));
        CHECK(sum / SAMPLES < error / 4 && sum / SAMPLES > -error / 4);
}

static void the_error_holds_where_memory_is_in_few_blocks(void) {
        struct place place;

        place_init(&place, PAGES);
        holds(&place, 0.6); /* nothing at all */
        touch(&place, 4711, 30000);
        holds(&place, 0.6);
        touch(&place, 90001, 1234);
        holds(&place, 0.6);
        place_deinit(&place);
}

static void the_error_holds_where_memory_is_in_many_blocks(void) {
        uint64_t random = SEED;
        struct place place;

        place_init(&place, PAGES);
        for (int i = 0; i < 100; i++)
                touch(&place, random_below(&random, PAGES), 1 + random_below(&random, 700));
        holds(&place, 1.5);
        place_deinit(&place);
}

static void the_error_holds_where_huge_pages_are_scattered(void) {
        uint64_t random = SEED;
        struct place place;

        place_init(&place, PAGES);
        for (int i = 0; i < 60; i++)
                touch(&place, 100 + random_below(&random, PAGES / 512) * 512, 512);
        holds(&place, 1.5);
        place_deinit(&place);
}

static void the_error_holds_where_single_pages_are_scattered(void) {
        static const size_t shares[] = { 30, PAGES / 100, PAGES / 5 };
        uint64_t random = SEED;

        for (size_t i = 0; i < ELEMENTSOF(shares); i++) {
                struct place place;

                place_init(&place, PAGES);
                while (place.n_touched < shares[i])
                        touch(&place, random_below(&random, PAGES), 1);
                holds(&place, 1);
                place_deinit(&place);
        }
}

static void the_error_holds_where_all_is_resident_and_the_size_is_odd(void) {
        struct place place;

        place_init(&place, SAMPLE_COUNTED_BYTES / PAGE + 777);
        touch(&place, 0, place.n_pages);
        holds(&place, 0.5);
        place_deinit(&place);
}

static void what_is_small_is_counted(void) {
        struct resident_estimate found;
        struct drand48_data random;
        struct place place;

        srand48_r(SEED, &random);
        place_init(&place, SAMPLE_COUNTED_BYTES / PAGE);
        touch(&place, 5, 4000);
        found = sample(&place, &random);
        CHECK(found.bytes == 4000 * PAGE && found.error_bytes == 0);
        place_deinit(&place);
}

static void a_page_map_that_ends_is_no_estimate(void) {
        struct resident_estimate found = { 1, 2 };
        struct drand48_data random;
        _cleanup_close_ int empty = open("/dev/null", O_RDONLY | O_CLOEXEC);

        srand48_r(SEED, &random);
        REQUIRE(empty >= 0);
        CHECK(resident_sample(empty, 0, SAMPLE_COUNTED_BYTES, &random, &found) == -ESRCH);
        CHECK(resident_sample(empty, 0, 2 * SAMPLE_COUNTED_BYTES, &random, &found) == -ESRCH);
        CHECK(resident_sample(-1, 0, 2 * SAMPLE_COUNTED_BYTES, &random, &found) == -EBADF);
        CHECK(found.bytes == 1 && found.error_bytes == 2);
}

TEST_MAIN("resident-sample",
          TEST(the_error_holds_where_memory_is_in_few_blocks),
          TEST(the_error_holds_where_memory_is_in_many_blocks),
          TEST(the_error_holds_where_huge_pages_are_scattered),
          TEST(the_error_holds_where_single_pages_are_scattered),
          TEST(the_error_holds_where_all_is_resident_and_the_size_is_odd),
          TEST(what_is_small_is_counted),
          TEST(a_page_map_that_ends_is_no_estimate))
