/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-daemon.h>

#include "daemon/memserver/thread-model.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

struct plugin plugin = { .tls_required = true, .lock = true };

/* Before nbdkit forks: what fails here is said to whoever started it. */
static int get_ready(void) {
        struct error error = ERROR_INIT;
        int r;

        plugin.options.tell = plugin_tell;
        r = server_new(&plugin.options, &plugin.server, &error);
        if (r < 0)
                nbdkit_error("%s", error_text(&error));
        else if (error.code < 0)
                fprintf(stderr, "<4>%s, ignoring\n", error_text(&error));
        error_deinit(&error);
        return r < 0 ? -1 : 0;
}

/* In the process that serves: locks and threads do not survive a fork. */
static int after_fork(void) {
        struct error error = ERROR_INIT;
        int r;

        if (plugin.lock && mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
                fprintf(stderr, "<4>pages may be paged out, since they cannot be locked in memory: %s: raise the limit "
                        "(LimitMEMLOCK=), ignoring\n", strerror(errno));
        r = control_new(plugin.server, plugin.control_path, plugin.users, plugin.n_users, &plugin.control, &error);
        if (r < 0)
                nbdkit_error("control socket %s", error_text(&error));
        else if ((r = plugin_discovery_start(&error)) < 0)
                nbdkit_error("discovery: %s", error_text(&error));
        else
                (void) sd_notify(0, "READY=1");
        error_deinit(&error);
        return r < 0 ? -1 : 0;
}

/* No connection is served any more. */
static void cleanup(void) {
        plugin_discovery_end();
        if (plugin.control)
                plugin.control = control_free(plugin.control);
}

static void unload(void) {
        if (plugin.server)
                plugin.server = server_free(plugin.server);
        free(plugin.spill_path);
        free(plugin.control_path);
        free(plugin.persist_path);
        free(plugin.peer_psk);
        free(plugin.peer_certificates);
}

/* A zeroed page is a dropped one, and what was dropped reads as zeroes. */
static int can_fast_zero(void *handle) {
        return 1;
}

static int thread_model(void) {
        return nbdkit_thread_model_here();
}

static struct nbdkit_plugin nbdkit_plugin = {
        .name = "failover-memserver",
        .longname = "memory server of failoverd",
        .version = PROJECT_VERSION,
        .description = "Keeps the memory pages of clients whose own memory does not suffice",
        .config = plugin_config,
        .config_complete = plugin_config_complete,
        .config_help = plugin_config_help,
        .thread_model = thread_model,
        .get_ready = get_ready,
        .after_fork = after_fork,
        .cleanup = cleanup,
        .unload = unload,
        .list_exports = plugin_list_exports,
        .default_export = plugin_default_export,
        .open = plugin_open,
        .close = plugin_close,
        .get_size = plugin_get_size,
        .block_size = plugin_block_size,
        .can_fast_zero = can_fast_zero,
        .can_multi_conn = plugin_can_multi_conn,
        .can_fua = plugin_can_fua,
        .can_write = plugin_can_write,
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
