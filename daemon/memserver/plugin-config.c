/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/memserver/plugin-value.h"
#include "daemon/memserver/plugin.h"

#define MEMORY_MIN (16 * MIB)

const char plugin_config_help[] =
        "memory=SIZE            (required) memory for pages, such as 4GiB\n"
        "control=PATH           (required) control socket\n"
        "control-user=NAME      may ask there, beside root and the server's own user; may be repeated\n"
        "spill=PATH             file for pages that memory has no place for\n"
        "spill-size=SIZE        what it may grow to\n"
        "persist=DIRECTORY      where spaces lie that are to be on disk too\n"
        "client-quota=SIZE      what one client may hold, over all its spaces\n"
        "peer-psk=FILE          TLS keys to speak to other servers with\n"
        "peer-certificates=DIR  TLS certificates to speak to other servers with\n"
        "tls-required=yes|no    nobody without TLS, other than on unix sockets (default: yes)\n"
        "discovery=ADDR:PORT    where it answers who looks for memory by broadcast (UDP)\n"
        "arbitrator=ADDR:PORT   whom it announces itself to (UDP)\n"
        "discovery-key=FILE     that servers, clients and arbitrator share\n"
        "discovery-silent=yes|no  says nothing while it is not willing, instead of saying so (default: no)\n"
        "lock=yes|no            keep pages in memory (default: yes)";

static int add_user(const char *name) {
        const struct passwd *user = getpwnam(name);

        if (!user) {
                nbdkit_error("control-user=%s: there is no such user", name);
                return -1;
        }
        if (plugin.n_users == CONTROL_USERS_MAX) {
                nbdkit_error("control-user=%s: %d users are the most", name, CONTROL_USERS_MAX);
                return -1;
        }
        plugin.users[plugin.n_users++] = user->pw_uid;
        return 0;
}

int plugin_config(const char *key, const char *value) {
        if (strcmp(key, "memory") == 0)
                return plugin_value_size(key, value, &plugin.options.memory_bytes);
        if (strcmp(key, "spill-size") == 0)
                return plugin_value_size(key, value, &plugin.options.spill_bytes);
        if (strcmp(key, "client-quota") == 0)
                return plugin_value_size(key, value, &plugin.options.client_quota_bytes);
        if (strcmp(key, "spill") == 0)
                return plugin_value_path(value, &plugin.spill_path);
        if (strcmp(key, "persist") == 0)
                return plugin_value_path(value, &plugin.persist_path);
        if (strcmp(key, "control") == 0)
                return plugin_value_path(value, &plugin.control_path);
        if (strcmp(key, "peer-psk") == 0)
                return plugin_value_path(value, &plugin.peer_psk);
        if (strcmp(key, "peer-certificates") == 0)
                return plugin_value_path(value, &plugin.peer_certificates);
        if (strcmp(key, "control-user") == 0)
                return add_user(value);
        if (strcmp(key, "tls-required") == 0)
                return plugin_value_bool(value, &plugin.tls_required);
        if (strcmp(key, "lock") == 0)
                return plugin_value_bool(value, &plugin.lock);
        return plugin_discovery_config(key, value);
}

/* A server must not promise what the host does not have. */
static int check_memory(void) {
        uint64_t host_bytes = (uint64_t) sysconf(_SC_PHYS_PAGES) * (uint64_t) sysconf(_SC_PAGESIZE);
        char wanted[UNITS_TEXT_MAX], there[UNITS_TEXT_MAX];

        if (plugin.options.memory_bytes < MEMORY_MIN) {
                nbdkit_error("memory= is missing, or below %s", size_format(wanted, MEMORY_MIN));
                return -1;
        }
        if (plugin.options.memory_bytes > host_bytes) {
                nbdkit_error("memory=%s: the host has %s", size_format(wanted, plugin.options.memory_bytes),
                             size_format(there, host_bytes));
                return -1;
        }
        return 0;
}

int plugin_config_complete(void) {
        if (check_memory() < 0)
                return -1;
        if (!plugin.control_path) {
                nbdkit_error("control= is missing: the path of the control socket");
                return -1;
        }
        if ((plugin.spill_path == NULL) != (plugin.options.spill_bytes == 0)) {
                nbdkit_error("spill= and spill-size= go together");
                return -1;
        }
        plugin.options.spill_path = plugin.spill_path;
        plugin.options.persist_path = plugin.persist_path;
        plugin.options.peer = (struct server_peer) { plugin.peer_psk, plugin.peer_certificates, plugin.tls_required };
        return 0;
}
