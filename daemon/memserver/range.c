/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/range.h"

#include <stddef.h>

#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/page-store.h"

void ranges_init(struct ranges *ranges) {
        *ranges = (struct ranges) { 0 };
        (void) pthread_mutex_init(&ranges->lock, NULL);
        condition_init(&ranges->changed);
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

static struct range pages_of(uint64_t length, uint64_t offset) {
        return (struct range) { .begin = offset / PAGE_BYTES,
                                .end = (offset + length + PAGE_BYTES - 1) / PAGE_BYTES };
}

static void add(struct ranges *ranges, struct range *range) {
        range->next = ranges->taken;
        ranges->taken = range;
}

void range_take(struct ranges *ranges, struct range *range, uint64_t length, uint64_t offset) {
        *range = pages_of(length, offset);
        pthread_mutex_lock(&ranges->lock);
        while (is_taken(ranges, range))
                pthread_cond_wait(&ranges->changed, &ranges->lock);
        add(ranges, range);
        pthread_mutex_unlock(&ranges->lock);
}

bool range_take_within(struct ranges *ranges, struct range *range, uint64_t length, uint64_t offset,
                       usec_t timeout_usec) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + timeout_usec, now;
        bool taken;

        *range = pages_of(length, offset);
        pthread_mutex_lock(&ranges->lock);
        while ((taken = is_taken(ranges, range)) && (now = clock_usec(CLOCK_MONOTONIC)) < until)
                condition_wait(&ranges->changed, &ranges->lock, until - now);
        if (!taken)
                add(ranges, range);
        pthread_mutex_unlock(&ranges->lock);
        return !taken;
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
