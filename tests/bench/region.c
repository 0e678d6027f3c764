/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What shared regions cost, beside requests and answers of the same sizes over the same socket by libnbd alone, in
 * turns within one run. One figure a line: a name and a number. Needs the right to use userfaultfd.
 *
 *   region-cost URI DELAYED_URI
 */

#include <assert.h>
#include <failover-region.h>
#include <libnbd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 4096
#define CHUNK (256 * 1024)
#define ROUNDS 9
#define SINGLES 2000 /* faults or requests of one page */
#define MANY 1000    /* regions */
#define THREADS 4
#define DELAYED 40 /* pages of each thread from a server that waits */
#define BUFFERS 4
#define BLOCKS 16

static double read_clock(clockid_t clock) {
        struct timespec t;

        clock_gettime(clock, &t);
        return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}

static double now(void) {
        return read_clock(CLOCK_MONOTONIC);
}

static int ascending(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return (x > y) - (x < y);
}

static double median(double *values, int n) {
        qsort(values, (size_t) n, sizeof(*values), ascending);
        return values[n / 2];
}

static struct nbd_handle *connect_raw(const char *uri) {
        struct nbd_handle *handle = nbd_create();

        if (!handle || nbd_connect_uri(handle, uri) < 0) {
                fprintf(stderr, "%s\n", nbd_get_error());
                exit(1);
        }
        return handle;
}

static failover_region *open_region(const char *uri, int kind, uint64_t size, unsigned flags) {
        struct failover_region_options options = FAILOVER_REGION_OPTIONS_INIT;
        failover_region *region;

        options.uri = uri;
        options.kind = kind;
        options.size = size;
        options.flags = flags;
        if (failover_region_open("bench", &options, &region) < 0) {
                fprintf(stderr, "%s\n", failover_region_error());
                exit(1);
        }
        return region;
}

static volatile char *data_of(failover_region *region) {
        return failover_region_data(region);
}

/* A page that no read-ahead brings: far from those before it. */
static uint64_t scattered(uint64_t i, uint64_t n_pages) {
        return i * 7919 % n_pages * PAGE;
}

/* Seconds of one request of a page. */
static double raw_single(struct nbd_handle *handle, uint64_t n_pages) {
        static char page[PAGE];
        double began = now();

        for (uint64_t i = 0; i < SINGLES; i++)
                if (nbd_pread(handle, page, PAGE, scattered(i, n_pages), 0) < 0)
                        exit(1);
        return (now() - began) / SINGLES;
}

/* Seconds of one fault, as the program waits for it, and of processor time, of all threads of the program. */
static double fault_single(const char *uri, double *ret_worked) {
        failover_region *region = open_region(uri, FAILOVER_REGION_VIRTUAL, 0, 0);
        uint64_t n_pages = failover_region_size(region) / PAGE;
        struct failover_region_statistics statistics;
        double began = now(), working = read_clock(CLOCK_PROCESS_CPUTIME_ID), spent;

        for (uint64_t i = 0; i < SINGLES; i++)
                (void) data_of(region)[scattered(i, n_pages)];
        spent = (now() - began) / SINGLES;
        *ret_worked = (read_clock(CLOCK_PROCESS_CPUTIME_ID) - working) / SINGLES;
        failover_region_get_statistics(region, &statistics, sizeof(statistics));
        assert(statistics.faults == SINGLES && statistics.fetched <= (SINGLES + 100) * PAGE);
        failover_region_close(region);
        return spent;
}

/* Bytes a second, with several large requests under way. */
static double raw_bulk(struct nbd_handle *handle) {
        uint64_t size = (uint64_t) nbd_get_size(handle), asked = 0;
        char *buffer = malloc(16 * CHUNK);
        double began = now();

        memset(buffer, 1, 16 * CHUNK);
        while (asked < size || nbd_aio_in_flight(handle) > 0) {
                int64_t cookie;

                if (asked < size && nbd_aio_in_flight(handle) < 16) {
                        if (nbd_aio_pread(handle, buffer + asked / CHUNK % 16 * CHUNK, CHUNK, asked,
                                          NBD_NULL_COMPLETION, 0) < 0)
                                exit(1);
                        asked += CHUNK;
                        continue;
                }
                if (nbd_poll(handle, -1) < 0)
                        exit(1);
                while ((cookie = nbd_aio_peek_command_completed(handle)) > 0)
                        nbd_aio_command_completed(handle, (uint64_t) cookie);
        }
        free(buffer);
        return (double) size / (now() - began);
}

