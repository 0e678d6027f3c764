/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "daemon/memserver/page-internal.h"

/* Free frames that stay backed, so that a page coming right after another was dropped costs no page fault. */
#define BACKED_MAX 1024
/* Pages in use lately that the clock passes over before it takes one all the same: a bound to what one save costs. */
#define CLOCK_PATIENCE 64

static void list_init(struct place_list *list, place_t first, place_t end) {
        *list = (struct place_list) { .fresh = first, .end = end, .n_free = end - first };
        (void) pthread_mutex_init(&list->lock, NULL);
}

/* Zeroed, backed as it is used. NULL where there is no such address space. */
static void *map_zeroed(uint64_t bytes) {
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        return p == MAP_FAILED ? NULL : p;
}

static uint64_t entries_bytes(const struct page_store *store) {
        return ((uint64_t) store->n_memory + store->n_spill + 1) * sizeof(struct entry);
}

static uint64_t heads_bytes(const struct page_store *store) {
        return store->n_groups * GROUP_PAGES * sizeof(place_t);
}

int places_init(struct page_store *store) {
        store->memory = map_zeroed(store->n_memory * PAGE_BYTES);
        store->entries = map_zeroed(entries_bytes(store));
        store->heads = map_zeroed(heads_bytes(store));
        store->stripes = map_zeroed(STRIPES * sizeof(struct stripe));
        if (!store->memory || !store->entries || !store->heads || !store->stripes)
                return -ENOMEM;
        list_init(&store->frames, 1, store->n_memory + 1);
        list_init(&store->slots, store->n_memory + 1, store->n_memory + store->n_spill + 1);
        return 0;
}

void places_deinit(struct page_store *store) {
        if (store->memory)
                (void) munmap(store->memory, store->n_memory * PAGE_BYTES);
        if (store->entries)
                (void) munmap(store->entries, entries_bytes(store));
        if (store->heads)
                (void) munmap(store->heads, heads_bytes(store));
        if (store->stripes)
                (void) munmap(store->stripes, STRIPES * sizeof(struct stripe));
}

uint64_t places_table_bytes(const struct page_store *store) {
        return entries_bytes(store) + heads_bytes(store);
}

uint32_t places_free(struct place_list *list) {
        uint32_t n;

        pthread_mutex_lock(&list->lock);
        n = list->n_free;
        pthread_mutex_unlock(&list->lock);
        return n;
}

static place_t list_take(struct page_store *store, struct place_list *list) {
        place_t place = 0;

        pthread_mutex_lock(&list->lock);
        if (list->backed) {
                place = list->backed;
                list->backed = store->entries[place].next;
                list->n_backed--;
        } else if (list->bare) {
                place = list->bare;
                list->bare = store->entries[place].next;
        } else if (list->fresh < list->end) {
                place = list->fresh++;
        }
        if (place)
                list->n_free--;
        pthread_mutex_unlock(&list->lock);
        return place;
}

/* Gives `n` neighbours back, the first of which will be used first. */
static void list_give(struct page_store *store, struct place_list *list, place_t first, place_t n, bool backed) {
        place_t *head = backed ? &list->backed : &list->bare;

        pthread_mutex_lock(&list->lock);
        for (place_t place = first + n - 1; place >= first; place--) {
                store->entries[place].next = *head;
                *head = place;
        }
        list->n_free += n;
        if (backed)
                list->n_backed += n;
        pthread_mutex_unlock(&list->lock);
}

place_t frame_take(struct page_store *store) {
        return list_take(store, &store->frames);
}

static void give_run(struct page_store *store, place_t first, place_t n) {
        uint32_t n_backed;

        if (place_spilled(store, first)) {
                for (place_t place = first; place < first + n; place++)
                        store->spill.discard(store->spill.userdata, place - store->n_memory - 1);
                list_give(store, &store->slots, first, n, false);
                return;
        }
        pthread_mutex_lock(&store->frames.lock);
        n_backed = store->frames.n_backed;
        pthread_mutex_unlock(&store->frames.lock);
        if (n_backed + n <= BACKED_MAX) {
                list_give(store, &store->frames, first, n, true);
                return;
        }
        /* Locked memory takes the stronger word; where the kernel does not know it, the frames merely stay backed. */
        if (madvise(place_memory(store, first), n * PAGE_BYTES, MADV_DONTNEED) < 0)
                (void) madvise(place_memory(store, first), n * PAGE_BYTES, MADV_DONTNEED_LOCKED);
        list_give(store, &store->frames, first, n, false);
}

