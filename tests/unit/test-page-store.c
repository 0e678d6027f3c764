/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "tests/unit/page-store-fixture.h"

static void a_page_reads_back_and_an_unwritten_one_is_zero(void) {
        struct fixture *f = fixture_new(16, 0);
        struct page_space *space = open_space(f, 100);

        CHECK(put(space, 7, 'a') == 0);
        CHECK(holds(space, 7, 'a') && holds(space, 6, 0) && holds(space, 8, 0) && holds(space, 99, 0));
        CHECK(page_space_pages(space) == 1 && memory_used(f) == 1);
        page_space_free(space);
        fixture_free(f);
}

static void zero_pages_cost_nothing(void) {
        struct fixture *f = fixture_new(4, 0);
        struct page_space *space = open_space(f, 100);
        char part[100] = { 0 };

        for (uint64_t i = 0; i < 100; i++)
                CHECK(put(space, i, 0) == 0);
        CHECK(page_space_write(space, part, sizeof(part), 50) == 0);
        CHECK(page_space_pages(space) == 0 && memory_used(f) == 0);
        /* A page that becomes zero gives its place back, also when it does so by parts. */
        CHECK(put(space, 3, 'x') == 0 && put(space, 4, 'y') == 0 && memory_used(f) == 2);
        CHECK(put(space, 3, 0) == 0 && memory_used(f) == 1);
        for (size_t at = 0; at < PAGE_BYTES; at += 64)
                CHECK(page_space_write(space, part, 64, 4 * PAGE_BYTES + at) == 0);
        CHECK(page_space_pages(space) == 0 && memory_used(f) == 0);
        page_space_free(space);
        fixture_free(f);
}

static void a_full_store_refuses_and_keeps_what_it_has(void) {
        struct fixture *f = fixture_new(8, 0);
        struct page_space *space = open_space(f, 100);

        for (uint64_t i = 0; i < 8; i++)
                CHECK(put(space, i, (char) ('a' + i)) == 0);
        CHECK(put(space, 8, 'z') == -ENOSPC);
        CHECK(put(space, 9, 0) == 0);
        CHECK(put(space, 3, 'D') == 0);
        for (uint64_t i = 0; i < 8; i++)
                CHECK(holds(space, i, (char) (i == 3 ? 'D' : 'a' + i)));
        CHECK(holds(space, 8, 0) && page_space_pages(space) == 8);
        CHECK(page_space_trim(space, PAGE_BYTES, 0) == 0);
        CHECK(put(space, 8, 'z') == 0 && holds(space, 8, 'z') && holds(space, 0, 0));
        page_space_free(space);
        fixture_free(f);
}

static void what_memory_has_no_place_for_is_spilled_and_comes_back(void) {
        struct fixture *f = fixture_new(8, 8);
        struct page_space *space = open_space(f, 100);

        for (uint64_t i = 0; i < 16; i++)
                CHECK(put(space, i, (char) ('a' + i)) == 0);
        CHECK(memory_used(f) == 8 && spill_used(f) == 8);
        CHECK(put(space, 16, 'z') == -ENOSPC);
        for (uint64_t i = 0; i < 16; i++)
                CHECK(holds(space, i, (char) ('a' + i)));
        /* Full as it is, every page can still be written, wherever it lies. */
        for (uint64_t i = 0; i < 16; i++)
                CHECK(put(space, i, (char) ('A' + i)) == 0);
        for (uint64_t i = 0; i < 16; i++)
                CHECK(holds(space, i, (char) ('A' + i)));
        CHECK(page_space_trim(space, 8 * PAGE_BYTES, 0) == 0);
        CHECK(memory_used(f) + spill_used(f) == 8);
        for (uint64_t i = 8; i < 16; i++)
                CHECK(holds(space, i, (char) ('A' + i)));
        CHECK(memory_used(f) == 8 && spill_used(f) == 0);
        page_space_free(space);
        fixture_free(f);
}

static void a_broken_spill_file_is_an_error_and_no_other_page_suffers(void) {
        struct fixture *f = fixture_new(2, 4);
        struct page_space *space = open_space(f, 100);
        struct page_store_load load;
        int lost = 0;

        CHECK(put(space, 0, 'a') == 0 && put(space, 1, 'b') == 0);
        f->spill.write_error = -EIO;
        CHECK(put(space, 2, 'c') == -EIO);
        f->spill.write_error = 0;
        CHECK(holds(space, 0, 'a') && holds(space, 1, 'b') && holds(space, 2, 0));
        CHECK(put(space, 2, 'c') == 0);
        f->spill.change = 1;
        for (uint64_t i = 0; i < 3; i++)
                lost += !holds(space, i, (char) ('a' + i));
        CHECK(lost == 1);
        page_store_load(f->store, &load);
        CHECK(load.spill_errors == 1);
        f->spill.change = 0;
        f->spill.read_error = -EIO;
        for (uint64_t i = 0; i < 3; i++)
                lost += !holds(space, i, (char) ('a' + i));
        CHECK(lost == 2);
        f->spill.read_error = 0;
        for (uint64_t i = 0; i < 3; i++)
                CHECK(holds(space, i, (char) ('a' + i)));
        page_space_free(space);
        fixture_free(f);
}

