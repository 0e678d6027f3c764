/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The page table of a shared region (R). One 64-bit entry a page, with one field for where the page is: its frame when
 * it is here, the sector on a disk, or the channel that it is fetched over. So a fault reads the channel straight from
 * the entry, without a look-up and without anything shared with other regions. The channel to the name server is a
 * value of its own: a region whose owner is not known yet begins with it in every entry.
 *
 * The in-progress bit is set together with the present bit while a page is brought in, and tested before the present
 * bit is trusted: a second access waits for the first fetch. An entry that is neither present, on disk nor remote is an
 * access error.
 *
 * Beside the entries two bits a page say what has to be written to the other end: stored to since (dirty), and on its
 * way (writing). A page may be both.
 *
 * Pure: no I/O, clock or lock; the caller has the lock.
 */

#include <stdbool.h>
#include <stdint.h>

#define REGION_PAGE_BYTES UINT64_C(4096)

#define REGION_PRESENT (UINT64_C(1) << 63)
#define REGION_IN_PROGRESS (UINT64_C(1) << 62)
#define REGION_DISK (UINT64_C(1) << 61)
#define REGION_REMOTE (UINT64_C(1) << 60)
#define REGION_FIELD_MASK ((UINT64_C(1) << 57) - 1) /* room for an address in user space, whatever the page levels */
#define REGION_NAME_SERVER REGION_FIELD_MASK        /* the channel that is no region's */

struct region_table {
        uint64_t *entries;
        uint64_t *dirty, *writing; /* bits */
        uint64_t n_pages;
        uint64_t n_present; /* in progress not counted */
        uint64_t n_dirty, n_writing;
};

/* For so many bytes, the last page maybe in part; all entries are access errors. -EINVAL for no bytes, -ENOMEM. */
int region_table_init(struct region_table *table, uint64_t size_bytes);
void region_table_deinit(struct region_table *table);

/* Says where `n` pages from `first` on are: at the other end of a channel (an address of the caller's, or
 * REGION_NAME_SERVER), or in sectors from `sector` on. What is present or in progress stays as it is. */
void region_table_set_remote(struct region_table *table, uint64_t first, uint64_t n, uint64_t channel);
void region_table_set_disk(struct region_table *table, uint64_t first, uint64_t n, uint64_t sector);
/* Access to an absent page is an error from now on. */
void region_table_set_error(struct region_table *table, uint64_t page);

enum region_verdict {
        REGION_FETCH,        /* remote: in progress now, by this fault; its channel or sector is returned */
        REGION_READ_DISK,
        REGION_ASK_NAME,     /* nothing has begun: find out whose it is, set the channel, ask again */
        REGION_WAIT,         /* another fault's fetch is under way */
        REGION_THERE,        /* nothing to bring in */
        REGION_ACCESS_ERROR, /* also past the end */
};

/* What an access to `page` needs. `ret_field` is set for REGION_FETCH (channel) and REGION_READ_DISK (sector). */
enum region_verdict region_table_fault(struct region_table *table, uint64_t page, uint64_t *ret_field);

/* How many pages from `page` on, up to `most`, are as a fetch of `field` would want to take along: absent, not in
 * progress, and remote over that same channel. They are in progress then. */
uint64_t region_table_take_along(struct region_table *table, uint64_t page, uint64_t most, uint64_t channel);

/* Ends what is in progress: the pages are here in frames from `frame` on, or back where they came from. */
void region_table_filled(struct region_table *table, uint64_t first, uint64_t n, uint64_t frame);
void region_table_failed(struct region_table *table, uint64_t first, uint64_t n, uint64_t channel);

bool region_table_present(const struct region_table *table, uint64_t page);
bool region_table_in_progress(const struct region_table *table, uint64_t page);

/* Lets a clean page go, which is at the other end of `channel` again; false where it is not present, or to be
 * written. */
bool region_table_evict(struct region_table *table, uint64_t page, uint64_t channel);

/* A store to the page was seen. */
void region_table_touch(struct region_table *table, uint64_t page);
bool region_table_dirty(const struct region_table *table, uint64_t page);

/* The next run of dirty pages from `from` on, at most `most` of them, of which none is being written: they are being
 * written now and clean. False where there is none. */
bool region_table_take_dirty(struct region_table *table, uint64_t from, uint64_t most, uint64_t *ret_first,
                             uint64_t *ret_n);
/* What was being written has been, or has to be written again. */
void region_table_written(struct region_table *table, bool done);
