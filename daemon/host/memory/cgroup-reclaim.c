/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/cgroup-reclaim.h"

#include <poll.h>
#include <stdio.h>

#include "daemon/base/clock.h"
#include "daemon/base/units.h"

#define RECLAIM_USEC (4 * USEC_PER_SEC)
#define RECLAIM_BYTES (64 * MIB) /* in one request: what has come is seen in between */
#define ROOM_BYTES (64 * MIB) /* above what is in use, where that cannot be taken back */

bool cgroup_asker_is_gone(int fd) {
        struct pollfd asker = { .fd = fd };

        return fd >= 0 && poll(&asker, 1, 0) > 0 && (asker.revents & (POLLHUP | POLLERR));
}

bool cgroup_may_swap(const char *root, const char *group) {
        char path[CGROUP_PATH_LEN];
        uint64_t bytes;

        snprintf(path, sizeof(path), "%s", group);
        do
                if (cgroup_read(root, path, "memory.swap.max", &bytes) >= 0 && bytes < MIB)
                        return false;
        while (cgroup_parent(path) && path[0]);
        return true;
}

uint64_t cgroup_swap_left(const char *root, const char *group) {
        uint64_t current, limit, left = CGROUP_NO_LIMIT;
        char path[CGROUP_PATH_LEN];

        snprintf(path, sizeof(path), "%s", group);
        do
                if (cgroup_read(root, path, "memory.swap.max", &limit) >= 0 && limit != CGROUP_NO_LIMIT &&
                    cgroup_read(root, path, "memory.swap.current", &current) >= 0) {
                        limit = limit > current ? limit - current : 0;
                        left = limit < left ? limit : left;
                }
        while (cgroup_parent(path) && path[0]);
        return left;
}

void cgroup_reclaim(const char *root, const char *group, uint64_t high_bytes, int asker_fd) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + RECLAIM_USEC;
        uint64_t current = 0;

        while (cgroup_read(root, group, "memory.current", &current) >= 0 && current > high_bytes &&
               clock_usec(CLOCK_MONOTONIC) < until && !cgroup_asker_is_gone(asker_fd)) {
                uint64_t more = current - high_bytes < RECLAIM_BYTES ? current - high_bytes : RECLAIM_BYTES;

                if (cgroup_write(root, group, "memory.reclaim", more) < 0)
                        break;
        }
}

int cgroup_bearable(const char *root, const char *group, uint64_t *high_bytes) {
        uint64_t current, room;
        const char *unit;
        int r;

        if (*high_bytes == CGROUP_NO_LIMIT)
                return 0;
        r = cgroup_unit(root, group, &unit);
        if (r >= 0)
                r = cgroup_read(root, group, "memory.current", &current);
        if (r < 0)
                return r;
        room = current / 16 > ROOM_BYTES ? current / 16 : ROOM_BYTES;
        if (unit ? current + room > *high_bytes : current > *high_bytes + MIB)
                *high_bytes = current + room;
        return 0;
}
