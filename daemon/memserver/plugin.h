/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The nbdkit plugin, one file for each of nbdkit's concerns: its life (plugin.c), its parameters (plugin-config.c), its
 * log (plugin-journal.c), its connections (plugin-connection.c) and their requests (plugin-request.c). */

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <stdbool.h>

#include "daemon/memserver/control.h"
#include "daemon/memserver/server.h"

#define REQUEST_BYTES_MAX (32 * MIB)

/* nbdkit knows one plugin a process. */
struct plugin {
        struct server_options options;
        char *spill_path;
        char *control_path;
        char *persist_path;
        char *peer_psk, *peer_certificates;
        uid_t users[CONTROL_USERS_MAX];
        size_t n_users;
        bool tls_required; /* on every connection, in or out, that is not a unix socket's */
        bool lock;         /* keep pages in memory */
        struct server *server;
        struct control *control;
};
extern struct plugin plugin;

/* A connection: of one space, under one grant. */
struct connection {
        struct space *space;
        _Atomic uint64_t grant;
        bool epochs;  /* its saves are staged until it flushes (epoch.h) */
        bool reports; /* what its saves tell is told (report.h); it reaches no page */
        bool looks;   /* it may read alone */
};

/* Puts an event into the journal, or on standard error where there is none. */
void plugin_tell(const struct event *event);

int plugin_config(const char *key, const char *value);
int plugin_config_complete(void);
extern const char plugin_config_help[];

/* plugin-discovery.c: parameters that plugin_config() does not know; the thread that answers and announces, after the
 * fork, where there is anything to do; and its end. */
int plugin_discovery_config(const char *key, const char *value);
int plugin_discovery_start(struct error *error);
void plugin_discovery_end(void);

/* Who is at the other end, for the log and the control socket. */
void plugin_name_peer(char *ret, size_t size);
int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports);
const char *plugin_default_export(int readonly, int is_tls);
void *plugin_open(int readonly);
void plugin_close(void *handle);
int plugin_can_multi_conn(void *handle);
int plugin_can_fua(void *handle);
int plugin_can_write(void *handle);
int64_t plugin_get_size(void *handle);
int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum);

int plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags);
int plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags);
int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags);
int plugin_flush(void *handle, uint32_t flags);
int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents);
