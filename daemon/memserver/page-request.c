/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading, writing, trimming and describing ranges: each goes along group by group, one lock at a time. */

#include <errno.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/page-internal.h"

#define EXTENT_GROUPS 65536 /* looked at for one extent: 4 GiB of pages */

/* Part of a request: what it does to one page. */
struct part {
        uint64_t page;
        size_t begin, length; /* within the page */
        bool whole;
};

/* A request as it goes along, group by group. */
struct request {
        struct page_space *space;
        uint64_t at, end; /* bytes of the space */
        struct group group;
        place_t spare;       /* a frame made for the page to be written */
        int no_frame;        /* negative errno once no frame could be made */
        struct batch freed;  /* given back when no lock is held */
};

static int request_begin(struct request *q, struct page_space *space, uint64_t length, uint64_t offset) {
        if (offset > space->size_bytes || length > space->size_bytes - offset)
                return -EINVAL;
        q->space = space;
        q->at = offset;
        q->end = offset + length;
        q->spare = 0;
        q->no_frame = 0;
        q->freed.n = 0;
        return 0;
}

static struct part request_part(const struct request *q) {
        uint64_t begin = q->at % PAGE_BYTES, left = q->end - q->at;
        uint64_t length = left < PAGE_BYTES - begin ? left : PAGE_BYTES - begin;

        return (struct part) { .page = q->at / PAGE_BYTES, .begin = begin, .length = length,
                               .whole = length == PAGE_BYTES };
}

static void request_lock(struct request *q) {
        q->group = group_find(q->space->store, q->space->id, q->at / PAGE_BYTES);
        pthread_mutex_lock(q->group.lock);
}

static void request_unlock(struct request *q) {
        pthread_mutex_unlock(q->group.lock);
        if (q->freed.n + 2 * GROUP_PAGES > BATCH_PLACES)
                batch_flush(q->space->store, &q->freed);
}

/* Goes on behind a part. Non-zero where the next one belongs to another group, or there is none. */
static bool request_advance(struct request *q, const struct part *part) {
        q->at += part->length;
        return q->at == q->end || q->at % (GROUP_PAGES * PAGE_BYTES) == 0;
}

static void request_end(struct request *q) {
        if (q->spare)
                batch_add(&q->freed, q->spare);
        batch_flush(q->space->store, &q->freed);
}

static void page_touch(struct page_store *store, place_t place) {
        uint64_t key = atomic_load_explicit(&store->entries[place].key, memory_order_relaxed);

        if (!(key & KEY_REFERENCED))
                atomic_store_explicit(&store->entries[place].key, key | KEY_REFERENCED, memory_order_relaxed);
}

/* Takes the stored page out of the space. */
static void page_drop(struct request *q, const struct part *part, place_t place) {
        table_unlink(q->space->store, &q->group, place);
        page_forget(q->space, part->page);
        batch_add(&q->freed, place);
}

/* The page changes places; the old one is free. */
static void page_replace(struct request *q, place_t from, place_t to) {
        struct page_store *store = q->space->store;
        uint64_t key = store->entries[from].key & ~KEY_REFERENCED;

        table_unlink(store, &q->group, from);
        table_link(store, &q->group, key, to);
        batch_add(&q->freed, from);
}

static int part_read(struct request *q, const struct part *part, char *buffer) {
        struct page_store *store = q->space->store;
        place_t place = table_find(store, &q->group, key_of(q->space->id, part->page)), home;
        char page[PAGE_BYTES];
        int r;

        if (!place) {
                memset(buffer, 0, part->length);
                return 0;
        }
        if (!place_spilled(store, place)) {
                page_touch(store, place);
                memcpy(buffer, place_memory(store, place) + part->begin, part->length);
                return 0;
        }
        r = spilled_read(store, place, page);
        if (r < 0)
                return r;
        memcpy(buffer, page + part->begin, part->length);
        /* Where memory has become free, the page comes home. */
        home = frame_take(store);
        if (home) {
                memcpy(place_memory(store, home), page, PAGE_BYTES);
                page_replace(q, place, home);
        }
        return 0;
}

