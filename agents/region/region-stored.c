/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kinds 3 and 4 between two write-backs: nothing tells of a store there, which costs nothing, and what a crash would
 * lose is not known. So whoever reports compares some of the region each time with what the other end has, as a
 * write-back does with all of it: bounded, and of a region that is larger than that, part by part. It is for people:
 * nothing is written back by it.
 */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agents/region/region-internal.h"

#define LOOK_PAGES UINT64_C(4096) /* a report: some milliseconds of one processor */
#define PART_PAGES UINT64_C(256)  /* under the lock */

static bool differs(const struct failover_region *region, uint64_t page) {
        uint64_t at = page * REGION_PAGE_BYTES;

        return !region_table_dirty(&region->table, page) &&
               memcmp(region->data + at, region->shadow + at, REGION_PAGE_BYTES) != 0;
}

static void note(struct failover_region *region, uint64_t page, bool stored) {
        unsigned char *byte = &region->stored[page / 8], bit = (unsigned char) (1U << page % 8);

        if (stored && !(*byte & bit))
                region->n_stored++;
        else if (!stored && *byte & bit)
                region->n_stored--;
        *byte = (unsigned char) (stored ? *byte | bit : *byte & ~bit);
}

int region_stored_init(struct failover_region *region) {
        if (!region->shadow)
                return 0;
        region->stored = calloc(1, (region->table.n_pages + 7) / 8);
        return region->stored ? 0 : -ENOMEM;
}

void region_stored_deinit(struct failover_region *region) {
        free(region->stored);
        region->stored = NULL;
}

void region_stored_look(struct failover_region *region) {
        uint64_t n = region->table.n_pages < LOOK_PAGES ? region->table.n_pages : LOOK_PAGES;

        while (region->stored && n > 0 && !region->report_over) {
                uint64_t part = n < PART_PAGES ? n : PART_PAGES;

                for (uint64_t i = 0; i < part; i++) {
                        uint64_t page = region->look_at++;

                        region->look_at %= region->table.n_pages;
                        note(region, page, differs(region, page));
                }
                n -= part;
                pthread_mutex_unlock(&region->lock);
                pthread_mutex_lock(&region->lock);
        }
}

void region_stored_taken(struct failover_region *region, uint64_t page) {
        if (region->n_stored > 0) /* whoever begins to look may not have begun */
                note(region, page, false);
}
