/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The filling of a copy: run by run of stored pages, each under its range, at a bounded rate. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/copy-internal.h"

#define WALK_PAGES 256
#define RUN_PAGES 64 /* sent at once */
#define AGAIN_USEC (500 * USEC_PER_MSEC) /* until a full server is tried again */

struct filling {
        struct copy *copy;
        usec_t began_usec;
        uint64_t sent_bytes;
        char *buffer; /* RUN_PAGES */
};

/* A page that is not here any more has gone there by itself, and may have been saved there since. */
static int hand_over_run(struct filling *f, uint64_t length, uint64_t offset) {
        struct page_space *pages = f->copy->space->pages;
        int r = 0;

        for (uint64_t n; length > 0 && r >= 0; offset += n, length -= n) {
                r = page_space_extent(pages, length, offset, &n);
                if (r <= 0)
                        continue;
                r = page_space_read(pages, f->buffer, n, offset);
                if (r == 0)
                        r = copy_call(f->copy, PEER_WRITE, f->buffer, n, offset);
                if (r == 0)
                        r = page_space_trim(pages, n, offset);
        }
        return r < 0 ? r : 0;
}

/* A save that has them may wait for this thread to reach the other server again. */
static int take_run(struct copy *copy, struct range *range, uint64_t length, uint64_t offset) {
        int r = 0;

        while (r == 0 && !range_take_within(&copy->space->ranges, range, length, offset, copy_beat_interval(copy) / 2))
                r = copy_beat(copy, LABEL_FILLING);
        return r;
}

/* A mirror that lacked a page could not tell it from a page of zeroes, so there is none until that page was saved or
 * trimmed: whoever looks is told which. */
static int cannot_read(struct filling *f, uint64_t length, uint64_t offset) {
        struct copy *copy = f->copy;
        char text[COPY_TEXT_LEN];
        uint64_t at = offset;

        while (at < offset + length && page_space_read(copy->space->pages, f->buffer, PAGE_BYTES, at) == 0)
                at += PAGE_BYTES;
        if (at == offset + length)
                return -EIO; /* it can by now */
        snprintf(text, sizeof(text), "no mirror as long as the page at byte %" PRIu64 " cannot be read here", at);
        pthread_mutex_lock(&copy->lock);
        copy_lose(copy, text);
        pthread_mutex_unlock(&copy->lock);
        return -ENOTCONN;
}

static int send_run(struct filling *f, uint64_t length, uint64_t offset) {
        struct copy *copy = f->copy;
        struct range range;
        int r = take_run(copy, &range, length, offset);

        if (r < 0)
                return r;
        if (!copy_is_mirror(copy)) {
                r = hand_over_run(f, length, offset);
        } else {
                r = page_space_read(copy->space->pages, f->buffer, length, offset);
                if (r == 0)
                        r = copy_call(copy, PEER_WRITE, f->buffer, length, offset);
                else if (r == -EIO)
                        r = cannot_read(f, length, offset);
        }
        range_give(&copy->space->ranges, &range);
        return r;
}

/* Waits as long as the rate demands. Signs of life go on meanwhile. */
static int keep_pace(struct filling *f) {
        struct copy *copy = f->copy;
        uint64_t rate = copy->options.rate_bytes;
        int r;

        for (;;) {
                usec_t now = clock_usec(CLOCK_BOOTTIME), slice = copy_beat_interval(copy) / 2, due;

                r = copy_beat(copy, LABEL_FILLING);
                due = rate == 0 ? 0 : f->began_usec + f->sent_bytes / rate * USEC_PER_SEC +
                                              f->sent_bytes % rate * USEC_PER_SEC / rate;
                if (r < 0 || now >= due)
                        return r;
                pthread_mutex_lock(&copy->lock);
                copy_wait(copy, due - now < slice ? due - now : slice);
                pthread_mutex_unlock(&copy->lock);
        }
}

static int fill_run(struct filling *f, uint64_t first, uint64_t n) {
        int r = send_run(f, n * PAGE_BYTES, first * PAGE_BYTES);

        if (r < 0)
                return r;
        f->sent_bytes += n * PAGE_BYTES;
        pthread_mutex_lock(&f->copy->lock);
        f->copy->filled_bytes = f->sent_bytes;
        pthread_mutex_unlock(&f->copy->lock);
        return keep_pace(f);
}

static int compare_pages(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

        return x < y ? -1 : x > y;
}

static int fill_pages(struct filling *f, uint64_t *pages, size_t n) {
        size_t begin = 0;
        int r = 0;

        qsort(pages, n, sizeof(*pages), compare_pages);
        for (size_t i = 1; i <= n && r == 0; i++) {
                if (i < n && pages[i] == pages[i - 1] + 1 && i - begin < RUN_PAGES)
                        continue;
                r = fill_run(f, pages[begin], i - begin);
                begin = i;
        }
        return r;
}

/* A hand-over that is held up, say for want of room there, goes on where it was when it can; a mirror begins anew. */
static int held_up(struct copy *copy, int r) {
        char text[COPY_TEXT_LEN];

        if (copy_is_mirror(copy) || r == -EPERM || r == -ECANCELED)
                return r;
        if (r != -ENOTCONN) {
                snprintf(text, sizeof(text), "a page cannot be handed over: %s", strerror(-r));
                pthread_mutex_lock(&copy->lock);
                if (copy->state == COPY_FILLING)
                        copy_set_state(copy, COPY_FILLING, text);
                copy_wait(copy, AGAIN_USEC);
                pthread_mutex_unlock(&copy->lock);
        }
        return copy_beat(copy, LABEL_FILLING);
}

int copy_fill(struct copy *copy) {
        _cleanup_free_ char *buffer = malloc(RUN_PAGES * PAGE_BYTES);
        struct filling f = { .copy = copy, .began_usec = clock_usec(CLOCK_BOOTTIME), .buffer = buffer };
        uint64_t cursor = 0, next = 0, pages[WALK_PAGES];
        int n, r = 0;

        if (!buffer)
                return -ENOMEM;
        do {
                n = page_space_walk(copy->space->pages, &next, pages, WALK_PAGES);
                if (n > 0)
                        r = fill_pages(&f, pages, (size_t) n);
                if (r < 0) {
                        r = held_up(copy, r);
                        next = cursor; /* those that are still here come again */
                } else {
                        cursor = next;
                }
        } while (n > 0 && r == 0);
        return n < 0 ? n : r;
}
