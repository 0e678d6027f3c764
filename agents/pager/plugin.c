/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The pager as an nbdkit plugin: a disk that QEMU attaches and a guest swaps to. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-daemon.h>

#include "agents/pager/plugin.h"
#include "daemon/memserver/thread-model.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct spread *spread;

/* Before there is a socket, so that a socket without the lock is one that was left behind. */
static int get_ready(void) {
        return plugin_alive_path ? plugin_lock_alive(plugin_alive_path) : 0;
}

/* In the process that serves, since threads do not survive a fork. */
static int after_fork(void) {
        struct error error = ERROR_INIT;
        int r;

        if (plugin_lock && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                fprintf(stderr, "<4>the pager may be paged out, since it cannot be locked in memory: %s: raise the "
                        "limit (LimitMEMLOCK=), ignoring\n", strerror(errno));
        r = spread_new(&plugin_options, &spread, &error);
        if (r < 0)
                nbdkit_error("%s", error_text(&error));
        else
                (void) sd_notify(0, "READY=1");
        error_deinit(&error);
        return r < 0 ? -1 : 0;
}

/* No connection is served any more. */
static void cleanup(void) {
        if (spread)
                spread = spread_free(spread);
}

static int thread_model(void) {
        return nbdkit_thread_model_here();
}

static void *plugin_open(int readonly) {
        spread_count_client(spread, 1);
        return NBDKIT_HANDLE_NOT_NEEDED;
}

static void plugin_close(void *handle) {
        spread_count_client(spread, -1);
}

static int64_t get_size(void *handle) {
        return (int64_t) plugin_options.pager.size_bytes;
}

static int block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum) {
        *minimum = 1;
        *preferred = PAGE_BYTES;
        *maximum = 32 * MIB;
        return 0;
}

static int can_fast_zero(void *handle) {
        return 1;
}

static int can_multi_conn(void *handle) {
        return 1;
}

static int can_fua(void *handle) {
        return NBDKIT_FUA_EMULATE;
}

static int done(int r) {
        if (r >= 0)
                return 0;
        nbdkit_set_error(-r);
        return -1;
}

static int plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        return done(spread_read(spread, buffer, count, offset));
}

static int plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        return done(spread_write(spread, buffer, count, offset));
}

/* A page that is trimmed or zeroed is nowhere, and what is nowhere reads as zeroes. */
static int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
        return done(spread_trim(spread, count, offset));
}

static int plugin_flush(void *handle, uint32_t flags) {
        return done(spread_flush(spread));
}

static int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags,
                          struct nbdkit_extents *extents) {
        uint64_t end = offset + count, length;

        do {
                bool anywhere = spread_extent(spread, end - offset, offset, &length);
                if (nbdkit_add_extent(extents, offset, length,
                                      anywhere ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
                        return -1;
                offset += length;
        } while (offset < end && !(flags & NBDKIT_FLAG_REQ_ONE));
        return 0;
}

static struct nbdkit_plugin nbdkit_plugin = {
        .name = "failover-pager",
        .longname = "pager of failoverd",
        .version = PROJECT_VERSION,
        .description = "A disk whose pages are on memory servers, mirrored",
        .config = plugin_config,
        .config_complete = plugin_config_complete,
        .config_help = plugin_config_help,
        .thread_model = thread_model,
        .get_ready = get_ready,
        .after_fork = after_fork,
        .cleanup = cleanup,
        .unload = plugin_config_free,
        .open = plugin_open,
        .close = plugin_close,
        .get_size = get_size,
        .block_size = block_size,
        .can_fast_zero = can_fast_zero,
        .can_multi_conn = can_multi_conn,
        .can_fua = can_fua,
        .pread = plugin_pread,
        .pwrite = plugin_pwrite,
        .trim = plugin_trim,
        .zero = plugin_trim,
        .flush = plugin_flush,
        .extents = plugin_extents,
        .errno_is_preserved = 0,
};

struct nbdkit_plugin *plugin_init(void); /* which this defines */
NBDKIT_REGISTER_PLUGIN(nbdkit_plugin)
