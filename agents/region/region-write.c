/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What was stored here goes to the other end, by one thread and over one connection, so that no two contents of a page
 * overtake each other.
 *
 * Kinds 1 and 2 write through: the first store to a page is seen by its protection, and the page is on its way at
 * once, protected again before it is read. Kinds 3 and 4 never fault: what differs from the shadow, a second copy of
 * what the other end has, has been stored to. A write-back is one pass over the region and then a flush; where the
 * other end knows epochs it applies all of it or nothing. A pass that failed leaves its pages dirty.
 */

#include <errno.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "agents/region/region-internal.h"
#include "agents/region/uffd.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define RUNS_MAX 16 /* requests under way */
#define SCAN_PAGES 256

struct run {
        struct channel_call call;
        sem_t *ended;
        int result;
        uint64_t first, n;
};

static char *page_at(struct failover_region *region, char *memory, uint64_t page) {
        return memory + page * REGION_PAGE_BYTES;
}

/* Words are never torn: programs at both ends may be at work in them. */
static void copy_page(char *to, const char *from) {
        uint64_t *words = (uint64_t *) (void *) to;
        const uint64_t *stored = (const uint64_t *) (const void *) from;

        for (size_t i = 0; i < REGION_PAGE_BYTES / sizeof(*words); i++)
                words[i] = __atomic_load_n(&stored[i], __ATOMIC_RELAXED);
}

/* Kinds 3, 4: takes into the shadow what has been stored to since. */
static void compare(struct failover_region *region) {
        for (uint64_t page = 0; page < region->table.n_pages; page += SCAN_PAGES) {
                pthread_mutex_lock(&region->lock);
                for (uint64_t i = page; i < page + SCAN_PAGES && i < region->table.n_pages; i++) {
                        char *here = page_at(region, region->data, i), *there = page_at(region, region->shadow, i);

                        region_stored_taken(region, i);
                        if (memcmp(here, there, REGION_PAGE_BYTES) == 0)
                                continue;
                        copy_page(there, here);
                        region->statistics.stores_seen++;
                        region_table_touch(&region->table, i);
                }
                pthread_mutex_unlock(&region->lock);
        }
}

static void run_ended(struct channel_call *call, int result) {
        struct run *run = (struct run *) call; /* its first member */

        run->result = result;
        (void) sem_post(run->ended);
}

/* Where the run's contents are read from: they do not change any more. */
static char *contents(struct failover_region *region, struct run *run, unsigned i) {
        char *start = page_at(region, region->data, run->first), *copy;

        if (region->shadow)
                return page_at(region, region->shadow, run->first);
        copy = region->staging + i * CHUNK_BYTES;
        (void) uffd_protect(region->uffd, start, run->n * REGION_PAGE_BYTES, true);
        for (uint64_t at = 0; at < run->n; at++)
                copy_page(copy + at * REGION_PAGE_BYTES, start + at * REGION_PAGE_BYTES);
        return copy;
}

static uint64_t run_bytes(struct failover_region *region, const struct run *run) {
        uint64_t offset = run->first * REGION_PAGE_BYTES, n = run->n * REGION_PAGE_BYTES;

        return n < region->size_bytes - offset ? n : region->size_bytes - offset;
}

/* Writes up to RUNS_MAX runs of dirty pages from `from` on, which is then behind them. */
static int write_runs(struct failover_region *region, uint64_t *from, bool *ret_any) {
        struct run runs[RUNS_MAX];
        unsigned n = 0;
        uint64_t bytes = 0;
        sem_t ended;
        int r = 0;

        (void) sem_init(&ended, 0, 0);
        while (n < RUNS_MAX) {
                struct run *run = &runs[n];
                bool any;

                *run = (struct run) { .call.done = run_ended, .ended = &ended };
                pthread_mutex_lock(&region->lock);
                any = region_table_take_dirty(&region->table, *from, CHUNK_PAGES, &run->first, &run->n);
                pthread_mutex_unlock(&region->lock);
                if (!any)
                        break;
                *from = run->first + run->n;
                channel_submit(region->written.channel, &run->call, PEER_WRITE, contents(region, run, n),
                               run_bytes(region, run), run->first * REGION_PAGE_BYTES);
                n++;
        }
        for (unsigned i = 0; i < n; i++)
                while (sem_wait(&ended) < 0)
                        ;
        (void) sem_destroy(&ended);
        for (unsigned i = 0; i < n; i++) {
                r = runs[i].result < 0 ? runs[i].result : r;
                bytes += run_bytes(region, &runs[i]);
        }
        pthread_mutex_lock(&region->lock);
        region->statistics.written += r < 0 ? 0 : bytes;
        if (r == 0 && n > 0)
                region->taken_usec = clock_usec(CLOCK_BOOTTIME);
        region->unflushed = region->unflushed || n > 0;
        if (!region->shadow || r < 0)
                region_table_written(&region->table, r == 0);
        pthread_mutex_unlock(&region->lock);
        *ret_any = n > 0;
        return r;
}

/* A server of this library's lets a name be read, and written to by one under a name beside it. */
int region_write_connect(struct failover_region *region, struct error *error) {
        struct region_channel *channel = &region->written;
        int r = region_channel_make(channel, region->source.deadline_usec, error);

        if (r < 0 || !channel_read_only(channel->channel))
                return r;
        region_channel_drop(channel);
        if (*channel->suffix)
                return error_set(error, -EPERM, "its other end is read only");
        channel->suffix = ".write";
        r = region_channel_make(channel, region->source.deadline_usec, error);
        if (r < 0)
                channel->suffix = "";
        return r;
}

static int connect_to_write(struct failover_region *region) {
        struct error error = ERROR_INIT;
        int r = region_write_connect(region, &error);

        error_deinit(&error);
        return r;
}

