/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/whole.h"

#include <errno.h>
#include <unistd.h>

/* What a call's answer means: how much was done, 0 to ask again, or a negative errno. */
static ssize_t done(ssize_t n) {
        if (n > 0)
                return n;
        if (n < 0 && errno == EINTR)
                return 0;
        return n < 0 ? -errno : -EIO;
}

int whole_write(int fd, const void *bytes, size_t n) {
        const char *at = bytes;

        while (n > 0) {
                ssize_t k = done(write(fd, at, n));

                if (k < 0)
                        return (int) k;
                at += k;
                n -= (size_t) k;
        }
        return 0;
}

int whole_pwrite(int fd, const void *bytes, uint64_t n, uint64_t offset) {
        const char *at = bytes;

        while (n > 0) {
                ssize_t k = done(pwrite(fd, at, n, (off_t) offset));

                if (k < 0)
                        return (int) k;
                at += k;
                n -= (uint64_t) k;
                offset += (uint64_t) k;
        }
        return 0;
}

int whole_pread(int fd, void *bytes, uint64_t n, uint64_t offset) {
        char *at = bytes;

        while (n > 0) {
                ssize_t k = done(pread(fd, at, n, (off_t) offset));

                if (k < 0)
                        return (int) k;
                at += k;
                n -= (uint64_t) k;
                offset += (uint64_t) k;
        }
        return 0;
}
