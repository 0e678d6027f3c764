/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/plugin.h"

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

void *plugin_open(int readonly) {
        const char *capability = nbdkit_export_name();
        struct connection *connection;
        uint64_t grant;
        int r;

        if (plugin.tls_required && nbdkit_is_tls() != 1 && !peer_is_local()) {
                refuse(EPERM, "it came over the network without TLS");
                return NULL;
        }
        connection = calloc(1, sizeof(*connection));
        r = connection && capability ? server_connect(plugin.server, capability, &connection->space, &grant) : -ENOMEM;
        if (r == 0) {
                connection->grant = grant;
                return connection;
        }
        refuse(-r, r == -EACCES ? "it named no space that is open" : strerror(-r));
        free(connection);
        return NULL;
}

void plugin_close(void *handle) {
        struct connection *connection = handle;

        server_disconnect(connection->space);
        free(connection);
}

int64_t plugin_get_size(void *handle) {
        const struct connection *connection = handle;
        uint64_t size;

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
