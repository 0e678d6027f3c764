/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/plugin.h"

#define EPOCH_SUFFIX ".epoch"
#define LOG_INTERVAL_USEC (60 * USEC_PER_SEC)

/* There is nothing to find out here: a name opens a space to whoever knows it. */
int plugin_list_exports(int readonly, int is_tls, struct nbdkit_exports *exports) {
        return 0;
}

const char *plugin_default_export(int readonly, int is_tls) {
        return "";
}

/* Once a minute at most, so that nobody fills the log who knocks at the door. */
static void refuse(int code, const char *reason) {
        static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
        static usec_t said_usec;
        static uint64_t unsaid;
        usec_t now = clock_usec(CLOCK_BOOTTIME);

        pthread_mutex_lock(&lock);
        if (said_usec == 0 || now - said_usec >= LOG_INTERVAL_USEC) {
                nbdkit_error("a client was refused: %s; %" PRIu64 " others since the last line like this", reason,
                             unsaid);
                said_usec = now;
                unsaid = 0;
        } else {
                unsaid++;
        }
        pthread_mutex_unlock(&lock);
        nbdkit_set_error(code);
}

static bool peer_is_local(void) {
        struct sockaddr_storage address = { 0 };
        socklen_t length = sizeof(address);

        return nbdkit_peer_name((struct sockaddr *) &address, &length) == 0 && address.ss_family == AF_UNIX;
}

void plugin_name_peer(char *ret, size_t size) {
        struct sockaddr_storage address = { 0 };
        socklen_t length = sizeof(address);
        char host[64], port[16];

        if (nbdkit_peer_name((struct sockaddr *) &address, &length) < 0)
                snprintf(ret, size, "a client");
        else if (address.ss_family == AF_UNIX)
                snprintf(ret, size, "process %" PRIi64, nbdkit_peer_pid());
        else if (getnameinfo((const struct sockaddr *) &address, length, host, sizeof(host), port, sizeof(port),
                             NI_NUMERICHOST | NI_NUMERICSERV) == 0)
                snprintf(ret, size, "%s port %s", host, port);
        else
                snprintf(ret, size, "a client over %s", address.ss_family == AF_VSOCK ? "vsock" : "the network");
}

/* The one writer of epochs. */
static int begin_epochs(struct connection *connection) {
        struct space *space = connection->space;
        char name[EPOCH_WRITER_LEN], text[2 * EPOCH_WRITER_LEN];
        int r = space_enter(space, connection->grant);

        if (r < 0)
                return r;
        plugin_name_peer(name, sizeof(name));
        r = space_epoch_begin(space, connection, name);
        connection->epochs = r == 0;
        if (r == -EBUSY && space_epoch_writer(space, name))
                snprintf(text, sizeof(text), "%s writes epochs already", name);
        else
                snprintf(text, sizeof(text), "it cannot write epochs: %s", strerror(-r));
        space_leave(space);
        if (r < 0)
                refuse(-r, text);
        return r;
}

/* The name of an export is a capability, with EPOCH_SUFFIX for a writer of epochs, or REGION_REPORT_SUFFIX. */
static void read_name(const char *export, char *ret_capability, struct connection *connection) {
        size_t length = strcspn(export, ".");

        connection->epochs = strcmp(export + length, EPOCH_SUFFIX) == 0;
        connection->reports = strcmp(export + length, REGION_REPORT_SUFFIX) == 0;
        if (!connection->epochs && !connection->reports)
                length = strlen(export);
        snprintf(ret_capability, CAPABILITY_LEN + 1, "%.*s", (int) length, export);
}

void *plugin_open(int readonly) {
        const char *name = nbdkit_export_name();
        char capability[CAPABILITY_LEN + 1]; /* one more, so that a longer one is none */
        struct connection *connection;
        uint64_t grant;
        int r;

        if (plugin.tls_required && nbdkit_is_tls() != 1 && !peer_is_local()) {
                refuse(EPERM, "it came over the network without TLS");
                return NULL;
        }
        connection = calloc(1, sizeof(*connection));
        if (connection && name)
                read_name(name, capability, connection);
        r = !connection || !name ? -ENOMEM
                                 : server_connect(plugin.server, capability, &connection->space, &grant,
                                                  &connection->looks);
        explicit_bzero(capability, sizeof(capability));
        if (r == 0) {
                connection->grant = grant;
                if (!connection->epochs && !connection->reports)
                        return connection;
                if (!connection->looks && (connection->reports || begin_epochs(connection) == 0))
                        return connection;
                server_disconnect(connection->space);
                free(connection);
                return NULL;
        }
        refuse(-r, r == -EACCES ? "it named no space that is open" : strerror(-r));
        free(connection);
        return NULL;
}

void plugin_close(void *handle) {
        struct connection *connection = handle;

        if (connection->epochs)
                space_epoch_end(connection->space, connection);
        server_disconnect(connection->space);
        free(connection);
}

/* All connections to a space see one truth, but what is staged. */
int plugin_can_multi_conn(void *handle) {
        const struct connection *connection = handle;

        return !connection->epochs;
}

/* A single save is no epoch. */
int plugin_can_fua(void *handle) {
        const struct connection *connection = handle;

        return connection->epochs ? NBDKIT_FUA_NONE : NBDKIT_FUA_NATIVE;
}

int plugin_can_write(void *handle) {
        const struct connection *connection = handle;

        return !connection->looks;
}

int64_t plugin_get_size(void *handle) {
        const struct connection *connection = handle;
        uint64_t size;

        if (connection->reports)
                return REGION_REPORT_BYTES;
        gate_enter(&connection->space->gate);
        size = space_size(connection->space);
        gate_leave(&connection->space->gate);
        return (int64_t) size;
}

int plugin_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum) {
        *minimum = 1;
        *preferred = PAGE_BYTES;
        *maximum = REQUEST_BYTES_MAX;
        return 0;
}
