/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/memserver/page-store.h"
#include "tests/unit/test.h"

/* The test's own spill file, which can be broken. */
struct spill {
        char (*slots)[PAGE_BYTES];
        unsigned char *held; /* written and not discarded */
        size_t n;
        int write_error, read_error; /* negative errno */
        int change;                  /* gives other bytes back than were written */
};

static int spill_read(void *userdata, uint32_t slot, void *page) {
        struct spill *spill = userdata;

        REQUIRE(slot < spill->n && spill->held[slot]);
        memcpy(page, spill->slots[slot], PAGE_BYTES);
        ((char *) page)[100] ^= (char) spill->change;
        return spill->read_error;
}

static int spill_write(void *userdata, uint32_t slot, const void *page) {
        struct spill *spill = userdata;

        REQUIRE(slot < spill->n);
        if (spill->write_error)
                return spill->write_error;
        memcpy(spill->slots[slot], page, PAGE_BYTES);
        spill->held[slot] = 1;
        return 0;
}

static void spill_discard(void *userdata, uint32_t slot) {
        struct spill *spill = userdata;

        REQUIRE(slot < spill->n && spill->held[slot]);
        memset(spill->slots[slot], 0xdd, PAGE_BYTES);
        spill->held[slot] = 0;
}

struct fixture {
        struct spill spill;
        struct page_store *store;
};

static struct fixture *fixture_new(size_t memory_pages, size_t spill_pages) {
        struct fixture *f = calloc(1, sizeof(*f));
        struct page_store_options options = { .memory_bytes = memory_pages * PAGE_BYTES,
                                              .spill_bytes = spill_pages * PAGE_BYTES,
                                              .seed = 42,
                                              .spill = { spill_read, spill_write, spill_discard, &f->spill } };

        f->spill.n = spill_pages;
        f->spill.slots = calloc(spill_pages + 1, PAGE_BYTES);
        f->spill.held = calloc(spill_pages + 1, 1);
        REQUIRE(page_store_new(&options, &f->store) == 0);
        return f;
}

static void fixture_free(struct fixture *f) {
        struct page_store_load load;

        page_store_load(f->store, &load);
        CHECK(load.memory_used == 0 && load.spill_used == 0);
        for (size_t i = 0; i < f->spill.n; i++)
                CHECK(!f->spill.held[i]);
        page_store_free(f->store);
        free(f->spill.slots);
        free(f->spill.held);
        free(f);
}

static struct page_space *open_space(struct fixture *f, uint64_t pages) {
        struct page_space *space;

        REQUIRE(page_space_new(f->store, pages * PAGE_BYTES, 0, NULL, &space) == 0);
        return space;
}

/* A page full of `c`. */
static int put(struct page_space *space, uint64_t page, char c) {
        char bytes[PAGE_BYTES];

        memset(bytes, c, sizeof(bytes));
        return page_space_write(space, bytes, sizeof(bytes), page * PAGE_BYTES);
}

static bool holds(struct page_space *space, uint64_t page, char c) {
        char bytes[PAGE_BYTES];

        if (page_space_read(space, bytes, sizeof(bytes), page * PAGE_BYTES) < 0)
                return false;
        for (size_t i = 0; i < sizeof(bytes); i++)
                if (bytes[i] != c)
                        return false;
        return true;
}

static uint64_t memory_used(struct fixture *f) {
        struct page_store_load load;

        page_store_load(f->store, &load);
        return load.memory_used;
}

static uint64_t spill_used(struct fixture *f) {
        struct page_store_load load;

        page_store_load(f->store, &load);
        return load.spill_used;
}

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

/*
 * The store against a plain array of bytes: requests of any size at any place, on several spaces, with memory that
 * does not suffice, and sometimes not even with the spill file.
 */

#define MODEL_SPACES 3
#define MODEL_BYTES (64 * PAGE_BYTES)

struct model {
        char bytes[MODEL_SPACES][MODEL_BYTES];
        uint64_t random;
};

static uint64_t any(struct model *m, uint64_t below) {
        m->random ^= m->random << 13;
        m->random ^= m->random >> 7;
        m->random ^= m->random << 17;
        return m->random % below;
}

