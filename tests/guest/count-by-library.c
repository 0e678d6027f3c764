/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An application whose state is in a shared region of libfailover-region, of whatever kind: it counts, and has the
 * number flushed every so often. Two words far from each other hold the number when it is flushed.
 *
 *   count-by-library NAME
 *
 * NAME is its region's too. /run/NAME.from holds the number that was found, /run/NAME.torn how far the other word was
 * from it, /run/NAME.count the present one, /run/NAME.safe the one that was flushed, and /run/NAME.pid the process id.
 * When it is stopped it closes the region.
 */

#include <errno.h>
#include <failover-region.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/guest/say.h"

#define COUNT_USEC 50000
#define COUNTS_A_FLUSH 4
#define TRIES 100 /* of 100 ms, until the network is there */

static const char *name;
static volatile sig_atomic_t stopped;

static void on_stop(int number) {
        stopped = 1;
}

static int fail(const char *what) {
        fprintf(stderr, "count-by-library: %s: %s\n", what, failover_region_error());
        return 3;
}

static int reach(failover_region **ret) {
        struct failover_region_options options = FAILOVER_REGION_OPTIONS_INIT;
        int r = -ENOTCONN;

        if (system("ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 2> /dev/null") < 0)
                return -errno;
        options.flags = FAILOVER_REGION_WRITE;
        for (int i = 0; i < TRIES && r < 0; i++) {
                r = failover_region_open(name, &options, ret);
                if (r < 0)
                        usleep(100000);
        }
        return r;
}

int main(int argc, char **argv) {
        volatile unsigned long long *number, *other;
        failover_region *region;

        if (argc != 2 || signal(SIGTERM, on_stop) == SIG_ERR)
                return 2;
        name = argv[1];
        if (reach(&region) < 0)
                return fail("open");
        number = failover_region_data(region);
        other = number + failover_region_size(region) / sizeof(*number) - 1;
        say(name, "torn", *number - *other);
        say(name, "from", *number);
        say(name, "pid", (unsigned long long) getpid());
        for (int i = 1; !stopped; i++) {
                say(name, "count", ++*number);
                if (i % COUNTS_A_FLUSH == 0) {
                        *other = *number;
                        if (failover_region_flush(region) < 0)
                                return fail("flush");
                        say(name, "safe", *number);
                }
                usleep(COUNT_USEC);
        }
        *other = *number;
        return failover_region_close(region) < 0 ? fail("close") : 0;
}