int page_space_read(struct page_space *space, void *buffer, uint64_t length, uint64_t offset) {
        struct request q;
        char *to = buffer;
        int r = request_begin(&q, space, length, offset);

        if (r < 0)
                return r;
        while (r == 0 && q.at < q.end) {
                bool last;

                request_lock(&q);
                do {
                        struct part part = request_part(&q);
                        r = part_read(&q, &part, to);
                        to += part.length;
                        last = request_advance(&q, &part);
                } while (r == 0 && !last);
                request_unlock(&q);
        }
        request_end(&q);
        return r;
}

/* A frame for a page of this request: the one made for it, or a free one. -EAGAIN asks for one to be made, without
 * the lock. */
static int request_frame(struct request *q, place_t *ret) {
        place_t frame = q->spare ? q->spare : frame_take(q->space->store);

        q->spare = 0;
        *ret = frame;
        if (frame)
                return 0;
        return q->no_frame < 0 ? q->no_frame : -EAGAIN;
}

/* A page of which nothing is stored yet. */
static int part_create(struct request *q, const struct part *part, const char *data) {
        struct page_store *store = q->space->store;
        place_t frame;
        char *memory;
        int r;

        if (bytes_are_zero(data, part->length))
                return 0;
        r = page_admit(q->space, part->page);
        if (r < 0)
                return r;
        r = request_frame(q, &frame);
        if (r < 0) {
                page_forget(q->space, part->page);
                return r;
        }
        memory = place_memory(store, frame);
        if (!part->whole)
                memset(memory, 0, PAGE_BYTES);
        memcpy(memory + part->begin, data, part->length);
        table_link(store, &q->group, key_of(q->space->id, part->page), frame);
        return 0;
}

/* A page in the spill file: it goes back to memory, and where that has no place it is written where it is. */
static int part_write_spilled(struct request *q, const struct part *part, place_t place, const char *data) {
        struct page_store *store = q->space->store;
        char page[PAGE_BYTES];
        place_t frame;
        int r = part->whole ? 0 : spilled_read(store, place, page);

        if (r < 0)
                return r;
        memcpy(page + part->begin, data, part->length);
        if (bytes_are_zero(page, PAGE_BYTES)) {
                page_drop(q, part, place);
                return 0;
        }
        r = request_frame(q, &frame);
        if (r == -EAGAIN)
                return r;
        if (r < 0)
                return spilled_write(store, place, page);
        memcpy(place_memory(store, frame), page, PAGE_BYTES);
        page_replace(q, place, frame);
        return 0;
}

static int part_write(struct request *q, const struct part *part, const char *data) {
        struct page_store *store = q->space->store;
        place_t place = table_find(store, &q->group, key_of(q->space->id, part->page));
        char *memory;

        if (!place)
                return part_create(q, part, data);
        if (part->whole && bytes_are_zero(data, PAGE_BYTES)) {
                page_drop(q, part, place);
                return 0;
        }
        if (place_spilled(store, place))
                return part_write_spilled(q, part, place, data);
        memory = place_memory(store, place);
        memcpy(memory + part->begin, data, part->length);
        if (!part->whole && bytes_are_zero(memory, PAGE_BYTES))
                page_drop(q, part, place);
        else
                page_touch(store, place);
        return 0;
}

/* Writes up to the end of a group. -EAGAIN where the next part wants a frame to be made. */
static int group_write(struct request *q, const char **data) {
        bool last = false;
        int r = 0;

        request_lock(q);
        while (r == 0 && !last) {
                struct part part = request_part(q);
                r = part_write(q, &part, *data);
                if (r == 0) {
                        *data += part.length;
                        last = request_advance(q, &part);
                }
        }
        request_unlock(q);
        return r;
}

int page_space_write(struct page_space *space, const void *buffer, uint64_t length, uint64_t offset) {
        const char *data = buffer;
        struct request q;
        int r = request_begin(&q, space, length, offset);

        if (r < 0)
                return r;
        while (r == 0 && q.at < q.end) {
                r = group_write(&q, &data);
                if (r == -EAGAIN) {
                        r = frame_make(space->store, &q.spare);
                        q.no_frame = r;
                        r = 0;
                }
        }
        request_end(&q);
        return r;
}

