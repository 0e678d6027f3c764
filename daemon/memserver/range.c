/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/range.h"

#include <stdbool.h>
#include <stddef.h>

#include "daemon/memserver/page-store.h"

void ranges_init(struct ranges *ranges) {
        *ranges = (struct ranges) { 0 };
        (void) pthread_mutex_init(&ranges->lock, NULL);
        (void) pthread_cond_init(&ranges->changed, NULL);
}

void ranges_deinit(struct ranges *ranges) {
        (void) pthread_cond_destroy(&ranges->changed);
        (void) pthread_mutex_destroy(&ranges->lock);
}

static bool is_taken(const struct ranges *ranges, const struct range *range) {
        for (const struct range *r = ranges->taken; r; r = r->next)
                if (range->begin < r->end && r->begin < range->end)
                        return true;
        return false;
}

void range_take(struct ranges *ranges, struct range *range, uint64_t length, uint64_t offset) {
        *range = (struct range) { .begin = offset / PAGE_BYTES,
                                  .end = (offset + length + PAGE_BYTES - 1) / PAGE_BYTES };
        pthread_mutex_lock(&ranges->lock);
        while (is_taken(ranges, range))
                pthread_cond_wait(&ranges->changed, &ranges->lock);
        range->next = ranges->taken;
        ranges->taken = range;
        pthread_mutex_unlock(&ranges->lock);
}

void range_give(struct ranges *ranges, struct range *range) {
        pthread_mutex_lock(&ranges->lock);
        for (struct range **r = &ranges->taken; *r; r = &(*r)->next)
                if (*r == range) {
                        *r = range->next;
                        break;
                }
        pthread_cond_broadcast(&ranges->changed);
        pthread_mutex_unlock(&ranges->lock);
}
