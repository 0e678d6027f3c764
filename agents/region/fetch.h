/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One request for pages that are not here: at least the one that somebody waits for, and what read-ahead takes along. A
 * fetch is begun with the region's lock held and submitted without it.
 */

#include "agents/region/region-internal.h"

#define WINDOW_PAGES_MAX (16 * CHUNK_PAGES) /* read ahead at a time */
#define RESIDENT_PAGES_MIN (4 * WINDOW_PAGES_MAX)
#define FETCHES_MAX 64 /* of read-ahead and prefetching under way; who waits for a page is always served */

/* With the lock held: a fault on `page`, which has just come to be in progress; or on one that already was. */
void fetch_begin(struct failover_region *region, uint64_t page, bool store, struct region_channel *channel);
void fetch_join(struct failover_region *region, uint64_t page);
/* With the lock held: up to `n` pages from `page` on that nobody waits for yet; the wish is shortened by them. */
void fetch_wish(struct failover_region *region, uint64_t page, uint64_t n, struct region_channel *channel);
bool fetch_room(struct failover_region *region);
/* With the lock held: whether what was read before now may still come. */
bool fetch_under_way(struct failover_region *region);
/* With the lock held: an access to the page ends as SIGBUS from now on. */
void fetch_poison(struct failover_region *region, uint64_t page);

/* From here on without the lock, by the region's fault thread alone. */

/* Asks for what has begun. */
void fetch_submit(struct failover_region *region);
/* Asks again for what a cut left unanswered, and gives up what is past its deadline. Returns when there is more to do,
 * on CLOCK_MONOTONIC; USEC_INFINITY: not before something happens. */
usec_t fetch_retry(struct failover_region *region);
/* No answer comes any more. */
void fetch_free_all(struct failover_region *region);