static int part_trim(struct request *q, const struct part *part) {
        static const char zeroes[PAGE_BYTES];
        place_t place = table_find(q->space->store, &q->group, key_of(q->space->id, part->page));

        if (!place)
                return 0;
        if (!part->whole)
                return part_write(q, part, zeroes);
        page_drop(q, part, place);
        return 0;
}

/* Behind the chunk, at most at the end of the request, where the chunk that a group lies in holds no page. */
static bool skip_empty_chunk(struct request *q) {
        uint64_t chunk = q->at / PAGE_BYTES / q->space->chunk_pages;
        uint64_t next = (chunk + 1) * q->space->chunk_pages * PAGE_BYTES;

        if (atomic_load_explicit(&q->space->chunks[chunk], memory_order_relaxed) > 0)
                return false;
        q->at = next < q->end ? next : q->end;
        return true;
}

/* Trims up to the end of a group. -EAGAIN where a part of a spilled page wants a frame to be made. */
static int group_trim(struct request *q) {
        bool last = false;
        int r = 0;

        request_lock(q);
        while (r == 0 && !last) {
                struct part part = request_part(q);
                r = part_trim(q, &part);
                if (r == 0)
                        last = request_advance(q, &part);
        }
        request_unlock(q);
        return r;
}

static int trim_groups(struct request *q) {
        int r = 0;

        while (r == 0 && q->at < q->end) {
                if (skip_empty_chunk(q))
                        continue;
                r = group_trim(q);
                if (r == -EAGAIN) {
                        q->no_frame = frame_make(q->space->store, &q->spare);
                        r = 0;
                }
        }
        return r;
}

/* The same for a range that has more pages than the whole store: looks at what is stored instead. */
static int trim_stored(struct request *q) {
        uint64_t begin = q->at, end = q->end, cursor = 0, pages[256];
        int n, r = 0;

        while (r == 0 && (n = page_space_walk(q->space, &cursor, pages, ELEMENTSOF(pages))) != 0) {
                if (n < 0)
                        return n;
                for (int i = 0; i < n && r == 0; i++) {
                        q->at = pages[i] * PAGE_BYTES;
                        q->end = q->at + PAGE_BYTES;
                        if (q->end <= begin || q->at >= end)
                                continue;
                        q->at = q->at < begin ? begin : q->at;
                        q->end = q->end > end ? end : q->end;
                        r = trim_groups(q);
                }
        }
        return r;
}

int page_space_trim(struct page_space *space, uint64_t length, uint64_t offset) {
        struct request q;
        int r = request_begin(&q, space, length, offset);

        if (r < 0)
                return r;
        if (length / PAGE_BYTES / GROUP_PAGES > space->store->n_groups)
                r = trim_stored(&q);
        else
                r = trim_groups(&q);
        request_end(&q);
        return r;
}

/* Which of the pages of the group at `q->at` are stored. */
static unsigned group_mask(struct request *q) {
        uint64_t first = q->at / PAGE_BYTES / GROUP_PAGES * GROUP_PAGES;
        unsigned mask;

        request_lock(q);
        mask = table_mask(q->space->store, &q->group, key_of(q->space->id, first));
        request_unlock(q);
        return mask;
}

/* Goes on over the parts of one group that are as `*stored` says (-1: as its first). Non-zero at one that is not. */
static bool group_extent(struct request *q, int *stored) {
        unsigned mask = group_mask(q);
        struct part part;

        do {
                int here;

                part = request_part(q);
                here = mask >> part.page % GROUP_PAGES & 1;
                if (*stored >= 0 && here != *stored)
                        return true;
                *stored = here;
        } while (!request_advance(q, &part));
        return false;
}

int page_space_extent(struct page_space *space, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        struct request q;
        int stored = -1, r = request_begin(&q, space, length, offset);

        if (r < 0 || length == 0)
                return -EINVAL;
        for (int i = 0; i < EXTENT_GROUPS && q.at < q.end; i++) {
                if (stored != 1 && skip_empty_chunk(&q))
                        stored = 0;
                else if (group_extent(&q, &stored))
                        break;
        }
        *ret_length = q.at - offset;
        return stored;
}
