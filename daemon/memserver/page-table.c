/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/memserver/page-internal.h"

/* Murmur3's finalizer: every bit of the key moves every bit of the hash. */
static uint64_t mix(uint64_t h) {
        h ^= h >> 33;
        h *= UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 33;
        h *= UINT64_C(0xc4ceb9fe1a85ec53);
        h ^= h >> 33;
        return h;
}

static pthread_mutex_t *group_lock(const struct page_store *store, uint64_t index) {
        return &store->stripes[index % STRIPES].lock;
}

struct group group_find(const struct page_store *store, uint64_t space_id, uint64_t page) {
        uint64_t hash = mix(key_of(space_id, page) / GROUP_PAGES ^ store->seed);
        uint64_t index = (uint64_t) ((unsigned __int128) hash * store->n_groups >> 64);

        /* Without the turn, a space that uses every sixteenth page would crowd into one head of each line. */
        return (struct group) { .heads = store->heads + index * GROUP_PAGES,
                                .turn = (unsigned) (hash % GROUP_PAGES),
                                .lock = group_lock(store, index) };
}

static place_t *group_head(const struct group *group, uint64_t key) {
        return group->heads + (key + group->turn) % GROUP_PAGES;
}

place_t table_find(const struct page_store *store, const struct group *group, uint64_t key) {
        place_t place = *group_head(group, key);

        while (place && (store->entries[place].key & ~KEY_REFERENCED) != key)
                place = store->entries[place].next;
        return place;
}

void table_link(struct page_store *store, const struct group *group, uint64_t key, place_t place) {
        place_t *head = group_head(group, key);

        store->entries[place].next = *head;
        atomic_store_explicit(&store->entries[place].key, key | KEY_REFERENCED, memory_order_relaxed);
        *head = place;
}

void table_unlink(struct page_store *store, const struct group *group, place_t place) {
        place_t *link = group_head(group, store->entries[place].key & ~KEY_REFERENCED);

        while (*link != place)
                link = &store->entries[*link].next;
        *link = store->entries[place].next;
        atomic_store_explicit(&store->entries[place].key, 0, memory_order_relaxed);
}

unsigned table_mask(const struct page_store *store, const struct group *group, uint64_t first_key) {
        unsigned mask = 0;

        for (unsigned i = 0; i < GROUP_PAGES; i++)
                for (place_t p = group->heads[i]; p; p = store->entries[p].next) {
                        uint64_t at = (store->entries[p].key & ~KEY_REFERENCED) - first_key;
                        if (at < GROUP_PAGES)
                                mask |= 1u << at;
                }
        return mask;
}

/* Pages of the space in one chain; `pages` has room for `room`. */
static int chain_pages(const struct page_space *space, place_t place, uint64_t *pages, size_t room) {
        size_t n = 0;

        for (; place; place = space->store->entries[place].next) {
                uint64_t key = space->store->entries[place].key & ~KEY_REFERENCED;
                if (key >> KEY_PAGE_BITS != space->id)
                        continue;
                if (n == room)
                        return -1;
                pages[n++] = key & (PAGE_NUMBERS - 1);
        }
        return (int) n;
}

int page_space_walk(struct page_space *space, uint64_t *cursor, uint64_t *ret_pages, size_t n) {
        struct page_store *store = space->store;
        uint64_t at = *cursor, n_heads = store->n_groups * GROUP_PAGES;
        bool full = false;
        size_t done = 0;

        while (at < n_heads && !full && page_space_pages(space) > 0) {
                pthread_mutex_t *lock = group_lock(store, at / GROUP_PAGES);

                pthread_mutex_lock(lock);
                do {
                        int got = chain_pages(space, store->heads[at], ret_pages + done, n - done);
                        if (got < 0) {
                                full = true;
                                break;
                        }
                        done += (size_t) got;
                        at++;
                } while (at % GROUP_PAGES > 0);
                pthread_mutex_unlock(lock);
        }
        if (full && done == 0)
                return -ENOBUFS;
        *cursor = at;
        return (int) done;
}
