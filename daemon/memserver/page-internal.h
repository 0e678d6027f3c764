/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of the page store share: page-frame.c gives places out, page-table.c finds them, page-request.c
 * reads and writes, page-take.c moves them between spaces, page-store.c has the store and its spaces. */

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "daemon/memserver/page-store.h"

#define GROUP_PAGES 16 /* neighbours under one lock; their heads fill one cache line */
#define STRIPES 1024
#define CHUNKS 1024 /* parts of a space of which it is known how many pages they hold */

/* A place for a page: a frame of the memory, or past the last one a slot of the spill file. 0 is none. */
typedef uint32_t place_t;

struct entry {
        _Atomic uint64_t key; /* space and page; 0: free. Changed under the lock of the key's group */
        place_t next;         /* in the chain of its head, or in a list of free places */
        uint32_t check;       /* of a spilled page: what its contents must add up to */
};

#define KEY_REFERENCED (UINT64_C(1) << 63) /* since the clock came by */
#define KEY_PAGE_BITS 44

/* Free places. Those of the memory that are still backed by the kernel are used first. */
struct place_list {
        pthread_mutex_t lock;
        place_t backed, bare, fresh; /* heads of two lists; the first that was never used */
        place_t end;
        uint32_t n_backed, n_free;
};

struct stripe {
        _Alignas(64) pthread_mutex_t lock;
};

struct page_store {
        struct entry *entries; /* by place; [0] is unused */
        place_t *heads;
        uint64_t n_groups, seed;
        char *memory; /* frame of place p at (p - 1) * PAGE_BYTES */
        uint32_t n_memory, n_spill;
        struct place_list frames, slots;
        struct page_spill spill;
        _Atomic uint64_t spill_errors;
        _Atomic uint32_t hand; /* of the clock */
        struct stripe *stripes;
        pthread_mutex_t space_lock;
        uint8_t space_used[(PAGE_SPACES_MAX + 1) / 8];
};

struct page_space {
        struct page_store *store;
        uint64_t id; /* 1 .. PAGE_SPACES_MAX */
        uint64_t size_bytes, chunk_pages;
        struct page_quota own;
        _Atomic uint32_t chunks[CHUNKS]; /* pages stored in each */
};

/* Places to be given back, collected so that neighbours go back to the kernel in one call. */
#define BATCH_PLACES 256
struct batch {
        place_t places[BATCH_PLACES];
        size_t n;
};

/* Where a group's pages are found, and its lock. */
struct group {
        place_t *heads; /* GROUP_PAGES of them */
        unsigned turn;  /* by which its pages are shifted among them */
        pthread_mutex_t *lock;
};

static inline bool place_spilled(const struct page_store *store, place_t place) {
        return place > store->n_memory;
}

static inline char *place_memory(const struct page_store *store, place_t place) {
        return store->memory + (uint64_t) (place - 1) * PAGE_BYTES;
}

/* page-frame.c */
int places_init(struct page_store *store);
void places_deinit(struct page_store *store);
uint64_t places_table_bytes(const struct page_store *store);
uint32_t places_free(struct place_list *list);
/* A free frame of the memory without making room, 0 where there is none. */
place_t frame_take(struct page_store *store);
/* The same, making room by spilling another page where there is none. -ENOSPC, or the spill file's error. Called
 * without any lock. */
int frame_make(struct page_store *store, place_t *ret);
int spilled_read(struct page_store *store, place_t place, void *page);
int spilled_write(struct page_store *store, place_t place, const void *page);
void batch_add(struct batch *batch, place_t place);
void batch_flush(struct page_store *store, struct batch *batch);

/* page-table.c: all but group_find() under the group's lock */
struct group group_find(const struct page_store *store, uint64_t space_id, uint64_t page);
place_t table_find(const struct page_store *store, const struct group *group, uint64_t key);
void table_link(struct page_store *store, const struct group *group, uint64_t key, place_t place);
void table_unlink(struct page_store *store, const struct group *group, place_t place);
/* Bit i: page i of the group is stored. */
unsigned table_mask(const struct page_store *store, const struct group *group, uint64_t first_key);

static inline uint64_t key_of(uint64_t space_id, uint64_t page) {
        return space_id << KEY_PAGE_BITS | page;
}

/* page-store.c: accounts for one more page of the space (-EDQUOT), or one less. */
int page_admit(struct page_space *space, uint64_t page);
void page_forget(struct page_space *space, uint64_t page);
/* The same for a page that `from` has given to `to`, and that counts for both. */
void page_pass(struct page_space *to, struct page_space *from, uint64_t page);

/* Every byte is 0. */
static inline bool bytes_are_zero(const void *bytes, size_t n) {
        const char *p = bytes;

        return n == 0 || (*p == 0 && memcmp(p, p + 1, n - 1) == 0);
}
