/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/region-stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agents/region/share-header.h"
#include "agents/region/window.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

struct stream {
        int fd;
        struct window window;
        pthread_t thread;
        bool started, stopping;
        uint64_t shown;  /* block in the window; before the first flip the one before it */
        uint64_t filled; /* the next block to come; those before it, after `shown`, are here */
        bool ended;
};

/* Waits, at the other end, for the block, which also says that those before it have been received. -ENOSPC: not yet. */
static int ask_for_block(struct failover_region *region, uint64_t block) {
        char first;

        return channel_call(region->reading.channel, PEER_READ, &first, 1, block * region->size_bytes);
}

static int read_block(struct failover_region *region, uint64_t block) {
        struct error error = ERROR_INIT;
        int r = region_channel_make(&region->reading, region->source.deadline_usec, &error);

        error_deinit(&error);
        if (r == 0)
                r = ask_for_block(region, block);
        if (r == 0)
                r = channel_call(region->reading.channel, PEER_READ, window_buffer(&region->stream->window, block),
                                 region->size_bytes, block * region->size_bytes);
        return r;
}

/* Fills what is free, one block after the other. */
static void *stream_run(void *userdata) {
        struct failover_region *region = userdata;
        struct stream *stream = region->stream;

        pthread_mutex_lock(&region->lock);
        while (!stream->stopping && !stream->ended) {
                uint64_t block = stream->filled;
                int r;

                if (block - stream->shown >= stream->window.n_buffers) {
                        condition_wait(&region->to_write, &region->lock, USEC_PER_SEC);
                        continue;
                }
                pthread_mutex_unlock(&region->lock);
                r = read_block(region, block);
                pthread_mutex_lock(&region->lock);
                stream->ended = r == -ESHUTDOWN;
                stream->filled += r == 0;
                region->statistics.fetched += r == 0 ? region->size_bytes : 0;
                pthread_cond_broadcast(&region->changed);
                if (r < 0 && r != -ENOSPC && !stream->stopping && !stream->ended)
                        condition_wait(&region->to_write, &region->lock, RETRY_MIN_USEC);
        }
        pthread_mutex_unlock(&region->lock);
        region_channel_drop(&region->reading); /* so that a writer sees that its reader has all */
        return NULL;
}

/* Where the stream is now, and how large its blocks are. */
static int meet(struct failover_region *region, struct share_state *ret, struct error *error) {
        int r = region_channel_init(&region->reading, &region->source, "", 1);

        if (r < 0)
                return error_set(error, r, "out of memory");
        region->reading.source.size_bytes = 0;
        r = region_channel_make(&region->reading, region->source.deadline_usec, error);
        if (r < 0)
                return r;
        if (channel_size(region->reading.channel) != SHARE_STREAM_BYTES)
                return error_set(error, -EINVAL, "its other end is no stream");
        r = channel_call(region->reading.channel, PEER_READ, ret, sizeof(*ret),
                         SHARE_STREAM_BYTES - SHARE_HEADER_BYTES);
        if (r < 0)
                return error_set(error, r, "asking where the stream is: %s", strerror(-r));
        if (ret->size_bytes == 0 || ret->size_bytes > REGION_SIZE_MAX ||
            (region->source.size_bytes > 0 && region->source.size_bytes != ret->size_bytes))
                return error_set(error, -ERANGE, "its blocks have %llu bytes", (unsigned long long) ret->size_bytes);
        return 0;
}

int region_stream_open(struct failover_region *region, const struct failover_region_options *options,
                       struct error *error) {
        struct share_state state;
        struct stream *stream;
        uint64_t stride;
        int r = meet(region, &state, error);

        if (r < 0)
                return r;
        region->size_bytes = state.size_bytes;
        stride = (state.size_bytes + REGION_PAGE_BYTES - 1) / REGION_PAGE_BYTES * REGION_PAGE_BYTES;
        stream = region->stream = calloc(1, sizeof(*stream));
        if (!stream)
                return error_set(error, -ENOMEM, "out of memory");
        stream->filled = state.consumed;
        stream->shown = state.consumed - 1;
        stream->fd = memfd_create("failover-stream", MFD_CLOEXEC);
        if (stream->fd < 0 || ftruncate(stream->fd, (off_t) (stride * options->buffers)) < 0)
                return error_set(error, -errno, "memory for the buffers: %s", strerror(errno));
        r = window_init(&stream->window, stream->fd, 0, stride, options->buffers, PROT_READ);
        if (r < 0)
                return error_set(error, r, "mapping the buffers: %s", strerror(-r));
        if (mlock(stream->window.buffers, stride * options->buffers) < 0 &&
            !(options->flags & FAILOVER_REGION_UNLOCKED))
                return error_set(error, -EPERM, "%llu bytes cannot be locked in memory: %s: raise the limit "
                                 "(LimitMEMLOCK=, ulimit -l)", (unsigned long long) stride * options->buffers,
                                 strerror(errno));
        r = thread_start_joined(stream_run, region, &stream->thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        stream->started = true;
        return 0;
}

/* Waits for the block after the one in the window. With the lock held. */
static int wait_for_next(struct failover_region *region, struct error *error) {
        struct stream *stream = region->stream;
        usec_t until = clock_usec(CLOCK_MONOTONIC) + region->source.deadline_usec, now;

        region->statistics.stalls += stream->filled == stream->shown + 1;
        while (stream->filled == stream->shown + 1) {
                now = clock_usec(CLOCK_MONOTONIC);
                if (stream->ended)
                        return error_set(error, -EPIPE, "the stream has ended");
                if (now >= until)
                        return error_set(error, -ETIMEDOUT, "no block came within the deadline");
                condition_wait(&region->changed, &region->lock, until - now);
        }
        return 0;
}

int region_stream_flip(struct failover_region *region, struct error *error) {
        int r;

        if (!region->stream)
                return error_set(error, -EINVAL, "it is no stream");
        pthread_mutex_lock(&region->lock);
        r = wait_for_next(region, error);
        if (r == 0) {
                r = window_show(&region->stream->window, region->stream->shown + 1, PROT_READ);
                if (r < 0)
                        error_set(error, r, "mapping the next block: %s", strerror(-r));
        }
        if (r == 0) {
                region->stream->shown++;
                region->statistics.blocks++;
                pthread_cond_broadcast(&region->to_write);
        }
        pthread_mutex_unlock(&region->lock);
        return r;
}

void *region_stream_data(struct failover_region *region) {
        return region->stream->window.data;
}

void region_stream_free(struct failover_region *region) {
        struct stream *stream = region->stream;

        if (!stream)
                return;
        if (stream->started) {
                pthread_mutex_lock(&region->lock);
                stream->stopping = true;
                pthread_cond_broadcast(&region->to_write);
                pthread_mutex_unlock(&region->lock);
                (void) pthread_join(stream->thread, NULL);
        }
        window_deinit(&stream->window);
        if (stream->fd >= 0)
                (void) close(stream->fd);
        free(stream);
        region->stream = NULL;
}
