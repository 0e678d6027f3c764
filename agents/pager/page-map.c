/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/page-map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define HOLDER 7u      /* bits of an entry */
#define CLEAN 8u       /* what the holder has is what was acknowledged last */
#define IN_PROGRESS 16u

int page_map_init(struct page_map *map, uint64_t size_bytes) {
        unsigned char *pages;

        if (size_bytes == 0 || size_bytes % PAGE_BYTES != 0)
                return -EINVAL;
        pages = calloc(size_bytes / PAGE_BYTES, 1);
        if (!pages)
                return -ENOMEM;
        *map = (struct page_map) { .pages = pages, .n_pages = size_bytes / PAGE_BYTES };
        map->n_held[PAGE_NOBODY] = map->n_pages;
        return 0;
}

void page_map_deinit(struct page_map *map) {
        assert(!map->under_way);
        free(map->pages);
        *map = (struct page_map) { 0 };
}

static uint64_t first_page(const struct page_request *request) {
        return request->offset / PAGE_BYTES;
}

static uint64_t end_page(const struct page_request *request) {
        return (request->offset + request->length + PAGE_BYTES - 1) / PAGE_BYTES;
}

/* Whether the request has all bytes of the page. */
static bool is_whole(const struct page_request *request, uint64_t page) {
        return page * PAGE_BYTES >= request->offset &&
               (page + 1) * PAGE_BYTES <= request->offset + request->length;
}

static bool is_unclean(unsigned entry) {
        unsigned holder = entry & HOLDER;

        return holder != PAGE_NOBODY && holder != PAGE_LOST && !(entry & CLEAN);
}

static void set_page(struct page_map *map, uint64_t page, unsigned holder, bool clean) {
        unsigned old = map->pages[page], new = (old & IN_PROGRESS) | holder | (clean ? CLEAN : 0);

        map->n_held[old & HOLDER]--;
        map->n_held[holder]++;
        map->n_unclean -= is_unclean(old);
        map->n_unclean += is_unclean(new);
        map->pages[page] = (unsigned char) new;
}

/* A fetch under way that has all bytes of the read. */
static struct page_request *find_fetch(struct page_map *map, const struct page_request *read) {
        for (struct page_request *r = map->under_way; r; r = r->next)
                if (r->access == PAGE_READ && r->offset <= read->offset &&
                    r->offset + r->length >= read->offset + read->length)
                        return r;
        return NULL;
}

enum page_verdict page_map_begin(struct page_map *map, struct page_request *request) {
        uint64_t end = end_page(request);

        assert(request->length > 0 && end <= map->n_pages);
        request->fetch = request->access == PAGE_READ ? find_fetch(map, request) : NULL;
        request->ended = false;
        request->n_joined = 0;
        if (request->fetch) {
                request->fetch->n_joined++;
                return PAGE_JOINED;
        }
        for (uint64_t page = first_page(request); page < end; page++)
                if (map->pages[page] & IN_PROGRESS)
                        return PAGE_WAIT;
        for (uint64_t page = first_page(request); page < end; page++)
                map->pages[page] |= IN_PROGRESS;
        request->next = map->under_way;
        map->under_way = request;
        return PAGE_GO;
}

unsigned page_map_run(const struct page_map *map, uint64_t offset, uint64_t end, uint64_t *ret_end) {
        uint64_t page = offset / PAGE_BYTES;
        unsigned holder = map->pages[page] & HOLDER;

        do
                page++;
        while (page * PAGE_BYTES < end && (map->pages[page] & HOLDER) == holder);
        *ret_end = page * PAGE_BYTES < end ? page * PAGE_BYTES : end;
        return holder;
}

bool page_map_extent(const struct page_map *map, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        uint64_t at = offset, end;
        bool anywhere = page_map_run(map, at, offset + length, &end) != PAGE_NOBODY;

        for (at = end; at < offset + length; at = end)
                if ((page_map_run(map, at, offset + length, &end) != PAGE_NOBODY) != anywhere)
                        break;
        *ret_length = at - offset;
        return anywhere;
}

static bool is_lost_part(const struct page_map *map, const struct page_request *request, uint64_t page) {
        return (map->pages[page] & HOLDER) == PAGE_LOST && !is_whole(request, page);
}

bool page_map_needs_lost(const struct page_map *map, const struct page_request *request) {
        return is_lost_part(map, request, first_page(request)) || is_lost_part(map, request, end_page(request) - 1);
}

/* Only whole pages change from and to nobody: of a page in part, the rest stays what it was. */
static void page_done(struct page_map *map, const struct page_request *request, uint64_t page, unsigned holder) {
        unsigned old = map->pages[page] & HOLDER;

        if (request->access == PAGE_WRITE)
                set_page(map, page, holder, true);
        else if (is_whole(request, page))
                set_page(map, page, PAGE_NOBODY, false);
        else if (old != PAGE_NOBODY && old != PAGE_LOST)
                set_page(map, page, holder, map->pages[page] & CLEAN);
}

/* The page has the old contents or the new ones, and its holder knows which. What was lost stays so, and zeroes are
 * zeroes whether they were trimmed or not. */
static void page_failed(struct page_map *map, const struct page_request *request, uint64_t page, unsigned holder) {
        unsigned old = map->pages[page] & HOLDER;

        if (holder != PAGE_NOBODY && old != PAGE_LOST && (old != PAGE_NOBODY || request->access == PAGE_WRITE))
                set_page(map, page, holder, false);
}

void page_map_end(struct page_map *map, struct page_request *request, bool done, unsigned holder) {
        struct page_request **at = &map->under_way;

        while (*at != request)
                at = &(*at)->next;
        *at = request->next;
        request->ended = true;
        for (uint64_t page = first_page(request); page < end_page(request); page++) {
                map->pages[page] &= (unsigned char) ~IN_PROGRESS;
                if (request->access != PAGE_READ && done)
                        page_done(map, request, page, holder);
                else if (request->access != PAGE_READ)
                        page_failed(map, request, page, holder);
        }
}

void page_map_leave(struct page_request *request) {
        assert(request->fetch->n_joined > 0);
        request->fetch->n_joined--;
        request->fetch = NULL;
}

void page_map_note(struct page_map *map, uint64_t offset, uint64_t length, unsigned holder) {
        uint64_t end = (offset + length + PAGE_BYTES - 1) / PAGE_BYTES;

        for (uint64_t page = offset / PAGE_BYTES; page < end && page < map->n_pages; page++)
                set_page(map, page, holder, true);
}

void page_map_move(struct page_map *map, unsigned from, unsigned to) {
        for (uint64_t page = 0; page < map->n_pages; page++)
                if ((map->pages[page] & HOLDER) == from)
                        set_page(map, page, to, map->pages[page] & CLEAN);
}

void page_map_lose(struct page_map *map) {
        for (uint64_t page = 0; page < map->n_pages; page++)
                if ((map->pages[page] & HOLDER) != PAGE_NOBODY)
                        set_page(map, page, PAGE_LOST, false);
}

bool page_map_next_lost(const struct page_map *map, uint64_t offset, uint64_t *ret_begin, uint64_t *ret_end) {
        uint64_t size = map->n_pages * PAGE_BYTES, end;

        for (; offset < size; offset = end)
                if (page_map_run(map, offset, size, &end) == PAGE_LOST) {
                        *ret_begin = offset;
                        *ret_end = end;
                        return true;
                }
        return false;
}
