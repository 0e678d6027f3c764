/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/label.h"
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

/* With FUA, what was saved is also flushed. */
static int whole(struct connection *connection, int r, uint32_t flags) {
        return r == 0 && flags & NBDKIT_FLAG_FUA ? space_flush(connection->space) : r;
}

/* Where an epoch of a mirror begins and ends. */
static bool is_turn(const struct space *space, uint32_t count, uint64_t offset) {
        return space->role == SPACE_MIRROR && count == LABEL_BYTES && offset == space_turn_offset(space);
}

static bool is_bundle(const struct space *space, uint64_t offset) {
        return space->role == SPACE_MIRROR && offset == mirror_bundle_offset(page_space_size(space->pages));
}

static int save(struct connection *connection, const void *buffer, uint32_t count, uint64_t offset) {
        if (connection->epochs)
                return space_epoch_write(connection->space, buffer, count, offset);
        if (is_turn(connection->space, count, offset))
                return space_hear_turn(connection->space, buffer);
        if (is_bundle(connection->space, offset))
                return space_write_bundle(connection->space, buffer, count);
        return space_write(connection->space, buffer, count, offset);
}

/* The page behind the end of a mirror. */
static bool is_label(const struct connection *connection, uint32_t count, uint64_t offset) {
        return count == LABEL_BYTES && offset == page_space_size(connection->space->pages);
}

/* All that a connection for reports takes. */
static int hear_report(struct connection *connection, const void *buffer, uint32_t count, uint64_t offset) {
        char client[REPORT_CLIENT_LEN];

        if (count != REGION_REPORT_BYTES || offset != 0)
                return -EINVAL;
        plugin_name_peer(client, sizeof(client));
        return report_hear(&connection->space->report, client, buffer, clock_usec(CLOCK_BOOTTIME));
}

int plugin_pread(void *handle, void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        struct connection *connection = handle;

        if (begin(connection, count) < 0)
                return -1;
        if (connection->reports)
                return done(connection, -EINVAL);
        if (is_label(connection, count, offset) && connection->space->role == SPACE_MIRROR) {
                space_read_label(connection->space, buffer);
                return done(connection, 0);
        }
        return done(connection, space_read(connection->space, buffer, count, offset));
}

/* What has been taken is in memory at once, here and, unless it is relaxed, at the mirror; a flush is for the disk. */
int plugin_pwrite(void *handle, const void *buffer, uint32_t count, uint64_t offset, uint32_t flags) {
        struct connection *connection = handle;

        if (!connection->reports && is_label(connection, count, offset)) {
                int r = space_hear_label(connection->space, &connection->grant, buffer);
                nbdkit_set_error(-r);
                return r < 0 ? -1 : 0;
        }
        if (begin(connection, count) < 0)
                return -1;
        if (connection->reports)
                return done(connection, hear_report(connection, buffer, count, offset));
        return done(connection, whole(connection, save(connection, buffer, count, offset), flags));
}

/* Trims and zeroes alike. */
int plugin_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags) {
        struct connection *connection = handle;

        if (begin(connection, 0) < 0)
                return -1;
        if (connection->reports)
                return done(connection, -EINVAL);
        if (connection->epochs)
                return done(connection, space_epoch_trim(connection->space, count, offset));
        return done(connection, whole(connection, space_trim(connection->space, count, offset), flags));
}

int plugin_flush(void *handle, uint32_t flags) {
        struct connection *connection = handle;

        if (begin(connection, 0) < 0)
                return -1;
        if (connection->reports)
                return done(connection, 0);
        return done(connection, connection->epochs ? space_epoch_flush(connection->space)
                                                   : space_flush(connection->space));
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
        if (connection->reports)
                return done(connection, -EINVAL);
        return done(connection, add_extents(connection->space, offset, offset + count, flags & NBDKIT_FLAG_REQ_ONE,
                                            extents));
}
