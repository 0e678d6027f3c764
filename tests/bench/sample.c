/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What an estimate of the resident memory of one part of a guest costs: of 1 GiB of a memory file, half of it touched
 * in stretches of some MiB. Prints the median processor time in ms, and the largest error that was stated in per cent
 * of the part. */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/clock.h"
#include "daemon/base/units.h"
#include "daemon/host/memory/resident-sample.h"

#define LOOKS 15
#define STRETCH (3 * MIB)

static int compare(const void *a, const void *b) {
        usec_t x = *(const usec_t *) a, y = *(const usec_t *) b;

        return x < y ? -1 : x > y;
}

int main(void) {
        int page_map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        int memory_fd = memfd_create("region", MFD_CLOEXEC);
        struct resident_estimate found;
        struct drand48_data random;
        usec_t took[LOOKS];
        double error = 0;
        char *memory;

        if (memory_fd < 0 || page_map < 0 || ftruncate(memory_fd, (off_t) GIB) < 0)
                return EXIT_FAILURE;
        memory = mmap(NULL, GIB, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
        if (memory == MAP_FAILED)
                return EXIT_FAILURE;
        for (uint64_t i = 0; i + STRETCH <= GIB; i += 2 * STRETCH)
                memset(memory + i, 1, STRETCH);
        srand48_r(1, &random);
        for (int i = 0; i < LOOKS; i++) {
                usec_t before = clock_usec(CLOCK_PROCESS_CPUTIME_ID);

                if (resident_sample(page_map, (uint64_t) (uintptr_t) memory, GIB, &random, &found) < 0)
                        return EXIT_FAILURE;
                took[i] = clock_usec(CLOCK_PROCESS_CPUTIME_ID) - before;
                if (error < (double) found.error_bytes)
                        error = (double) found.error_bytes;
        }
        qsort(took, LOOKS, sizeof(*took), compare);
        printf("%.3f %.3f\n", (double) took[LOOKS / 2] / USEC_PER_MSEC, 100 * error / (double) GIB);
        return EXIT_SUCCESS;
}
