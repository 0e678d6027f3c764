/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The page table of a pager (T, I: both ends note where a page went; R: the in-progress bit). One byte a page says who
 * holds it, whether that is known to be what was acknowledged last, and whether a request is at it. A page that nobody
 * holds is zeroes and needs no server; one whose holders are all gone is lost, and reading it is an error until it has
 * been written anew as a whole.
 *
 * Requests begin and end here. One that meets a page in progress waits, so two saves of a page reach its holder one
 * after the other; but a read of what is just being fetched joins that fetch, and no page is fetched twice.
 *
 * Pure: no I/O, clock or lock; the caller has the lock.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/memserver/page-store.h"

#define PAGE_NOBODY 0      /* zeroes */
#define PAGE_HOLDERS_MAX 6 /* servers: 1 to 6 */
#define PAGE_LOST 7

enum page_access {
        PAGE_READ,
        PAGE_WRITE,
        PAGE_TRIM,
};

/* The caller's, where it is from begin to end or leave. */
struct page_request {
        enum page_access access;
        uint64_t offset, length; /* bytes, within the space; not 0 */
        struct page_request *fetch; /* that this read has joined; NULL: none */
        unsigned n_joined;          /* reads that have joined this one */
        bool ended;
        struct page_request *next;
};

struct page_map {
        unsigned char *pages;
        uint64_t n_pages;
        uint64_t n_held[PAGE_LOST + 1]; /* pages by holder */
        uint64_t n_unclean;             /* held, and a save or trim of them has failed since: one of two contents */
        struct page_request *under_way;
};

/* All pages are zeroes. -ENOMEM, -EINVAL for a size that is no multiple of PAGE_BYTES. */
int page_map_init(struct page_map *map, uint64_t size_bytes);
/* Nothing is under way. */
void page_map_deinit(struct page_map *map);

enum page_verdict {
        PAGE_GO,     /* the request is under way, to be ended */
        PAGE_WAIT,   /* pages of it are in progress: nothing has begun, ask again when a request has ended */
        PAGE_JOINED, /* the data will be `fetch`'s, once that has `ended`; to be left */
};

enum page_verdict page_map_begin(struct page_map *map, struct page_request *request);
/* The holder of the page at `offset`, and up to where, below `end`, all are of that holder. */
unsigned page_map_run(const struct page_map *map, uint64_t offset, uint64_t end, uint64_t *ret_end);
/* Whether the page at `offset` is anywhere, and for how many bytes, at most `length`, that is so. */
bool page_map_extent(const struct page_map *map, uint64_t length, uint64_t offset, uint64_t *ret_length);
/* Whether a write needs what is lost: a lost page of which it writes only a part. */
bool page_map_needs_lost(const struct page_map *map, const struct page_request *request);
/* A request that went is over: `holder` has done it, or, where it failed, may have done any part of it; PAGE_NOBODY
 * where nobody was asked. It stays where it is while reads have joined it. */
void page_map_end(struct page_map *map, struct page_request *request, bool done, unsigned holder);
/* A read that had joined a fetch has its data, or has given up. */
void page_map_leave(struct page_request *request);

/* The pages of a range are held, and are what was acknowledged last: a holder that was asked says so. */
void page_map_note(struct page_map *map, uint64_t offset, uint64_t length, unsigned holder);
/* `to` has all that `from` had: a mirror has become the primary. */
void page_map_move(struct page_map *map, unsigned from, unsigned to);
/* What servers hold is gone. */
void page_map_lose(struct page_map *map);
/* The next run of lost pages from `offset` on: false where there is none. */
bool page_map_next_lost(const struct page_map *map, uint64_t offset, uint64_t *ret_begin, uint64_t *ret_end);
