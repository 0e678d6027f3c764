/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A page store with the test's own spill file, and pages that are all one letter. */

#include <stdbool.h>

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

static inline int spill_read(void *userdata, uint32_t slot, void *page) {
        struct spill *spill = userdata;

        REQUIRE(slot < spill->n && spill->held[slot]);
        memcpy(page, spill->slots[slot], PAGE_BYTES);
        ((char *) page)[100] ^= (char) spill->change;
        return spill->read_error;
}

static inline int spill_write(void *userdata, uint32_t slot, const void *page) {
        struct spill *spill = userdata;

        REQUIRE(slot < spill->n);
        if (spill->write_error)
                return spill->write_error;
        memcpy(spill->slots[slot], page, PAGE_BYTES);
        spill->held[slot] = 1;
        return 0;
}

static inline void spill_discard(void *userdata, uint32_t slot) {
        struct spill *spill = userdata;

        REQUIRE(slot < spill->n && spill->held[slot]);
        memset(spill->slots[slot], 0xdd, PAGE_BYTES);
        spill->held[slot] = 0;
}

struct fixture {
        struct spill spill;
        struct page_store *store;
};

static inline struct fixture *fixture_new(size_t memory_pages, size_t spill_pages) {
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

static inline void fixture_free(struct fixture *f) {
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

static inline struct page_space *open_space(struct fixture *f, uint64_t pages) {
        struct page_space *space;

        REQUIRE(page_space_new(f->store, pages * PAGE_BYTES, 0, NULL, &space) == 0);
        return space;
}

/* A page full of `c`. */
static inline int put(struct page_space *space, uint64_t page, char c) {
        char bytes[PAGE_BYTES];

        memset(bytes, c, sizeof(bytes));
        return page_space_write(space, bytes, sizeof(bytes), page * PAGE_BYTES);
}

static inline bool holds(struct page_space *space, uint64_t page, char c) {
        char bytes[PAGE_BYTES];

        if (page_space_read(space, bytes, sizeof(bytes), page * PAGE_BYTES) < 0)
                return false;
        for (size_t i = 0; i < sizeof(bytes); i++)
                if (bytes[i] != c)
                        return false;
        return true;
}

static inline uint64_t memory_used(struct fixture *f) {
        struct page_store_load load;

        page_store_load(f->store, &load);
        return load.memory_used;
}

static inline uint64_t spill_used(struct fixture *f) {
        struct page_store_load load;

        page_store_load(f->store, &load);
        return load.spill_used;
}
