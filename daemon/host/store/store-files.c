/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"

int directory_prepare(const char *path) {
        struct stat st;

        if (mkdir(path, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (stat(path, &st) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int sync_parent(const char *path) {
        _cleanup_free_ char *copy = strdup(path);
        _cleanup_close_ int fd = -1;

        if (!copy)
                return -ENOMEM;
        fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int marker_write(const char *path, const char *text) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        size_t length = strlen(text);
        ssize_t n;

        if (fd < 0)
                return -errno;
        n = write(fd, text, length);
        if (n < 0)
                return -errno;
        if ((size_t) n != length)
                return -ENOSPC;
        if (fsync(fd) < 0)
                return -errno;
        return sync_parent(path);
}

int marker_read(const char *path, char *buffer, size_t size) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        ssize_t n;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        n = read(fd, buffer, size - 1);
        if (n < 0)
                return -errno;
        buffer[n] = 0;
        buffer[strcspn(buffer, "\n")] = 0;
        return 1;
}

int reserve_make(const char *path) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        int r;

        if (fd < 0)
                return -errno;
        r = posix_fallocate(fd, 0, RESERVE_BYTES);
        if (r != 0)
                (void) unlink(path); /* half a reserve would only take room */
        return -r;
}

int reserve_release(const char *path) {
        return unlink(path) < 0 ? -errno : 0;
}

int lock_take(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        return steal_fd(&fd);
}

int database_move(const char *from, const char *to) {
        static const char *const suffixes[] = { "", "-wal", "-shm" };

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                _cleanup_free_ char *source = NULL, *target = NULL;

                if (asprintf(&source, "%s%s", from, suffixes[i]) < 0)
                        return -ENOMEM;
                if (to && asprintf(&target, "%s%s", to, suffixes[i]) < 0)
                        return -ENOMEM;
                if ((target ? rename(source, target) : unlink(source)) < 0 && errno != ENOENT)
                        return -errno;
        }
        return 0;
}