static bool anything(struct failover_region *region, bool flush) {
        bool any;

        pthread_mutex_lock(&region->lock);
        any = region->table.n_dirty > 0 || (flush && region->unflushed);
        pthread_mutex_unlock(&region->lock);
        return any;
}

static int pass_over(struct failover_region *region, bool flush) {
        uint64_t from = 0;
        bool any = true;
        int r = 0;

        if (region->shadow)
                compare(region);
        if (!anything(region, flush))
                return 0;
        r = connect_to_write(region);
        while (r == 0 && any)
                r = write_runs(region, &from, &any);
        if (r == 0 && flush) {
                r = channel_call(region->written.channel, PEER_FLUSH, NULL, 0, 0);
                pthread_mutex_lock(&region->lock);
                region->statistics.flushes += r == 0;
                region->unflushed = r < 0;
                pthread_mutex_unlock(&region->lock);
        }
        if (region->shadow) {
                pthread_mutex_lock(&region->lock);
                region_table_written(&region->table, r == 0);
                pthread_mutex_unlock(&region->lock);
        }
        return r;
}

/* One pass; what was staged of one that failed must not be part of the next. */
static int write_back(struct failover_region *region, bool flush) {
        int r = region->fenced ? -EPERM : pass_over(region, flush);

        if (r == -EPERM || r == -EROFS) {
                region->fenced = true;
                r = -EPERM;
        }
        if (r < 0)
                region_channel_drop(&region->written);
        return r;
}

/* Whether there is something to do now, with the lock held: after a failure only what somebody waits for, which may
 * have come while it failed. */
static bool due(struct failover_region *region, bool failed) {
        return region->closing || region->flush_wanted > region->flush_done ||
               (!failed && !region->shadow && region->table.n_dirty > 0);
}

/* Waits until something is due, at most so long (USEC_INFINITY: for ever). */
static void wait_until_due(struct failover_region *region, usec_t timeout_usec, bool failed) {
        usec_t now = clock_usec(CLOCK_MONOTONIC), until = timeout_usec == USEC_INFINITY ? USEC_INFINITY
                                                                                        : now + timeout_usec;

        while (now < until && !due(region, failed)) {
                condition_wait(&region->to_write, &region->lock, until == USEC_INFINITY ? 3600 * USEC_PER_SEC
                                                                                         : until - now);
                now = clock_usec(CLOCK_MONOTONIC);
        }
}

static void *write_run(void *userdata) {
        struct failover_region *region = userdata;
        usec_t retry_usec = RETRY_MIN_USEC, period = region->source.write_back_usec;
        int r = 0;

        pthread_mutex_lock(&region->lock);
        for (bool last = false; !last;) {
                uint64_t wanted;
                bool flush;

                wait_until_due(region, r < 0 ? retry_usec : period > 0 ? period : USEC_INFINITY, r < 0);
                retry_usec = r < 0 && retry_usec < RETRY_MAX_USEC ? 2 * retry_usec : RETRY_MIN_USEC;
                wanted = region->flush_wanted;
                last = region->closing;
                flush = region->shadow || last || wanted > region->flush_done;
                pthread_mutex_unlock(&region->lock);
                r = write_back(region, flush);
                pthread_mutex_lock(&region->lock);
                region->flush_done = wanted;
                region->flush_result = r;
                region_trouble_note(&region->writing_trouble, r);
                pthread_cond_broadcast(&region->changed);
                if (region->fenced && !last)
                        wait_until_due(region, USEC_INFINITY, true);
        }
        pthread_mutex_unlock(&region->lock);
        return NULL;
}

int region_write_start(struct failover_region *region, struct error *error) {
        size_t size = RUNS_MAX * CHUNK_BYTES;
        int r;

        if (region->kind >= FAILOVER_REGION_REAL_TO_VIRTUAL) {
                region->shadow = malloc(region->mapped_bytes);
                if (!region->shadow)
                        return error_set(error, -ENOMEM, "no memory for a second copy, which stores are seen by");
                memcpy(region->shadow, region->data, region->mapped_bytes);
        } else if (posix_memalign((void **) &region->staging, REGION_PAGE_BYTES, size) != 0) {
                region->staging = NULL;
                return error_set(error, -ENOMEM, "out of memory");
        }
        r = thread_start_joined(write_run, region, &region->write_thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        region->writing = true;
        return 0;
}

int region_write_stop(struct failover_region *region) {
        int r = 0;

        if (region->writing) {
                pthread_mutex_lock(&region->lock);
                region->closing = true;
                pthread_cond_broadcast(&region->to_write);
                pthread_mutex_unlock(&region->lock);
                (void) pthread_join(region->write_thread, NULL);
                r = region->flush_result;
        }
        region_channel_deinit(&region->written);
        free(region->shadow);
        free(region->staging);
        return r;
}

static const char *why(int r) {
        switch (r) {
        case -EPERM:
                return FENCED_TEXT;
        case -ENOTCONN:
                return "the channel was cut, or nothing was answered within the deadline; it is tried again";
        default:
                return strerror(-r);
        }
}

int region_write_flush(struct failover_region *region, struct error *error) {
        uint64_t ticket;
        int r;

        if (region->fenced)
                return error_set(error, -EPERM, "%s", why(-EPERM));
        pthread_mutex_lock(&region->lock);
        ticket = ++region->flush_wanted;
        pthread_cond_broadcast(&region->to_write);
        while (region->flush_done < ticket)
                pthread_cond_wait(&region->changed, &region->lock);
        r = region->flush_result;
        pthread_mutex_unlock(&region->lock);
        return r < 0 ? error_set(error, region_trouble_code(r), "%s", why(r)) : 0;
}
