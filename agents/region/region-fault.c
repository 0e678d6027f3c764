/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kinds 1 and 2: accesses to pages that are not here (R: on demand, at the page fault). A thread of the region's own
 * reads the faults, takes the channel from the page's entry and asks for the page; the answer, in the channel's
 * thread, puts it in place and wakes who waits. What a cut left unanswered is asked again over the channel that is
 * made anew, up to the deadline; then the page is replaced by one that cannot be accessed, so that the access ends as
 * SIGBUS.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agents/region/fetch.h"
#include "agents/region/uffd.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define FAULTS_AT_ONCE 64 /* before answers that have to be asked again have their turn */

void region_fault_kick(struct failover_region *region) {
        const uint64_t one = 1;

        (void) !write(region->event_fd, &one, sizeof(one));
}

static void *address_of(struct failover_region *region, uint64_t page) {
        return region->data + page * REGION_PAGE_BYTES;
}

static void wake(struct failover_region *region, uint64_t page) {
        (void) uffd_wake(region->uffd, address_of(region, page), REGION_PAGE_BYTES);
}

/* The other end is found and the channel made, and it is in all entries from now on. With the lock held, which it lets
 * go meanwhile. */
static int set_up(struct failover_region *region) {
        struct error error = ERROR_INIT;
        int r;

        pthread_mutex_unlock(&region->lock);
        r = region_channel_make(&region->reading, region->source.deadline_usec, &error);
        error_deinit(&error);
        pthread_mutex_lock(&region->lock);
        if (r == 0)
                region_table_set_remote(&region->table, 0, region->table.n_pages, (uintptr_t) &region->reading);
        return r;
}

/* A store to a page that is here. With the lock held. */
static void store_seen(struct failover_region *region, uint64_t page) {
        if (!region_table_present(&region->table, page)) {
                wake(region, page); /* it has gone meanwhile, and is fetched */
                return;
        }
        if (region->fenced && region_table_evict(&region->table, page, 0)) {
                fetch_poison(region, page);
                return;
        }
        region->statistics.stores_seen += !region_table_dirty(&region->table, page);
        region_table_touch(&region->table, page);
        (void) uffd_protect(region->uffd, address_of(region, page), REGION_PAGE_BYTES, false);
        pthread_cond_signal(&region->to_write);
}

/* With the lock held. */
static void page_missing(struct failover_region *region, uint64_t page, bool store) {
        uint64_t channel;
        enum region_verdict verdict = region_table_fault(&region->table, page, &channel);

        region->statistics.faults++;
        if (verdict == REGION_ASK_NAME && set_up(region) == 0)
                verdict = region_table_fault(&region->table, page, &channel);
        switch (verdict) {
        case REGION_FETCH:
                fetch_begin(region, page, store, (struct region_channel *) (uintptr_t) channel);
                break;
        case REGION_WAIT:
                region->statistics.joined++;
                fetch_join(region, page);
                break;
        case REGION_THERE:
                wake(region, page);
                break;
        case REGION_ASK_NAME:
        case REGION_READ_DISK:
        case REGION_ACCESS_ERROR:
                fetch_poison(region, page);
                break;
        }
}

static int take_faults(struct failover_region *region) {
        struct uffd_fault fault;
        int r = 0;

        for (int i = 0; i < FAULTS_AT_ONCE && (r = uffd_next(region->uffd, &fault)) > 0; i++) {
                uint64_t page = (fault.address - (uintptr_t) region->data) / REGION_PAGE_BYTES;

                pthread_mutex_lock(&region->lock);
                if (fault.protected)
                        store_seen(region, page);
                else
                        page_missing(region, page, fault.write && region->write && !region->fenced);
                pthread_mutex_unlock(&region->lock);
                fetch_submit(region);
        }
        return r;
}

static void take_wish(struct failover_region *region) {
        pthread_mutex_lock(&region->lock);
        while (region->wish_n > 0 && fetch_room(region)) {
                uint64_t page = region->wish_first++, channel;
                enum region_verdict verdict;

                region->wish_n--;
                verdict = region_table_fault(&region->table, page, &channel);
                if (verdict == REGION_ASK_NAME && set_up(region) == 0)
                        verdict = region_table_fault(&region->table, page, &channel);
                if (verdict == REGION_FETCH) {
                        fetch_wish(region, page, region->wish_n + 1, (struct region_channel *) (uintptr_t) channel);
                } else if (verdict != REGION_WAIT && verdict != REGION_THERE) {
                        region->n_failures++;
                        region->failure = verdict == REGION_ASK_NAME ? -ENOTCONN : -EIO;
                        region->wish_n = 0;
                        pthread_cond_broadcast(&region->changed);
                }
        }
        pthread_mutex_unlock(&region->lock);
        fetch_submit(region);
}

