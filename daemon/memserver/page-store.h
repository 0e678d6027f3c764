/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Pages of 4 KiB that clients have saved here (T: the server's store), in memory up to a hard limit and past that in a
 * spill file. Does no I/O of its own: the spill file is three functions of the caller's.
 *
 * The page table is inverted: one entry of 16 bytes for each page that fits, found by a hash of space and page number
 * whose heads take another 4 bytes. The place of an entry is the place of its page: entry i belongs to frame i of the
 * memory, or, past the last frame, to slot i - n of the spill file. So a stored page costs 20 bytes, however sparse
 * its space is; all tables are there from the start, and saving a page never allocates anything that could fail.
 * Zero pages are not stored.
 *
 * All functions but the two that end something may be called from many threads at once. Sixteen neighbouring pages
 * share one lock and one cache line of heads, and locks are taken one at a time. A page is read and written as a
 * whole under its lock; a request of many pages is not one step.
 */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES UINT64_C(4096)
#define PAGE_NUMBERS (UINT64_C(1) << 44) /* pages of one space: a whole address space of 57 bits and its upper half */
#define PAGE_SPACES_MAX 65535

struct page_store;
struct page_space;

/* Where pages go that memory has no place for. Called from many threads, never twice at once for one slot. */
struct page_spill {
        int (*read)(void *userdata, uint32_t slot, void *page);        /* 0 or a negative errno, never -EAGAIN */
        int (*write)(void *userdata, uint32_t slot, const void *page); /* 0 or a negative errno */
        void (*discard)(void *userdata, uint32_t slot);                /* its contents are not needed any more */
        void *userdata;
};

struct page_store_options {
        uint64_t memory_bytes, spill_bytes; /* hard limits, for pages alone */
        uint64_t seed;                      /* random, so that no client can aim at one chain of the hash */
        struct page_spill spill;            /* unused where spill_bytes is 0 */
};

/* A number of pages that one or several spaces may hold at most. Embedded; outlives the spaces that name it. */
struct page_quota {
        uint64_t limit; /* pages; 0: none */
        _Atomic uint64_t pages;
        struct page_quota *wider; /* counts these pages too; NULL: none */
};

struct page_store_load {
        uint64_t memory_pages, memory_used; /* limit and what holds a page */
        uint64_t spill_pages, spill_used;
        uint64_t spill_errors; /* pages that could not be read back as they were written, since the start */
        uint64_t table_bytes;  /* what the tables take once every page has been in use */
};

/* -EINVAL for a memory of no page or more pages than 32 bits count, -ENOMEM. */
int page_store_new(const struct page_store_options *options, struct page_store **ret);
/* All spaces are gone by then. */
struct page_store *page_store_free(struct page_store *store);
void page_store_load(struct page_store *store, struct page_store_load *ret);

/* An empty space of `size_bytes`, a multiple of PAGE_BYTES. `shared` counts its pages too and may be NULL. -EINVAL,
 * -ENOMEM, -EMFILE past PAGE_SPACES_MAX. */
int page_space_new(struct page_store *store, uint64_t size_bytes, uint64_t limit_pages, struct page_quota *shared,
                   struct page_space **ret);
/* The same beside `space`, as large, with pages that count as its own. It ends before that. */
int page_space_new_beside(struct page_space *space, struct page_space **ret);
/* Drops its pages. Nobody else may be using the space. */
struct page_space *page_space_free(struct page_space *space);
uint64_t page_space_size(const struct page_space *space);
/* Pages held, in memory or spilled, with those of spaces beside it. */
uint64_t page_space_pages(const struct page_space *space);

/* Pages that it could hold now, with those that it holds, by quotas, memory and spill: its size is no bound. */
uint64_t page_space_capacity(struct page_space *space);

/* Ranges outside the space are -EINVAL. Reading: -EIO where the spill file does not give a page back as it was. */
int page_space_read(struct page_space *space, void *buffer, uint64_t length, uint64_t offset);
/* -ENOSPC where neither memory nor spill has a place, -EDQUOT past a quota, or what the spill file said: pages of the
 * request may have been written by then, each of them wholly or not at all, and the others are as they were. */
int page_space_write(struct page_space *space, const void *buffer, uint64_t length, uint64_t offset);
/* The range reads as zeroes from now on and what it took is given back. -EIO as above, for parts of a page. */
int page_space_trim(struct page_space *space, uint64_t length, uint64_t offset);

/* Page number `page` of `from`, a space beside `to`, becomes that of `to` where it lies: one that reads as zeroes
 * leaves none there. Cannot fail. */
void page_space_take(struct page_space *to, struct page_space *from, uint64_t page);

/* What the range begins with: 1 for stored pages, 0 for a hole. At least one byte, at most `length`; a long hole may
 * be told in parts. */
int page_space_extent(struct page_space *space, uint64_t length, uint64_t offset, uint64_t *ret_length);

/* The numbers of stored pages in some fixed order, up to `n` at a time. `cursor` is 0 at the start. Returns how many,
 * 0 at the end. A page that is there all the while is seen exactly once, wherever it moves to. `n` is at least
 * PAGE_WALK_MIN; -ENOBUFS where that is not enough, which no client can bring about. */
#define PAGE_WALK_MIN 64
int page_space_walk(struct page_space *space, uint64_t *cursor, uint64_t *ret_pages, size_t n);
