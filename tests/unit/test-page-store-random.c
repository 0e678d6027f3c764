/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "tests/unit/page-store-fixture.h"

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

TEST_MAIN("page-store-random",
          TEST(the_store_does_what_an_array_of_bytes_does),
          TEST(threads_find_their_own_pages_as_they_left_them))