static double scan(const char *uri) {
        failover_region *region = open_region(uri, FAILOVER_REGION_VIRTUAL, 0, 0);
        uint64_t size = failover_region_size(region);
        double began = now(), spent;

        for (uint64_t at = 0; at < size; at += PAGE)
                (void) data_of(region)[at];
        spent = now() - began;
        failover_region_close(region);
        return (double) size / spent;
}

static double resident(const char *uri) {
        double began = now();
        failover_region *region = open_region(uri, FAILOVER_REGION_REAL_TO_VIRTUAL, 0, 0);
        double spent = now() - began;
        struct failover_region_statistics statistics;
        uint64_t size = failover_region_size(region);

        for (uint64_t at = 0; at < size; at += PAGE)
                (void) data_of(region)[at];
        failover_region_get_statistics(region, &statistics, sizeof(statistics));
        assert(statistics.faults == 0);
        failover_region_close(region);
        return (double) size / spent;
}

struct toucher {
        failover_region *region;
        uint64_t from;
};

static void *touch(void *userdata) {
        struct toucher *toucher = userdata;

        for (uint64_t i = 0; i < DELAYED; i++)
                (void) data_of(toucher->region)[toucher->from + i * 3 * PAGE]; /* no read-ahead */
        return NULL;
}

/* Faults a second of so many threads together. */
static double delayed(const char *uri, int n_threads) {
        failover_region *region = open_region(uri, FAILOVER_REGION_VIRTUAL, 0, 0);
        struct toucher touchers[THREADS];
        pthread_t threads[THREADS];
        double began = now(), spent;

        for (int i = 0; i < n_threads; i++) {
                touchers[i] = (struct toucher) { region, (uint64_t) i * 4 * DELAYED * PAGE };
                pthread_create(&threads[i], NULL, touch, &touchers[i]);
        }
        for (int i = 0; i < n_threads; i++)
                pthread_join(threads[i], NULL);
        spent = now() - began;
        failover_region_close(region);
        return n_threads * DELAYED / spent;
}

static uint64_t fetches_of_one_page(const char *uri) {
        failover_region *region = open_region(uri, FAILOVER_REGION_VIRTUAL, 0, 0);
        struct failover_region_statistics statistics;
        pthread_t threads[16];
        struct toucher toucher = { region, 0 };

        for (int i = 0; i < 16; i++)
                pthread_create(&threads[i], NULL, touch, &toucher);
        for (int i = 0; i < 16; i++)
                pthread_join(threads[i], NULL);
        failover_region_get_statistics(region, &statistics, sizeof(statistics));
        failover_region_close(region);
        return statistics.fetches;
}

/* What a look-up costs that grows with the number of regions is processor time. How long a fault takes is told beside
 * it: mostly that is threads and the server waking each other, which varies more from one run to the next than by all
 * that a look-up could take. */
static void look_up(const char *uri) {
        failover_region *others[MANY];
        double ratios[ROUNDS], waits[ROUNDS];

        for (int round = 0; round < ROUNDS; round++) {
                double worked_alone, worked_among, alone = fault_single(uri, &worked_alone), among;

                for (int i = 0; i < MANY; i++)
                        others[i] = open_region(uri, FAILOVER_REGION_VIRTUAL, PAGE, i < 4 ? 0 : FAILOVER_REGION_LAZY);
                among = fault_single(uri, &worked_among);
                for (int i = 0; i < MANY; i++)
                        failover_region_close(others[i]);
                ratios[round] = worked_among / worked_alone;
                waits[round] = among / alone;
        }
        printf("look_up_1000_over_1 %.4f\n", median(ratios, ROUNDS));
        printf("fault_among_1000_over_alone %.4f\n", median(waits, ROUNDS));
}

