/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How much of a large piece of memory is resident, from a random sample of its page map: some 2 ms, however large it
 * is, where a count needs 12 to 22 ms a GiB.
 *
 * The sample is stratified: the memory is cut into stretches of one size, and two small pieces are looked at in each,
 * drawn at random. What is resident in a few large blocks, as a guest's memory mostly is, thereby makes an error at
 * the blocks' ends only. How far the two pieces of a stretch are apart tells the variance. Few stretches may hide all
 * of it (both pieces alike, the rest of the stretch not), so four stretches more count as if one piece had been full
 * and one empty, as one adds two successes and two failures to a small share (Agresti and Coull 1998).
 */

#include <stdint.h>
#include <stdlib.h>

/* What is no larger than this is counted. */
#define SAMPLE_COUNTED_BYTES (UINT64_C(128) << 20)

struct resident_estimate {
        uint64_t bytes;
        uint64_t error_bytes; /* in 95 of 100 samples it is off by no more; 0: counted */
};

/* Of the `bytes`, whole pages of 4 KiB, that begin at the address `start` in the process whose page map this is.
 * `random` goes on with each call. The errors of pagemap_count(). */
int resident_sample(int pagemap_fd, uint64_t start, uint64_t bytes, struct drand48_data *random,
                    struct resident_estimate *ret);