static int compare_places(const void *a, const void *b) {
        place_t x = *(const place_t *) a, y = *(const place_t *) b;

        return x < y ? -1 : x > y;
}

void batch_flush(struct page_store *store, struct batch *batch) {
        size_t begin = 0;

        qsort(batch->places, batch->n, sizeof(place_t), compare_places);
        for (size_t i = 1; i <= batch->n; i++) {
                if (i < batch->n && batch->places[i] == batch->places[i - 1] + 1 &&
                    batch->places[i] != store->n_memory + 1)
                        continue;
                give_run(store, batch->places[begin], (place_t) (i - begin));
                begin = i;
        }
        batch->n = 0;
}

void batch_add(struct batch *batch, place_t place) {
        assert(batch->n < BATCH_PLACES);
        batch->places[batch->n++] = place;
}

/* Not cryptographic: notices a spill file that another program, a full disk or a broken one has changed. */
static uint32_t checksum(const void *page) {
        uint64_t sum = 0, word;

        for (size_t i = 0; i < PAGE_BYTES; i += sizeof(word)) {
                memcpy(&word, (const char *) page + i, sizeof(word));
                sum = ((sum << 5 | sum >> 59) ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        }
        return (uint32_t) (sum >> 32);
}

int spilled_read(struct page_store *store, place_t place, void *page) {
        int r = store->spill.read(store->spill.userdata, place - store->n_memory - 1, page);

        if (r == 0 && checksum(page) == store->entries[place].check)
                return 0;
        atomic_fetch_add(&store->spill_errors, 1);
        return -EIO;
}

int spilled_write(struct page_store *store, place_t place, const void *page) {
        int r = store->spill.write(store->spill.userdata, place - store->n_memory - 1, page);

        if (r == 0)
                store->entries[place].check = checksum(page);
        return r;
}

/* Moves the page with that key from `frame` to `slot`. 1 when done, 0 where it is not there any more or in use. */
static int spill_page(struct page_store *store, place_t frame, uint64_t key, place_t slot, bool patient) {
        uint64_t bare_key = key & ~KEY_REFERENCED;
        struct group group = group_find(store, bare_key >> KEY_PAGE_BITS, bare_key & (PAGE_NUMBERS - 1));
        int r = 0;

        pthread_mutex_lock(group.lock);
        key = atomic_load_explicit(&store->entries[frame].key, memory_order_relaxed);
        if ((key & ~KEY_REFERENCED) != bare_key) {
                pthread_mutex_unlock(group.lock);
                return 0;
        }
        if (patient && key & KEY_REFERENCED) {
                atomic_store_explicit(&store->entries[frame].key, bare_key, memory_order_relaxed);
        } else {
                r = spilled_write(store, slot, place_memory(store, frame));
                if (r == 0) {
                        table_unlink(store, &group, frame);
                        table_link(store, &group, bare_key, slot);
                        r = 1;
                }
        }
        pthread_mutex_unlock(group.lock);
        return r;
}

/* The clock: looks at one frame after the other and gives a page that was used since its last visit another turn. */
int frame_make(struct page_store *store, place_t *ret) {
        place_t frame = frame_take(store), slot;
        int passed = 0, r = 0;

        if (frame) {
                *ret = frame;
                return 0;
        }
        slot = list_take(store, &store->slots);
        if (!slot)
                return -ENOSPC;
        for (uint64_t i = 0; i < 2 * (uint64_t) store->n_memory && r == 0; i++) {
                uint64_t key;

                frame = atomic_fetch_add(&store->hand, 1) % store->n_memory + 1;
                key = atomic_load_explicit(&store->entries[frame].key, memory_order_relaxed);
                if (key == 0)
                        continue;
                r = spill_page(store, frame, key, slot, passed < CLOCK_PATIENCE);
                passed++;
        }
        if (r > 0) {
                *ret = frame;
                return 0;
        }
        list_give(store, &store->slots, slot, 1, false);
        return r < 0 ? r : -ENOSPC;
}