static void what_a_space_could_hold_is_bounded_by_quotas_memory_and_spill(void) {
        struct fixture *f = fixture_new(8, 4);
        struct page_quota client = { .limit = 9 };
        struct page_space *space = open_space(f, 100), *own, *shared;

        REQUIRE(page_space_new(f->store, 100 * PAGE_BYTES, 3, &client, &own) == 0);
        REQUIRE(page_space_new(f->store, 100 * PAGE_BYTES, 0, &client, &shared) == 0);
        CHECK(page_space_capacity(space) == 12 && page_space_capacity(own) == 3 && page_space_capacity(shared) == 9);
        CHECK(put(own, 0, 'a') == 0 && put(own, 1, 'b') == 0);
        CHECK(page_space_capacity(space) == 10 && page_space_capacity(own) == 3 && page_space_capacity(shared) == 7);
        for (uint64_t i = 0; i < 10; i++)
                CHECK(put(space, i, 'c') == 0);
        CHECK(page_space_capacity(space) == 10 && page_space_capacity(own) == 2 && page_space_capacity(shared) == 0);
        page_space_free(own);
        page_space_free(shared);
        page_space_free(space);
        fixture_free(f);
}

static void quotas_hold_for_a_space_and_for_several_together(void) {
        struct fixture *f = fixture_new(100, 0);
        struct page_quota client = { .limit = 5 };
        struct page_space *one, *two;

        REQUIRE(page_space_new(f->store, MIB, 3, &client, &one) == 0);
        REQUIRE(page_space_new(f->store, MIB, 0, &client, &two) == 0);
        for (uint64_t i = 0; i < 3; i++)
                CHECK(put(one, i, 'a') == 0);
        CHECK(put(one, 3, 'a') == -EDQUOT && put(one, 3, 0) == 0 && put(one, 2, 'b') == 0);
        CHECK(put(two, 0, 'a') == 0 && put(two, 1, 'a') == 0 && put(two, 2, 'a') == -EDQUOT);
        CHECK(page_space_trim(one, PAGE_BYTES, 0) == 0);
        CHECK(put(two, 2, 'a') == 0 && put(one, 3, 'a') == -EDQUOT);
        page_space_free(two);
        CHECK(client.pages == 2 && put(one, 3, 'a') == 0);
        page_space_free(one);
        CHECK(client.pages == 0);
        fixture_free(f);
}

