/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a client has saved here and had returned (I: metered per client, for billing): since the meter began, and by
 * minute and by hour, so that it can be asked for a span of time. May be used from many threads.
 */

#include <pthread.h>
#include <stdint.h>

#include "daemon/base/units.h"

#define METER_MINUTES 60
#define METER_HOURS 168

/* Pages count where a request touches them, also in part. */
struct meter_counts {
        uint64_t saved_bytes, saved_pages;
        uint64_t returned_bytes, returned_pages;
};

struct meter_bucket {
        uint64_t number; /* of the minute or hour on the clock; the bucket is void where it is another one's */
        struct meter_counts counts;
};

struct meter {
        pthread_mutex_t lock;
        usec_t began_usec;
        struct meter_counts all;
        struct meter_bucket minutes[METER_MINUTES], hours[METER_HOURS];
};

void meter_init(struct meter *meter, usec_t now_usec);

/* Counts a request of `bytes` at `offset` that was carried out. `now_usec` is CLOCK_BOOTTIME everywhere here. */
void meter_saved(struct meter *meter, uint64_t bytes, uint64_t offset, usec_t now_usec);
void meter_returned(struct meter *meter, uint64_t bytes, uint64_t offset, usec_t now_usec);

/* The counts of at least the last `span_usec`: in whole minutes within the last hour, in whole hours within the last
 * week, and everything since the meter began for more. Returns the span that they really cover. */
usec_t meter_read(struct meter *meter, usec_t span_usec, usec_t now_usec, struct meter_counts *ret);
