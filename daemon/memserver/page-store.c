/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/page-store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/page-internal.h"

_Static_assert(sizeof(struct entry) == 16, "a stored page costs an entry of 16 bytes");

DEFINE_CLEANUP(struct page_store *, page_store_free)

int page_store_new(const struct page_store_options *options, struct page_store **ret) {
        _cleanup_(page_store_freep) struct page_store *store = NULL;
        uint64_t n_memory = options->memory_bytes / PAGE_BYTES, n_spill = options->spill_bytes / PAGE_BYTES;

        if (n_memory == 0 || n_memory >= UINT32_MAX - 1 || n_spill >= UINT32_MAX - 1 - n_memory)
                return -EINVAL;
        store = calloc(1, sizeof(*store));
        if (!store)
                return -ENOMEM;
        store->n_memory = (uint32_t) n_memory;
        store->n_spill = (uint32_t) n_spill;
        store->n_groups = (n_memory + n_spill + GROUP_PAGES - 1) / GROUP_PAGES;
        store->seed = options->seed;
        store->spill = options->spill;
        (void) pthread_mutex_init(&store->space_lock, NULL);
        if (places_init(store) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < STRIPES; i++)
                (void) pthread_mutex_init(&store->stripes[i].lock, NULL);
        *ret = steal_ptr(store);
        return 0;
}

struct page_store *page_store_free(struct page_store *store) {
        places_deinit(store);
        free(store);
        return NULL;
}

void page_store_load(struct page_store *store, struct page_store_load *ret) {
        *ret = (struct page_store_load) {
                .memory_pages = store->n_memory,
                .memory_used = store->n_memory - places_free(&store->frames),
                .spill_pages = store->n_spill,
                .spill_used = store->n_spill - places_free(&store->slots),
                .spill_errors = atomic_load(&store->spill_errors),
                .table_bytes = places_table_bytes(store),
        };
}

/* A number that no page in the store carries: a space gives its own back after its pages. 0 where all are taken. */
static uint64_t space_id_take(struct page_store *store) {
        uint64_t id;

        pthread_mutex_lock(&store->space_lock);
        for (id = 1; id <= PAGE_SPACES_MAX && store->space_used[id / 8] & 1u << id % 8; id++)
                ;
        if (id <= PAGE_SPACES_MAX)
                store->space_used[id / 8] |= (uint8_t) (1u << id % 8);
        pthread_mutex_unlock(&store->space_lock);
        return id <= PAGE_SPACES_MAX ? id : 0;
}

static void space_id_give(struct page_store *store, uint64_t id) {
        pthread_mutex_lock(&store->space_lock);
        store->space_used[id / 8] &= (uint8_t) ~(1u << id % 8);
        pthread_mutex_unlock(&store->space_lock);
}

int page_space_new(struct page_store *store, uint64_t size_bytes, uint64_t limit_pages, struct page_quota *shared,
                   struct page_space **ret) {
        uint64_t n_pages = size_bytes / PAGE_BYTES;
        struct page_space *space;

        if (n_pages == 0 || n_pages > PAGE_NUMBERS || size_bytes % PAGE_BYTES != 0)
                return -EINVAL;
        space = calloc(1, sizeof(*space));
        if (!space)
                return -ENOMEM;
        space->id = space_id_take(store);
        if (space->id == 0) {
                free(space);
                return -EMFILE;
        }
        space->store = store;
        space->size_bytes = size_bytes;
        space->chunk_pages = (n_pages / CHUNKS / GROUP_PAGES + 1) * GROUP_PAGES;
        space->own.limit = limit_pages;
        space->own.wider = shared;
        *ret = space;
        return 0;
}

int page_space_new_beside(struct page_space *space, struct page_space **ret) {
        return page_space_new(space->store, space->size_bytes, 0, &space->own, ret);
}

struct page_space *page_space_free(struct page_space *space) {
        (void) page_space_trim(space, space->size_bytes, 0);
        space_id_give(space->store, space->id);
        free(space);
        return NULL;
}

uint64_t page_space_size(const struct page_space *space) {
        return space->size_bytes;
}

uint64_t page_space_pages(const struct page_space *space) {
        return atomic_load_explicit(&space->own.pages, memory_order_relaxed);
}

uint64_t page_space_capacity(struct page_space *space) {
        uint64_t free = (uint64_t) places_free(&space->store->frames) + places_free(&space->store->slots);

        for (const struct page_quota *q = &space->own; q; q = q->wider) {
                uint64_t used = atomic_load_explicit(&q->pages, memory_order_relaxed);

                if (q->limit > 0 && q->limit < used + free)
                        free = q->limit > used ? q->limit - used : 0;
        }
        return page_space_pages(space) + free;
}

/* Of the quota and all wider ones before `end`. */
static void quota_refund(struct page_quota *quota, const struct page_quota *end) {
        for (; quota != end; quota = quota->wider)
                atomic_fetch_sub(&quota->pages, 1);
}

static int quota_charge(struct page_quota *quota) {
        for (struct page_quota *q = quota; q; q = q->wider)
                if (atomic_fetch_add(&q->pages, 1) >= q->limit && q->limit > 0) {
                        quota_refund(quota, q->wider);
                        return -EDQUOT;
                }
        return 0;
}

static _Atomic uint32_t *chunk_of(struct page_space *space, uint64_t page) {
        return &space->chunks[page / space->chunk_pages];
}

int page_admit(struct page_space *space, uint64_t page) {
        int r = quota_charge(&space->own);

        if (r == 0)
                atomic_fetch_add_explicit(chunk_of(space, page), 1, memory_order_relaxed);
        return r;
}

void page_forget(struct page_space *space, uint64_t page) {
        atomic_fetch_sub_explicit(chunk_of(space, page), 1, memory_order_relaxed);
        quota_refund(&space->own, NULL);
}

void page_pass(struct page_space *to, struct page_space *from, uint64_t page) {
        atomic_fetch_add_explicit(chunk_of(to, page), 1, memory_order_relaxed);
        atomic_fetch_sub_explicit(chunk_of(from, page), 1, memory_order_relaxed);
        quota_refund(&from->own, &to->own);
}