/* A stream's writer that does nothing but publish, until its reader has gone. */
static void *publish(void *userdata) {
        while (failover_share_flip(userdata) == 0)
                ;
        return NULL;
}

static uint64_t stalls_of(failover_region *region) {
        struct failover_region_statistics statistics;

        failover_region_get_statistics(region, &statistics, sizeof(statistics));
        return statistics.stalls;
}

/* Seconds for so many blocks, each worked on for so long. */
static double read_blocks(failover_region *region, double work) {
        struct timespec pause = { 0, (long) (work * 1e9) };
        double began = now();

        for (int block = 0; block < BLOCKS; block++) {
                if (failover_region_flip(region) < 0)
                        exit(1);
                if (work > 0)
                        nanosleep(&pause, NULL);
        }
        return now() - began;
}

static void stream(struct nbd_handle *handle) {
        struct failover_share_options options = FAILOVER_SHARE_OPTIONS_INIT;
        struct failover_region_options reading = FAILOVER_REGION_OPTIONS_INIT;
        failover_region *region;
        failover_share *share;
        pthread_t writer;
        double spent = 0, ratios[ROUNDS];
        uint64_t stalls;

        options.size = 8 << 20;
        options.names = "";
        options.deadline = 1000;
        options.buffers = reading.buffers = BUFFERS;
        if (failover_region_share("bench", &options, &share) < 0)
                exit(1);
        memset(failover_share_data(share), 1, options.size);
        reading.uri = failover_share_uri(share);
        if (failover_region_open("bench", &reading, &region) < 0)
                exit(1);
        pthread_create(&writer, NULL, publish, share);
        (void) read_blocks(region, 0); /* until all buffers have been used */
        for (int round = 0; round < ROUNDS; round++) {
                double bulk = raw_bulk(handle);

                spent = read_blocks(region, 0) / BLOCKS;
                ratios[round] = (double) options.size / spent / bulk;
        }
        printf("stream_over_raw_bulk %.4f\n", median(ratios, ROUNDS));
        (void) read_blocks(region, 5 * spent);
        stalls = stalls_of(region);
        (void) read_blocks(region, 5 * spent);
        printf("stalls_of_a_slower_reader %llu\n", (unsigned long long) (stalls_of(region) - stalls));
        failover_region_close(region);
        pthread_join(writer, NULL);
        failover_share_close(share);
}

int main(int argc, char **argv) {
        double singles[ROUNDS], scans[ROUNDS], residents[ROUNDS], threads[ROUNDS], raws[ROUNDS], bulks[ROUNDS];
        struct nbd_handle *handle;
        uint64_t n_pages;
        double worked;

        assert(argc == 3);
        handle = connect_raw(argv[1]);
        n_pages = (uint64_t) nbd_get_size(handle) / PAGE;
        for (int round = 0; round < ROUNDS; round++) {
                raws[round] = raw_single(handle, n_pages);
                singles[round] = fault_single(argv[1], &worked) / raws[round];
                bulks[round] = raw_bulk(handle);
                scans[round] = scan(argv[1]) / bulks[round];
                residents[round] = resident(argv[1]) / bulks[round];
                threads[round] = delayed(argv[2], 1);
                threads[round] = delayed(argv[2], THREADS) / threads[round];
        }
        printf("raw_single_usec %.4f\n", median(raws, ROUNDS) * 1e6);
        printf("raw_bulk_mib %.4f\n", median(bulks, ROUNDS) / (1 << 20));
        printf("fault_over_raw %.4f\n", median(singles, ROUNDS));
        printf("scan_over_raw_bulk %.4f\n", median(scans, ROUNDS));
        printf("fill_over_raw_bulk %.4f\n", median(residents, ROUNDS));
        printf("threads_4_over_1 %.4f\n", median(threads, ROUNDS));
        printf("fetches_of_one_page %.4f\n", (double) fetches_of_one_page(argv[2]) / DELAYED);
        stream(handle);
        look_up(argv[1]);
        nbd_close(handle);
        return 0;
}
