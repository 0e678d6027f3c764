/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/whole.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

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

int whole_read_text(const char *path, size_t max, char **ret_text, size_t *ret_n) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        size_t n = 0;
        ssize_t k;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size > (off_t) max)
                return -EBADMSG;
        text = malloc(max + 1);
        if (!text)
                return -ENOMEM;
        do {
                k = read(fd, text + n, max - n);
                if (k < 0 && errno != EINTR)
                        return -errno;
                n += k > 0 ? (size_t) k : 0;
        } while (k != 0 && n < max);
        text[n] = 0;
        *ret_text = steal_ptr(text);
        *ret_n = n;
        return 0;
}

int whole_replace(const char *path, const void *bytes, size_t n, mode_t mode, bool synced) {
        _cleanup_close_ int fd = -1;
        char aside[PATH_MAX];
        int r;

        if ((size_t) snprintf(aside, sizeof(aside), "%s.new", path) >= sizeof(aside))
                return -ENAMETOOLONG;
        fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;
        r = whole_write(fd, bytes, n);
        if (r < 0)
                return r;
        if (synced && fsync(fd) < 0)
                return -errno;
        return rename(aside, path) < 0 ? -errno : 0;
}
