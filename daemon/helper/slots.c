/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/helper/slots.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

/* Which bytes are whose. Shares and their return are one work: one waits for the other anyway. */
static const struct {
        off_t first, n;
} slots[HELPER_OP_MAX] = {
        [HELPER_SHARE] = { 0, 1 },
        [HELPER_GIVE_BACK] = { 0, 1 },
        [HELPER_LIMIT] = { 0, 1 },
        [HELPER_PAGE_OUT] = { 1, 2 },
        [HELPER_LOOK] = { 3, SLOTS_MAX - 3 },
};

int slots_open(void) {
        int fd = memfd_create("slots", MFD_CLOEXEC);

        return fd < 0 ? -errno : fd;
}

int slots_take(int fd, enum helper_op op) {
        for (off_t i = 0; i < slots[op].n; i++) {
                struct flock slot = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slots[op].first + i,
                                      .l_len = 1 };

                if (fcntl(fd, F_SETLK, &slot) == 0)
                        return 0;
                if (errno != EAGAIN && errno != EACCES)
                        return -errno;
        }
        return slots[op].n > 0 ? -EAGAIN : 0;
}
