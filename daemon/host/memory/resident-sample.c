/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/resident-sample.h"

#include <math.h>

#include "daemon/core/handover.h"
#include "daemon/host/memory/pagemap.h"

#define STRETCHES 512
#define PIECE_PAGES 16    /* costs little more than one page, and tells more where pages are scattered */
#define DEVIATIONS 2      /* of a normal distribution, of which 95 % lie within */

/* Of a uniform distribution over 0 to n - 1. */
static uint64_t draw(struct drand48_data *random, uint64_t n) {
        long bits = 0;

        (void) lrand48_r(random, &bits); /* cannot fail */
        return (uint64_t) bits * n >> 31;
}

static int count(int fd, uint64_t first, uint64_t n_pages, struct resident_estimate *ret) {
        uint64_t pages = 0;
        int r = pagemap_count(fd, first, n_pages, &pages);

        if (r == 0)
                *ret = (struct resident_estimate) { .bytes = pages * USAGE_PAGE_BYTES };
        return r;
}

/* Two different pieces out of a stretch of `n_pieces` from page `first` on. */
static int look(int fd, uint64_t first, uint64_t n_pieces, struct drand48_data *random, uint64_t found[static 2]) {
        uint64_t a = draw(random, n_pieces), b = draw(random, n_pieces - 1);
        int r;

        b += b >= a;
        r = pagemap_count(fd, first + a * PIECE_PAGES, PIECE_PAGES, &found[0]);
        return r < 0 ? r : pagemap_count(fd, first + b * PIECE_PAGES, PIECE_PAGES, &found[1]);
}

int resident_sample(int pagemap_fd, uint64_t start, uint64_t bytes, struct drand48_data *random,
                    struct resident_estimate *ret) {
        uint64_t first = start / USAGE_PAGE_BYTES, n_pages = bytes / USAGE_PAGE_BYTES, n_pieces = n_pages / PIECE_PAGES;
        double sum = 0, stretch = (double) n_pages / STRETCHES, variance = stretch * stretch;
        uint64_t rest;
        int r;

        if (bytes <= SAMPLE_COUNTED_BYTES)
                return count(pagemap_fd, first, n_pages, ret);
        for (uint64_t i = 0; i < STRETCHES; i++) {
                uint64_t from = i * n_pieces / STRETCHES, n = (i + 1) * n_pieces / STRETCHES - from, found[2];
                double apart;

                r = look(pagemap_fd, first + from * PIECE_PAGES, n, random, found);
                if (r < 0)
                        return r;
                apart = ((double) found[0] - (double) found[1]) * (double) n / 2;
                sum += (double) (found[0] + found[1]) * (double) n / 2;
                variance += apart * apart * (1 - 2 / (double) n); /* both being all that there is, nothing is unknown */
        }
        /* what is no whole piece */
        r = pagemap_count(pagemap_fd, first + n_pieces * PIECE_PAGES, n_pages % PIECE_PAGES, &rest);
        if (r < 0)
                return r;
        *ret = (struct resident_estimate) {
                .bytes = (uint64_t) (sum + 0.5 + (double) rest) * USAGE_PAGE_BYTES,
                .error_bytes = (uint64_t) ceil(DEVIATIONS * sqrt(variance)) * USAGE_PAGE_BYTES,
        };
        return 0;
}
