/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The public calls on regions (failover-region.h). */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agents/region/region-internal.h"
#include "agents/region/region-stream.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"

#define EXPORT __attribute__((visibility("default")))
#define READ_CONNECTIONS 2

static void *release(struct failover_region *region) {
        if (region->data)
                (void) munmap(region->data, region->mapped_bytes);
        region_table_deinit(&region->table);
        region_source_deinit(&region->source);
        (void) pthread_cond_destroy(&region->changed);
        (void) pthread_cond_destroy(&region->to_write);
        (void) pthread_cond_destroy(&region->to_report);
        (void) pthread_mutex_destroy(&region->lock);
        free(region);
        return NULL;
}

/* The last write-back's result. */
static int region_free(struct failover_region *region) {
        int r;

        region_report_finish(region);
        r = region_write_stop(region);
        region_report_stop(region);
        region_stream_free(region);
        region_fault_stop(region);
        release(region);
        return r;
}

static struct failover_region *region_new(void) {
        struct failover_region *region = calloc(1, sizeof(*region));

        if (!region)
                return NULL;
        (void) pthread_mutex_init(&region->lock, NULL);
        condition_init(&region->changed);
        condition_init(&region->to_write);
        condition_init(&region->to_report);
        region->uffd = region->event_fd = region->nothing_fd = -1;
        region->pid = getpid();
        return region;
}

/* What this library knows of the caller's options. */
static int take_options(const struct failover_region_options *options, struct failover_region_options *ret,
                        struct error *error) {
        size_t size = options ? options->options_size : 0;

        if (options && size < offsetof(struct failover_region_options, uri))
                return error_set(error, -EINVAL, "options_size is not that of the options");
        *ret = (struct failover_region_options) FAILOVER_REGION_OPTIONS_INIT;
        if (options)
                memcpy(ret, options, size < sizeof(*ret) ? size : sizeof(*ret));
        return 0;
}

