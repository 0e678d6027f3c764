/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What granting the management right costs, by size, in processor time of this thread: a space of 64 GiB in extents of
 * 2 MiB that one VM manages and uses; the upper part of it is given to another VM, and given back for the next round.
 *
 * Prints lines "NAME SIZE_MIB MEDIAN_USEC MAX_USEC": `whole` where usage is one range; `scattered`, the worst there can
 * be, where another VM uses every second extent.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "daemon/core/rights.h"

#define SPACE_BYTES (64 * GIB)
#define EXTENT_BYTES (2 * MIB)
#define ROUNDS 1001

static const struct holder OLD = { .pair = 0, .side = SIDE_A }, NEW = { .pair = 0, .side = SIDE_B },
                           OTHER = { .pair = 1, .side = SIDE_A };

static double cpu_usec(void) {
        struct timespec now;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (double) now.tv_sec * 1e6 + (double) now.tv_nsec / 1e3;
}

static void succeed(int r) {
        if (r < 0)
                abort();
}

static int by_size(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static void measure(const char *name, struct rights *rights, uint64_t bytes) {
        struct span span = { SPACE_BYTES - bytes, SPACE_BYTES };
        static double took[ROUNDS];

        for (unsigned i = 0; i < ROUNDS; i++) {
                double began = cpu_usec();

                succeed(rights_assign(rights, span, NEW, i + 1));
                took[i] = cpu_usec() - began;
                succeed(rights_assign(rights, span, OLD, i + 1));
        }
        qsort(took, ROUNDS, sizeof(took[0]), by_size);
        printf("%s %" PRIu64 " %.3f %.3f\n", name, bytes / MIB, took[ROUNDS / 2], took[ROUNDS - 1]);
}

int main(void) {
        struct span all = { 0, SPACE_BYTES };
        struct rights rights;

        succeed(rights_init(&rights, EXTENT_BYTES, SPACE_BYTES));
        succeed(rights_assign(&rights, all, OLD, 0));
        succeed(rights_touch(&rights, OLD, all, 0, NULL));
        for (uint64_t bytes = 128 * MIB; bytes <= SPACE_BYTES; bytes *= 2)
                measure("whole", &rights, bytes);

        for (uint64_t offset = 0; offset < SPACE_BYTES; offset += 2 * EXTENT_BYTES) {
                struct span extent = { offset, offset + EXTENT_BYTES };

                succeed(rights_reported_free(&rights, OLD, extent, 0));
                succeed(rights_touch(&rights, OTHER, extent, 0, NULL));
        }
        for (uint64_t bytes = 128 * MIB; bytes <= SPACE_BYTES; bytes *= 2)
                measure("scattered", &rights, bytes);
        rights_deinit(&rights);
        return 0;
}