static bool page_is_zero(const char *page) {
        return page[0] == 0 && memcmp(page, page + 1, PAGE_BYTES - 1) == 0;
}

static uint64_t model_pages(const struct model *m, size_t space) {
        uint64_t n = 0;

        for (size_t at = 0; at < MODEL_BYTES; at += PAGE_BYTES)
                n += !page_is_zero(m->bytes[space] + at);
        return n;
}

/* What a refused write has left must be, page by page, the old or the new. */
static void settle(struct model *m, struct page_space *space, size_t i, const char *data, uint64_t length,
                   uint64_t offset) {
        char now[PAGE_BYTES], wanted[PAGE_BYTES];

        for (uint64_t at = offset, end; at < offset + length; at = end) {
                uint64_t page = at / PAGE_BYTES * PAGE_BYTES;
                bool old, new;

                end = page + PAGE_BYTES < offset + length ? page + PAGE_BYTES : offset + length;
                memcpy(wanted, m->bytes[i] + page, PAGE_BYTES);
                memcpy(wanted + (at - page), data + (at - offset), end - at);
                REQUIRE(page_space_read(space, now, PAGE_BYTES, page) == 0);
                old = memcmp(now, m->bytes[i] + page, PAGE_BYTES) == 0;
                new = memcmp(now, wanted, PAGE_BYTES) == 0;
                REQUIRE(old || new);
                memcpy(m->bytes[i] + page, now, PAGE_BYTES);
        }
}

static void model_write(struct model *m, struct page_space *space, size_t i, uint64_t length, uint64_t offset) {
        static char data[MODEL_BYTES];
        unsigned char c = any(m, 3) == 0 ? 0 : (unsigned char) any(m, 256);
        int r;

        for (uint64_t at = 0; at < length; at++)
                data[at] = (char) (c ? c + at / 1000 : 0);
        r = page_space_write(space, data, length, offset);
        REQUIRE(r == 0 || r == -ENOSPC);
        if (r < 0)
                settle(m, space, i, data, length, offset);
        else
                memcpy(m->bytes[i] + offset, data, length);
}

static void model_extent(struct model *m, struct page_space *space, size_t i, uint64_t length, uint64_t offset) {
        uint64_t got;
        int stored;

        if (length == 0)
                return;
        stored = page_space_extent(space, length, offset, &got);
        REQUIRE(stored >= 0 && got > 0 && got <= length);
        for (uint64_t page = offset / PAGE_BYTES; page <= (offset + got - 1) / PAGE_BYTES; page++)
                REQUIRE(stored == !page_is_zero(m->bytes[i] + page * PAGE_BYTES));
        if (got < length)
                REQUIRE(stored == page_is_zero(m->bytes[i] + (offset + got) / PAGE_BYTES * PAGE_BYTES));
}

static void model_step(struct model *m, struct page_space **spaces) {
        static char data[MODEL_BYTES];
        size_t i = any(m, MODEL_SPACES);
        bool whole = any(m, 2) == 0;
        uint64_t offset = any(m, MODEL_BYTES + 1), length = any(m, any(m, 4) ? 3 * PAGE_BYTES : 20 * PAGE_BYTES);

        if (whole) {
                offset = offset / PAGE_BYTES * PAGE_BYTES;
                length = (length / PAGE_BYTES + 1) * PAGE_BYTES;
        }
        if (length > MODEL_BYTES - offset)
                length = MODEL_BYTES - offset;
        switch (any(m, 8)) {
        case 0 ... 3:
                model_write(m, spaces[i], i, length, offset);
                break;
        case 4 ... 5:
                REQUIRE(page_space_read(spaces[i], data, length, offset) == 0);
                REQUIRE(memcmp(data, m->bytes[i] + offset, length) == 0);
                break;
        case 6:
                REQUIRE(page_space_trim(spaces[i], length, offset) == 0);
                memset(m->bytes[i] + offset, 0, length);
                break;
        default:
                model_extent(m, spaces[i], i, length, offset);
        }
        REQUIRE(page_space_pages(spaces[i]) == model_pages(m, i));
}