static int map(struct failover_region *region, struct error *error) {
        uint64_t n_pages = (region->size_bytes + REGION_PAGE_BYTES - 1) / REGION_PAGE_BYTES;
        void *data;

        if (sysconf(_SC_PAGESIZE) != (long) REGION_PAGE_BYTES)
                return error_set(error, -ENOTSUP, "this machine's pages are not of %d bytes", (int) REGION_PAGE_BYTES);
        region->mapped_bytes = n_pages * REGION_PAGE_BYTES;
        data = mmap(NULL, region->mapped_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                    -1, 0);
        if (data == MAP_FAILED)
                return error_set(error, -errno, "%llu bytes of memory: %s", (unsigned long long) region->mapped_bytes,
                                 strerror(errno));
        region->data = data;
        (void) madvise(data, region->mapped_bytes, MADV_DONTFORK);
        if (region_table_init(&region->table, region->size_bytes) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        return 0;
}

/* R: kinds 3 and 4 are filled right after set-up, and never fault later. */
static int make_real(struct failover_region *region, unsigned flags, struct error *error) {
        int r;

        /* All of it is used: in large pages, where the kernel has some, it is there in a fraction of the time. */
        (void) madvise(region->data, region->mapped_bytes, MADV_HUGEPAGE);
        if (mlock(region->data, region->mapped_bytes) < 0 && !(flags & FAILOVER_REGION_UNLOCKED))
                return error_set(error, -EPERM, "%llu bytes cannot be locked in memory: %s: raise the limit "
                                 "(LimitMEMLOCK=, ulimit -l)", (unsigned long long) region->mapped_bytes,
                                 strerror(errno));
        r = region_fill(&region->reading, region->data, region->size_bytes, error);
        if (r < 0)
                return r;
        region->statistics.fetched = region->size_bytes;
        region_table_set_remote(&region->table, 0, region->table.n_pages, (uintptr_t) &region->reading);
        (void) region_table_take_along(&region->table, 0, region->table.n_pages, (uintptr_t) &region->reading);
        region_table_filled(&region->table, 0, region->table.n_pages, 0);
        region_channel_drop(&region->reading);
        return 0;
}

static int make_virtual(struct failover_region *region, const struct failover_region_options *options,
                        struct error *error) {
        uint64_t channel = options->flags & FAILOVER_REGION_LAZY ? REGION_NAME_SERVER : (uintptr_t) &region->reading;

        (void) madvise(region->data, region->mapped_bytes, MADV_NOHUGEPAGE);
        region_table_set_remote(&region->table, 0, region->table.n_pages, channel);
        return region_fault_start(region, options, error);
}

static int open_for_writing(struct failover_region *region, bool lazy, struct error *error) {
        int r = region_channel_init(&region->written, &region->source, region->source.epochs ? ".epoch" : "", 1);

        if (r < 0)
                return error_set(error, r, "out of memory");
        if (!lazy) {
                r = region_write_connect(region, error);
                if (r < 0 && r != -ETIMEDOUT && r != -ENOMEM && r != -ECONNREFUSED) {
                        error_prefix(error, "another one writes to it, or nobody may");
                        return error->code = -EBUSY;
                }
        }
        if (r == 0)
                r = region_write_start(region, error);
        return r < 0 || !region->source.reports ? r : region_report_start(region, error);
}

/* Who the other end is and how much there is, where that is not put off. */
static int meet(struct failover_region *region, bool lazy, struct error *error) {
        struct region_source *source = &region->source;
        int r = lazy ? 0 : region_source_resolve(source, source->deadline_usec, error);

        if (r == 0 && region_channel_init(&region->reading, source, "", READ_CONNECTIONS) < 0)
                r = error_set(error, -ENOMEM, "out of memory");
        if (r == 0 && !lazy)
                r = region_channel_make(&region->reading, source->deadline_usec, error);
        if (r < 0)
                return r;
        if (source->size_bytes == 0)
                source->size_bytes = region->reading.source.size_bytes = channel_size(region->reading.channel);
        region->size_bytes = source->size_bytes;
        return region->size_bytes > 0 ? 0 : error_set(error, -ERANGE, "its other end has no bytes");
}

static int region_open(struct failover_region *region, const char *name, const struct failover_region_options *options,
                       struct error *error) {
        bool lazy = options->flags & FAILOVER_REGION_LAZY;
        int r = region_source_find(name, options, &region->source, error);

        if (r < 0)
                return r;
        region->kind = region->source.kind;
        region->write = region->source.write;
        region->atomic = region->write && region->kind >= FAILOVER_REGION_REAL_TO_VIRTUAL && region->source.epochs;
        if (options->buffers > 0)
                return region_stream_open(region, options, error);
        r = meet(region, lazy, error);
        if (r == 0)
                r = map(region, error);
        if (r == 0)
                r = region->kind >= FAILOVER_REGION_REAL_TO_VIRTUAL ? make_real(region, options->flags, error)
                                                                    : make_virtual(region, options, error);
        if (r == 0 && region->write)
                r = open_for_writing(region, lazy, error);
        if (r == 0 && !region->write && mprotect(region->data, region->mapped_bytes, PROT_READ) < 0)
                r = error_set(error, -errno, "%s", strerror(errno));
        return r;
}

EXPORT int failover_region_open(const char *name, const struct failover_region_options *options,
                                failover_region **ret) {
        struct failover_region *region = name && ret ? region_new() : NULL;
        struct failover_region_options taken;
        struct error error = ERROR_INIT;
        int r;

        if (!region) {
                error_set(&error, name && ret ? -ENOMEM : -EINVAL, "%s",
                          name && ret ? "out of memory" : "no name, or no place for the region");
                return region_error_keep(&error, "region");
        }
        r = take_options(options, &taken, &error);
        if (r == 0)
                r = region_open(region, name, &taken, &error);
        if (r < 0) {
                (void) region_free(region);
                if (r != -ENOENT && r != -ETIMEDOUT) /* nobody has that name, or it is slow */
                        error.code = region_trouble_code(error.code);
                return region_error_keep(&error, "region \"%.64s\"", name);
        }
        *ret = region;
        return 0;
}

EXPORT int failover_region_close(failover_region *region) {
        struct error error = ERROR_INIT;
        char name[NAME_LEN];
        int r;

        if (!region)
                return 0;
        memcpy(name, region->source.name, NAME_LEN);
        if (region->pid != getpid()) {
                error_set(&error, -ECHILD, "is open in process %d, which alone can close it", (int) region->pid);
                return region_error_keep(&error, "region \"%s\"", name);
        }
        r = region_free(region);
        if (r == 0)
                return 0;
        error_set(&error, region_trouble_code(r), "what was stored last is not at the other end, and lost: %s",
                  strerror(-r));
        return region_error_keep(&error, "region \"%s\"", name);
}

EXPORT void *failover_region_data(failover_region *region) {
        return region->stream ? region_stream_data(region) : region->data;
}

EXPORT uint64_t failover_region_size(failover_region *region) {
        return region->size_bytes;
}

EXPORT int failover_region_atomic(failover_region *region) {
        return region->atomic;
}

/* A call's result, with its message. */
static int say(struct failover_region *region, int r, struct error *error) {
        return r < 0 ? region_error_keep(error, "region \"%s\"", region->source.name) : 0;
}

EXPORT int failover_region_flush(failover_region *region) {
        struct error error = ERROR_INIT;

        return region->writing ? say(region, region_write_flush(region, &error), &error) : 0;
}

EXPORT int failover_region_check(failover_region *region) {
        struct error error = ERROR_INIT;

        return say(region, region_check(region, &error), &error);
}

EXPORT int failover_region_prefetch(failover_region *region, uint64_t offset, uint64_t length) {
        uint64_t first = offset / REGION_PAGE_BYTES, last;
        struct error error = ERROR_INIT;

        if (offset > region->size_bytes || length > region->size_bytes - offset)
                return say(region, error_set(&error, -ERANGE, "has %llu bytes only",
                                             (unsigned long long) region->size_bytes), &error);
        if (length == 0 || !region->faulting)
                return 0;
        last = (offset + length - 1) / REGION_PAGE_BYTES;
        return say(region, region_fault_prefetch(region, first, last - first + 1, &error), &error);
}

/* A resident region that is only read. */
static int fill_anew(struct failover_region *region, struct error *error) {
        int r = region_channel_make(&region->reading, region->source.deadline_usec, error);

        if (r == 0 && mprotect(region->data, region->mapped_bytes, PROT_READ | PROT_WRITE) < 0)
                r = error_set(error, -errno, "%s", strerror(errno));
        if (r == 0) {
                r = region_fill(&region->reading, region->data, region->size_bytes, error);
                (void) mprotect(region->data, region->mapped_bytes, PROT_READ);
        }
        region_channel_drop(&region->reading);
        return r;
}

EXPORT int failover_region_refresh(failover_region *region) {
        struct error error = ERROR_INIT;

        if (region->faulting)
                return say(region, region_fault_refresh(region, &error), &error);
        return region->write || region->stream ? 0 : say(region, fill_anew(region, &error), &error);
}

EXPORT int failover_region_flip(failover_region *region) {
        struct error error = ERROR_INIT;

        return say(region, region_stream_flip(region, &error), &error);
}

EXPORT int failover_region_get_statistics(failover_region *region, struct failover_region_statistics *ret,
                                          size_t size) {
        struct failover_region_statistics statistics;

        pthread_mutex_lock(&region->lock);
        statistics = region->statistics;
        statistics.resident = region->table.n_present * REGION_PAGE_BYTES;
        statistics.dirty = region_dirty_bytes(region);
        statistics.channels = region->reading.n_made + region->written.n_made;
        pthread_mutex_unlock(&region->lock);
        memset(ret, 0, size);
        memcpy(ret, &statistics, size < sizeof(statistics) ? size : sizeof(statistics));
        return 0;
}
