/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/meter.h"

#include "daemon/memserver/page-store.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR (60 * MINUTE)

void meter_init(struct meter *meter, usec_t now_usec) {
        *meter = (struct meter) { .began_usec = now_usec };
        (void) pthread_mutex_init(&meter->lock, NULL);
}

static void add(struct meter_counts *to, const struct meter_counts *counts) {
        to->saved_bytes += counts->saved_bytes;
        to->saved_pages += counts->saved_pages;
        to->returned_bytes += counts->returned_bytes;
        to->returned_pages += counts->returned_pages;
}

static void add_at(struct meter_bucket *buckets, uint64_t n, uint64_t number, const struct meter_counts *counts) {
        struct meter_bucket *bucket = &buckets[number % n];

        if (bucket->number != number)
                *bucket = (struct meter_bucket) { .number = number };
        add(&bucket->counts, counts);
}

static void count(struct meter *meter, const struct meter_counts *counts, usec_t now_usec) {
        pthread_mutex_lock(&meter->lock);
        add(&meter->all, counts);
        add_at(meter->minutes, METER_MINUTES, now_usec / MINUTE, counts);
        add_at(meter->hours, METER_HOURS, now_usec / HOUR, counts);
        pthread_mutex_unlock(&meter->lock);
}

static uint64_t pages_of(uint64_t bytes, uint64_t offset) {
        return bytes == 0 ? 0 : (offset + bytes - 1) / PAGE_BYTES - offset / PAGE_BYTES + 1;
}

void meter_saved(struct meter *meter, uint64_t bytes, uint64_t offset, usec_t now_usec) {
        count(meter, &(struct meter_counts) { .saved_bytes = bytes, .saved_pages = pages_of(bytes, offset) }, now_usec);
}

void meter_returned(struct meter *meter, uint64_t bytes, uint64_t offset, usec_t now_usec) {
        count(meter, &(struct meter_counts) { .returned_bytes = bytes, .returned_pages = pages_of(bytes, offset) },
              now_usec);
}

/* Adds the buckets from the one that `from_usec` lies in. Returns when that one began. */
static usec_t add_since(const struct meter_bucket *buckets, uint64_t n, usec_t width, usec_t from_usec, usec_t now_usec,
                        struct meter_counts *to) {
        for (uint64_t number = from_usec / width; number <= now_usec / width; number++)
                if (buckets[number % n].number == number)
                        add(to, &buckets[number % n].counts);
        return from_usec / width * width;
}

usec_t meter_read(struct meter *meter, usec_t span_usec, usec_t now_usec, struct meter_counts *ret) {
        struct meter_counts counts = { 0 };
        usec_t from = now_usec > span_usec ? now_usec - span_usec : 0;

        pthread_mutex_lock(&meter->lock);
        if (from <= meter->began_usec || now_usec / HOUR - from / HOUR >= METER_HOURS) {
                counts = meter->all;
                from = meter->began_usec;
        } else if (now_usec / MINUTE - from / MINUTE < METER_MINUTES) {
                from = add_since(meter->minutes, METER_MINUTES, MINUTE, from, now_usec, &counts);
        } else {
                from = add_since(meter->hours, METER_HOURS, HOUR, from, now_usec, &counts);
        }
        if (from < meter->began_usec)
                from = meter->began_usec;
        pthread_mutex_unlock(&meter->lock);
        *ret = counts;
        return now_usec - from;
}
