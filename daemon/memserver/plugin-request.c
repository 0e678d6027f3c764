/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/memserver/plugin.h"

/* Enters the space for one request; done() ends it. */
static int begin(struct connection *connection, uint32_t count) {
        int r = count > REQUEST_BYTES_MAX ? -EINVAL : space_enter(connection->space, connection->grant);

        if (r == 0)
                return 0;
        nbdkit_set_error(-r);
        return -1;
}

static int done(struct connection *connection, int r) {
        space_leave(connection->space);
        if (r >= 0)
                return 0;
        nbdkit_set_error(-r);
        return -1;
}

int plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        struct connection *connection = handle;

        if (begin(connection, count) < 0)
                return -1;
        return done(connection, space_read(connection->space, buffer, count, offset));
}

/* What has been taken is in memory at once; there is nothing more that FUA or a flush could ask for. */
int plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        struct connection *connection = handle;

        if (begin(connection, count) < 0)
                return -1;
        return done(connection, space_write(connection->space, buffer, count, offset));
}

/* Trims and zeroes alike. */
int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
        struct connection *connection = handle;

        if (begin(connection, 0) < 0)
                return -1;
        return done(connection, space_trim(connection->space, count, offset));
}

int plugin_flush(void *handle, uint32_t flags) {
        struct connection *connection = handle;

        return begin(connection, 0) < 0 ? -1 : done(connection, 0);
}

static int add_extents(struct space *space, uint64_t at, uint64_t end, bool one, struct nbdkit_extents *extents) {
        do {
                uint64_t length;
                int stored = space_extent(space, end - at, at, &length);

                if (stored < 0)
                        return stored;
                if (nbdkit_add_extent(extents, at, length, stored ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO) < 0)
                        return -ENOMEM;
                at += length;
        } while (at < end && !one);
        return 0;
}

int plugin_extents(void *handle, uint32_t count, uint64_t offset, uint32_t flags, struct nbdkit_extents *extents) {
        struct connection *connection = handle;

        if (begin(connection, 0) < 0)
                return -1;
        return done(connection, add_extents(connection->space, offset, offset + count, flags & NBDKIT_FLAG_REQ_ONE,
                                            extents));
}