/* Lets the oldest go where more is here than may be. Nobody else changes entries from present to absent. */
static void make_room(struct failover_region *region) {
        pthread_mutex_lock(&region->lock);
        for (uint64_t looked = 0; region->resident_pages > 0 && region->table.n_present > region->resident_pages &&
                                  looked < region->table.n_pages; looked++) {
                uint64_t page = region->hand;

                region->hand = (region->hand + 1) % region->table.n_pages;
                if (region_table_evict(&region->table, page, (uintptr_t) &region->reading))
                        (void) madvise(address_of(region, page), REGION_PAGE_BYTES, MADV_DONTNEED);
        }
        pthread_mutex_unlock(&region->lock);
}

static void *fault_run(void *userdata) {
        struct failover_region *region = userdata;
        struct pollfd polled[2] = { { .fd = region->uffd, .events = POLLIN },
                                    { .fd = region->event_fd, .events = POLLIN } };

        while (!region->stopping) {
                usec_t next = fetch_retry(region), now = clock_usec(CLOCK_MONOTONIC);
                uint64_t n;

                (void) poll(polled, 2, next == USEC_INFINITY ? -1 : next > now ? (int) ((next - now) / 1000) + 1 : 0);
                if (polled[1].revents)
                        (void) !read(region->event_fd, &n, sizeof(n));
                if (polled[0].revents)
                        (void) take_faults(region);
                take_wish(region);
                make_room(region);
        }
        return NULL;
}

int region_fault_start(struct failover_region *region, const struct failover_region_options *options,
                       struct error *error) {
        int r;

        region->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        region->nothing_fd = memfd_create("failover-region-error", MFD_CLOEXEC);
        if (region->event_fd < 0 || region->nothing_fd < 0)
                return error_set(error, -errno, "out of descriptors or memory: %s", strerror(errno));
        r = uffd_open(options->userfaultfd > 0 ? options->userfaultfd : -1, &region->uffd, &region->user_only, error);
        if (r < 0)
                return r;
        r = uffd_register(region->uffd, region->data, region->mapped_bytes, region->write);
        if (r < 0)
                return error_set(error, r, "userfaultfd: %s", strerror(-r));
        region->resident_pages = options->resident / REGION_PAGE_BYTES;
        if (options->resident > 0 && region->resident_pages < RESIDENT_PAGES_MIN)
                region->resident_pages = RESIDENT_PAGES_MIN;
        r = thread_start_joined(fault_run, region, &region->fault_thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        region->faulting = true;
        return 0;
}

void region_fault_stop(struct failover_region *region) {
        if (region->faulting) {
                region->stopping = true;
                region_fault_kick(region);
                (void) pthread_join(region->fault_thread, NULL);
        }
        region_channel_deinit(&region->reading); /* ends what is under way */
        fetch_free_all(region);
        if (region->uffd >= 0)
                (void) close(region->uffd);
        if (region->event_fd >= 0)
                (void) close(region->event_fd);
        if (region->nothing_fd >= 0)
                (void) close(region->nothing_fd);
}

int region_fault_prefetch(struct failover_region *region, uint64_t first, uint64_t n, struct error *error) {
        uint64_t end = first + n, n_failures;
        int r = 0;

        pthread_mutex_lock(&region->lock);
        n_failures = region->n_failures;
        while (r == 0) {
                while (first < end && region_table_present(&region->table, first))
                        first++;
                if (first == end)
                        break;
                if (region->n_failures > n_failures) {
                        r = region->failure;
                        break;
                }
                if (!region_table_in_progress(&region->table, first)) {
                        region->wish_first = first;
                        region->wish_n = end - first;
                        region_fault_kick(region);
                }
                condition_wait(&region->changed, &region->lock, region->source.deadline_usec);
        }
        pthread_mutex_unlock(&region->lock);
        return r < 0 ? error_set(error, r, "fetching it: %s", strerror(-r)) : 0;
}

/* Pages that could not be had are put back as absent ones. */
static int heal(struct failover_region *region, uint64_t page) {
        void *address = address_of(region, page);
        int protection = PROT_READ | (region->write ? PROT_WRITE : 0);

        if (mmap(address, REGION_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
                 0) == MAP_FAILED || madvise(address, REGION_PAGE_BYTES, MADV_DONTFORK) < 0)
                return -errno;
        return uffd_register(region->uffd, address, REGION_PAGE_BYTES, region->write) < 0 ||
               mprotect(address, REGION_PAGE_BYTES, protection) < 0 ? -errno : 0;
}

int region_fault_refresh(struct failover_region *region, struct error *error) {
        uint64_t channel = (uintptr_t) &region->reading;
        int r = 0;

        pthread_mutex_lock(&region->lock);
        while (fetch_under_way(region))
                condition_wait(&region->changed, &region->lock, region->source.deadline_usec);
        for (uint64_t page = 0; r == 0 && page < region->table.n_pages; page++) {
                if (region_table_evict(&region->table, page, channel))
                        (void) madvise(address_of(region, page), REGION_PAGE_BYTES, MADV_DONTNEED);
                else if (region->table.entries[page] == 0) {
                        r = heal(region, page);
                        if (r == 0)
                                region_table_set_remote(&region->table, page, 1, REGION_NAME_SERVER);
                }
        }
        pthread_mutex_unlock(&region->lock);
        return r < 0 ? error_set(error, r, "%s", strerror(-r)) : 0;
}
