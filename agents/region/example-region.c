/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A counter that survives its program and its machine: it goes on from the last number that it has flushed, wherever it
 * is started next.
 *
 *   cc example-region.c -o example-region $(pkg-config --cflags --libs failover-region)
 *
 *   example-region NAME [URI]
 */

#include <failover-region.h>
#include <stdio.h>

struct counter {
        uint64_t number;
};

static int fail(const char *what) {
        fprintf(stderr, "%s: %s\n", what, failover_region_error());
        return 1;
}

int main(int argc, char **argv) {
        struct failover_region_options options = FAILOVER_REGION_OPTIONS_INIT;
        failover_region *region;
        struct counter *counter;

        if (argc < 2)
                return fprintf(stderr, "usage: %s NAME [URI]\n", argv[0]), 2;
        options.flags = FAILOVER_REGION_WRITE;
        options.uri = argc > 2 ? argv[2] : NULL; /* NULL: as this program was told by the guest agent */
        if (options.uri)
                options.kind = FAILOVER_REGION_REAL_TO_VIRTUAL;
        if (failover_region_open(argv[1], &options, &region) < 0)
                return fail("open");
        counter = failover_region_data(region);
        for (int i = 0; i < 10; i++) {
                counter->number++;
                if (failover_region_flush(region) < 0) { /* from here on, nobody can lose it */
                        (void) fail("flush");
                        break;
                }
                printf("%llu\n", (unsigned long long) counter->number);
        }
        return failover_region_close(region) < 0 ? fail("close") : 0;
}