static void spaces_do_not_mix(void) {
        struct fixture *f = fixture_new(64, 64);
        struct page_space *spaces[16];

        for (size_t i = 0; i < ELEMENTSOF(spaces); i++) {
                spaces[i] = open_space(f, 8);
                for (uint64_t page = 0; page < 8; page++)
                        CHECK(put(spaces[i], page, (char) ('a' + i)) == 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(spaces); i += 2)
                page_space_free(spaces[i]);
        for (size_t i = 0; i < ELEMENTSOF(spaces); i += 2) {
                spaces[i] = open_space(f, 8); /* with a number that was in use */
                for (uint64_t page = 0; page < 8; page++)
                        CHECK(holds(spaces[i], page, 0) && holds(spaces[i + 1], page, (char) ('a' + i + 1)));
        }
        for (size_t i = 0; i < ELEMENTSOF(spaces); i++)
                page_space_free(spaces[i]);
        fixture_free(f);
}

static void ranges_outside_a_space_are_refused(void) {
        struct fixture *f = fixture_new(8, 0);
        struct page_space *space = open_space(f, 4);
        uint64_t size = page_space_size(space), length;
        char byte = 1;

        CHECK(page_space_write(space, &byte, 1, size) == -EINVAL && page_space_read(space, &byte, 1, size) == -EINVAL);
        CHECK(page_space_write(space, &byte, 2, size - 1) == -EINVAL);
        CHECK(page_space_write(space, &byte, UINT64_MAX, 1) == -EINVAL);
        CHECK(page_space_read(space, &byte, 1, UINT64_MAX) == -EINVAL);
        CHECK(page_space_trim(space, 1, size) == -EINVAL && page_space_trim(space, UINT64_MAX, 4096) == -EINVAL);
        CHECK(page_space_extent(space, 1, size, &length) == -EINVAL);
        CHECK(page_space_extent(space, 0, 0, &length) == -EINVAL);
        CHECK(page_space_write(space, &byte, 1, size - 1) == 0 && page_space_pages(space) == 1);
        CHECK(page_space_write(space, &byte, 0, size) == 0 && page_space_trim(space, 0, size) == 0);
        page_space_free(space);
        CHECK(page_space_new(f->store, 0, 0, NULL, &space) == -EINVAL);
        CHECK(page_space_new(f->store, 4097, 0, NULL, &space) == -EINVAL);
        CHECK(page_space_new(f->store, PAGE_NUMBERS * PAGE_BYTES + PAGE_BYTES, 0, NULL, &space) == -EINVAL);
        fixture_free(f);
}

static void the_number_of_spaces_is_limited_and_they_can_be_had_again(void) {
        struct fixture *f = fixture_new(1, 0);
        struct page_space **spaces = calloc(PAGE_SPACES_MAX + 1, sizeof(*spaces));

        for (size_t i = 0; i < PAGE_SPACES_MAX; i++)
                REQUIRE(page_space_new(f->store, PAGE_BYTES, 0, NULL, &spaces[i]) == 0);
        CHECK(page_space_new(f->store, PAGE_BYTES, 0, NULL, &spaces[PAGE_SPACES_MAX]) == -EMFILE);
        page_space_free(spaces[77]);
        CHECK(page_space_new(f->store, PAGE_BYTES, 0, NULL, &spaces[77]) == 0);
        for (size_t i = 0; i < PAGE_SPACES_MAX; i++)
                page_space_free(spaces[i]);
        free(spaces);
        fixture_free(f);
}

/* A whole address space with pages at both ends and in the middle. */
static void a_space_of_any_size_is_walked_trimmed_and_described_by_what_it_holds(void) {
        struct fixture *f = fixture_new(64, 0);
        struct page_space *space = open_space(f, PAGE_NUMBERS);
        const uint64_t at[] = { 0, 5, PAGE_NUMBERS / 2, PAGE_NUMBERS / 2 + 1, PAGE_NUMBERS - 1 };
        uint64_t pages[PAGE_WALK_MIN], cursor = 0, offset = 0, length, stored = 0;
        int n, seen = 0, calls = 0;

        for (size_t i = 0; i < ELEMENTSOF(at); i++)
                CHECK(put(space, at[i], 'x') == 0);
        while ((n = page_space_walk(space, &cursor, pages, ELEMENTSOF(pages))) > 0)
                seen += n;
        CHECK(n == 0 && seen == (int) ELEMENTSOF(at));
        /* The hole between two pages far apart is told in parts, but few. */
        for (uint64_t end = 64 * MIB; offset < end; offset += length) {
                n = page_space_extent(space, end - offset, offset, &length);
                REQUIRE(n >= 0 && length > 0);
                CHECK(n == (offset == 0 || offset == 5 * PAGE_BYTES));
                stored += n ? length : 0;
        }
        CHECK(stored == 2 * PAGE_BYTES);
        offset = (PAGE_NUMBERS / 2) * PAGE_BYTES;
        CHECK(page_space_extent(space, GIB, offset, &length) == 1 && length == 2 * PAGE_BYTES);
        for (offset += length; calls < 10; calls++, offset += length)
                CHECK(page_space_extent(space, page_space_size(space) - offset, offset, &length) == 0 &&
                      length >= 4 * GIB);
        CHECK(page_space_trim(space, page_space_size(space) - 2 * PAGE_BYTES - 1, PAGE_BYTES + 1) == 0);
        CHECK(page_space_pages(space) == 2 && holds(space, 0, 'x') && holds(space, PAGE_NUMBERS - 1, 'x'));
        page_space_free(space);
        fixture_free(f);
}

static void a_walk_meets_each_page_once_while_others_come_and_go_and_move(void) {
        struct fixture *f = fixture_new(200, 400);
        struct page_space *space = open_space(f, 4096), *other = open_space(f, 4096);
        uint64_t pages[PAGE_WALK_MIN], cursor = 0;
        unsigned char seen[4096] = { 0 };
        unsigned random = 1;
        int n;

        for (uint64_t i = 0; i < 300; i++)
                CHECK(put(space, i * 13, 'a') == 0 && put(other, i, 'b') == 0);
        while ((n = page_space_walk(space, &cursor, pages, ELEMENTSOF(pages))) > 0)
                for (int i = 0; i < n; i++) {
                        seen[pages[i]]++;
                        random = random * 1103515245 + 12345;
                        CHECK(page_space_trim(other, PAGE_BYTES, (random >> 16) % 300 * PAGE_BYTES) == 0);
                        CHECK(holds(space, (random >> 18) % 300 * 13, 'a'));
                        CHECK(put(other, (random >> 20) % 300, 'c') == 0);
                }
        CHECK(n == 0);
        for (uint64_t i = 0; i < 4096; i++)
                CHECK(seen[i] == (i % 13 == 0 && i / 13 < 300));
        page_space_free(space);
        page_space_free(other);
        fixture_free(f);
}

/* Chains stay short whatever the distance of a space's pages is. */
static void pages_at_a_regular_distance_are_walked_with_the_smallest_buffer(void) {
        struct fixture *f = fixture_new(4096, 0);
        uint64_t pages[PAGE_WALK_MIN], seen = 0;

        for (uint64_t distance = 1; distance <= 1 << 20; distance *= 16) {
                struct page_space *space = open_space(f, distance * 4096);
                uint64_t cursor = 0;
                int n;

                for (uint64_t i = 0; i < 4096; i++)
                        CHECK(put(space, i * distance, 'a') == 0);
                while ((n = page_space_walk(space, &cursor, pages, ELEMENTSOF(pages))) > 0)
                        seen += (uint64_t) n;
                CHECK(n == 0);
                page_space_free(space);
        }
        CHECK(seen == 6 * 4096);
        fixture_free(f);
}

static uint64_t resident_bytes(void) {
        _cleanup_fclose_ FILE *file = fopen("/proc/self/statm", "re");
        unsigned long total = 0, resident = 0;

        REQUIRE(file && fscanf(file, "%lu %lu", &total, &resident) == 2);
        return resident * PAGE_BYTES;
}

static void trimmed_memory_goes_back_to_the_kernel(void) {
        struct fixture *f = fixture_new(32768, 0);
        struct page_space *space = open_space(f, 32768);
        uint64_t before = resident_bytes(), full;

        for (uint64_t i = 0; i < 32768; i++)
                CHECK(put(space, i, 'x') == 0);
        full = resident_bytes();
        CHECK(full - before >= 128 * MIB);
        CHECK(page_space_trim(space, 128 * MIB, 0) == 0);
        CHECK(full - resident_bytes() >= 120 * MIB);
        page_space_free(space);
        fixture_free(f);
}

static void a_stored_page_costs_at_most_64_bytes_beside_itself(void) {
        struct fixture *f = fixture_new(10000, 5000);
        struct page_store_load load;

        page_store_load(f->store, &load);
        CHECK(load.table_bytes <= 64 * (load.memory_pages + load.spill_pages));
        CHECK(load.table_bytes <= 21 * (load.memory_pages + load.spill_pages));
        fixture_free(f);
}

static void a_store_of_no_or_too_many_pages_is_refused(void) {
        struct page_store *store = NULL;

        CHECK(page_store_new(&(struct page_store_options) { .memory_bytes = 4095 }, &store) == -EINVAL);
        CHECK(page_store_new(&(struct page_store_options) { .memory_bytes = UINT64_C(1) << 44 }, &store) == -EINVAL);
        CHECK(page_store_new(&(struct page_store_options) { .memory_bytes = MIB, .spill_bytes = UINT64_C(1) << 44 },
                             &store) == -EINVAL);
        CHECK(store == NULL);
}

TEST_MAIN("page-store",
          TEST(a_page_reads_back_and_an_unwritten_one_is_zero),
          TEST(zero_pages_cost_nothing),
          TEST(a_full_store_refuses_and_keeps_what_it_has),
          TEST(what_memory_has_no_place_for_is_spilled_and_comes_back),
          TEST(a_broken_spill_file_is_an_error_and_no_other_page_suffers),
          TEST(quotas_hold_for_a_space_and_for_several_together),
          TEST(what_a_space_could_hold_is_bounded_by_quotas_memory_and_spill),
          TEST(spaces_do_not_mix),
          TEST(ranges_outside_a_space_are_refused),
          TEST(the_number_of_spaces_is_limited_and_they_can_be_had_again),
          TEST(a_space_of_any_size_is_walked_trimmed_and_described_by_what_it_holds),
          TEST(a_walk_meets_each_page_once_while_others_come_and_go_and_move),
          TEST(pages_at_a_regular_distance_are_walked_with_the_smallest_buffer),
          TEST(trimmed_memory_goes_back_to_the_kernel),
          TEST(a_stored_page_costs_at_most_64_bytes_beside_itself),
          TEST(a_store_of_no_or_too_many_pages_is_refused))