static void run_model(uint64_t seed, size_t memory_pages, size_t spill_pages, int steps) {
        struct fixture *f = fixture_new(memory_pages, spill_pages);
        struct model *m = calloc(1, sizeof(*m));
        struct page_space *spaces[MODEL_SPACES];
        uint64_t held = 0;

        m->random = seed;
        for (size_t i = 0; i < MODEL_SPACES; i++)
                spaces[i] = open_space(f, MODEL_BYTES / PAGE_BYTES);
        for (int step = 0; step < steps; step++)
                model_step(m, spaces);
        for (size_t i = 0; i < MODEL_SPACES; i++)
                held += page_space_pages(spaces[i]);
        CHECK(memory_used(f) + spill_used(f) == held);
        for (size_t i = 0; i < MODEL_SPACES; i++)
                page_space_free(spaces[i]);
        free(m);
        fixture_free(f);
}

/* TEST_SEED chooses another one. */
static void the_store_does_what_an_array_of_bytes_does(void) {
        const char *given = getenv("TEST_SEED");
        uint64_t seed = given ? strtoull(given, NULL, 0) : 20261;

        printf("seed %llu ", (unsigned long long) seed);
        for (uint64_t i = 1; i <= 20; i++) {
                run_model(seed * 64 + i, 200, 0, 2000);  /* enough memory */
                run_model(seed * 64 + i, 60, 0, 2000);   /* too little */
                run_model(seed * 64 + i, 20, 180, 2000); /* enough with the spill file */
                run_model(seed * 64 + i, 3, 60, 2000);   /* too little of either */
        }
}

/*
 * Threads that share the store, and in pairs a space. Each knows what its own pages hold; memory is short, so that
 * every one keeps spilling the others' pages.
 */

#define WORKERS 4

struct worker {
        struct page_space *space;
        uint64_t first, random;
        char now[64];
        int wrong;
        pthread_t thread;
};

static void *work(void *userdata) {
        struct worker *w = userdata;

        for (int step = 0; step < 20000; step++) {
                uint64_t i;

                w->random = w->random * UINT64_C(6364136223846793005) + 1442695040888963407;
                i = w->random >> 33 & 63;
                if (w->random >> 40 & 1) {
                        w->wrong += !holds(w->space, w->first + i, w->now[i]);
                } else {
                        char c = (char) (w->random >> 50 & 7);
                        int r = c == 7 ? page_space_trim(w->space, PAGE_BYTES, (w->first + i) * PAGE_BYTES)
                                       : put(w->space, w->first + i, c);
                        if (r == 0)
                                w->now[i] = (char) (c == 7 ? 0 : c);
                        else
                                w->wrong += r != -ENOSPC;
                }
        }
        return NULL;
}

static void threads_find_their_own_pages_as_they_left_them(void) {
        struct fixture *f = fixture_new(64, 256);
        struct page_space *spaces[WORKERS / 2];
        struct worker workers[WORKERS] = { 0 };

        for (size_t i = 0; i < ELEMENTSOF(spaces); i++)
                spaces[i] = open_space(f, 1024);
        for (size_t i = 0; i < WORKERS; i++) {
                workers[i].space = spaces[i / 2];
                workers[i].first = i % 2 * 64;
                workers[i].random = i;
                REQUIRE(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
        }
        for (size_t i = 0; i < WORKERS; i++) {
                REQUIRE(pthread_join(workers[i].thread, NULL) == 0);
                CHECK(workers[i].wrong == 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(spaces); i++)
                page_space_free(spaces[i]);
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
          TEST(spaces_do_not_mix),
          TEST(ranges_outside_a_space_are_refused),
          TEST(the_number_of_spaces_is_limited_and_they_can_be_had_again),
          TEST(a_space_of_any_size_is_walked_trimmed_and_described_by_what_it_holds),
          TEST(a_walk_meets_each_page_once_while_others_come_and_go_and_move),
          TEST(pages_at_a_regular_distance_are_walked_with_the_smallest_buffer),
          TEST(trimmed_memory_goes_back_to_the_kernel),
          TEST(a_stored_page_costs_at_most_64_bytes_beside_itself),
          TEST(the_store_does_what_an_array_of_bytes_does),
          TEST(threads_find_their_own_pages_as_they_left_them),
          TEST(a_store_of_no_or_too_many_pages_is_refused))
