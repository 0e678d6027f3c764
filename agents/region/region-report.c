/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a region counts, told to its holder every two seconds (agents/protocol/region-report.h), over a connection and
 * by a thread of its own: a holder that does not take it holds up no store and no write-back. So the loss of a holder
 * is also noticed by a region that nothing is stored to.
 */

#include <errno.h>
#include <string.h>

#include "agents/protocol/region-report.h"
#include "agents/region/region-internal.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define ATTEMPTS 5                         /* before the first that succeeds */
#define CONNECT_USEC (500 * USEC_PER_MSEC) /* and so long, at most, until the thread ends when it is told to */

void region_trouble_note(struct region_trouble *trouble, int r) {
        if (r < 0 && trouble->code == 0)
                trouble->since_usec = clock_usec(CLOCK_BOOTTIME);
        trouble->code = r;
}

uint64_t region_dirty_bytes(const struct failover_region *region) {
        return (region->table.n_dirty + region->table.n_writing + region->n_stored) * REGION_PAGE_BYTES;
}

/* With the lock held. */
static struct region_report count(const struct failover_region *region) {
        return (struct region_report) {
                .resident_bytes = region->table.n_present * REGION_PAGE_BYTES,
                .dirty_bytes = region_dirty_bytes(region),
                .faults = region->statistics.faults,
                .fetched_bytes = region->statistics.fetched,
                .written_bytes = region->statistics.written,
                .errors = region->statistics.errors,
        };
}

/* So that what is under way can be ended. False: it is over. */
static bool begin_telling(struct failover_region *region) {
        pthread_mutex_lock(&region->lock);
        if (!region->report_over)
                region->telling = region->reports.channel;
        pthread_mutex_unlock(&region->lock);
        return region->telling;
}

static void end_telling(struct failover_region *region) {
        pthread_mutex_lock(&region->lock);
        region->telling = NULL;
        pthread_mutex_unlock(&region->lock);
}

static int tell(struct failover_region *region, const struct region_report *report) {
        unsigned char bytes[REGION_REPORT_BYTES];
        struct error error = ERROR_INIT;
        int r = region_channel_make(&region->reports, CONNECT_USEC, &error);

        error_deinit(&error);
        if (r < 0)
                return r;
        if (channel_size(region->reports.channel) != sizeof(bytes)) /* one who takes any name for the region's */
                return -EPERM;
        region_report_encode(report, bytes);
        if (!begin_telling(region))
                return -ECANCELED;
        r = channel_call(region->reports.channel, PEER_WRITE, bytes, sizeof(bytes), 0);
        end_telling(region);
        if (r < 0)
                region_channel_drop(&region->reports);
        return r;
}

/* Whether there will be another one: not to who has taken the right to write away, nor to an older holder, which has no
 * such export. With the lock held, which it lets go meanwhile. */
static bool report(struct failover_region *region, unsigned *n_unheard) {
        struct region_report report;
        usec_t begun_usec = clock_usec(CLOCK_BOOTTIME);
        int r;

        region_stored_look(region);
        report = count(region);
        pthread_mutex_unlock(&region->lock);
        r = tell(region, &report);
        pthread_mutex_lock(&region->lock);
        if (r == 0)
                *n_unheard = 0;
        else if (*n_unheard > 0 && --*n_unheard == 0)
                return false;
        if (*n_unheard == 0) /* stores that were taken meanwhile say more than a report that was not */
                region_trouble_note(&region->holder_trouble, r == -EPERM || region->taken_usec < begun_usec ? r : 0);
        return r != -EPERM;
}

static void *report_run(void *userdata) {
        struct failover_region *region = userdata;
        unsigned n_unheard = ATTEMPTS;
        bool more = true;

        pthread_mutex_lock(&region->lock);
        while (more && !region->report_over) {
                if (region->reading.n_made > 0) /* else its other end has not been looked for */
                        more = report(region, &n_unheard);
                if (!region->report_over)
                        condition_wait(&region->to_report, &region->lock, REGION_REPORT_USEC);
        }
        pthread_mutex_unlock(&region->lock);
        return NULL;
}

int region_report_start(struct failover_region *region, struct error *error) {
        int r = region_channel_init(&region->reports, &region->source, REGION_REPORT_SUFFIX, 1);

        if (r < 0)
                return error_set(error, r, "out of memory");
        region->reports.source.size_bytes = 0; /* that export is not the region */
        r = region_stored_init(region);
        if (r < 0)
                return error_set(error, r, "out of memory");
        r = thread_start_joined(report_run, region, &region->report_thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        region->reporting = true;
        return 0;
}

void region_report_finish(struct failover_region *region) {
        pthread_mutex_lock(&region->lock);
        region->report_over = true;
        if (region->telling)
                channel_break(region->telling);
        pthread_cond_broadcast(&region->to_report);
        pthread_mutex_unlock(&region->lock);
}

void region_report_stop(struct failover_region *region) {
        if (region->reporting)
                (void) pthread_join(region->report_thread, NULL);
        region_channel_deinit(&region->reports);
        region_stored_deinit(region);
}

int region_trouble_code(int r) {
        return r == -ECONNREFUSED || r == -ECONNRESET || r == -ENOENT || r == -EPIPE || r == -ETIMEDOUT ? -ENOTCONN : r;
}

int region_check(struct failover_region *region, struct error *error) {
        struct region_trouble trouble;
        bool fenced = region->fenced;

        pthread_mutex_lock(&region->lock);
        trouble = region->writing_trouble.code < 0 ? region->writing_trouble : region->holder_trouble;
        fenced = fenced || region->holder_trouble.code == -EPERM;
        pthread_mutex_unlock(&region->lock);
        if (fenced)
                return error_set(error, -EPERM, FENCED_TEXT);
        if (trouble.code == 0)
                return 0;
        return error_set(error, region_trouble_code(trouble.code), "nothing has got through to its other end for %llu "
                         "seconds (%s): what was stored since is here alone; it is tried again",
                         (unsigned long long) ((clock_usec(CLOCK_BOOTTIME) - trouble.since_usec) / USEC_PER_SEC),
                         strerror(-trouble.code));
}
