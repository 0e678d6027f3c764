/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/region-pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "agents/protocol/region-list.h"
#include "daemon/base/cleanup.h"

static int write_all(int fd, const char *text) {
        size_t left = strlen(text);

        while (left > 0) {
                ssize_t n = write(fd, text, left);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                text += n;
                left -= (size_t) n;
        }
        return 0;
}

int region_pass_open(const char *text) {
        _cleanup_close_ int fd = memfd_create(REGION_LIST_CREDENTIAL, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, text);
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        return steal_fd(&fd);
}

int region_pass_inherit(int fd) {
        char number[16];

        snprintf(number, sizeof(number), "%d", fd);
        if (fcntl(fd, F_SETFD, 0) < 0 || setenv(REGION_LIST_VARIABLE, number, 1) < 0)
                return -errno;
        return 0;
}

int region_pass_write(const char *run_dir, const char *app, const char *text) {
        _cleanup_close_ int fd = -1;
        char path[PATH_LENGTH];
        int r;

        if ((size_t) snprintf(path, sizeof(path), "%s/%s.regions", run_dir, app) >= sizeof(path))
                return -ENAMETOOLONG;
        if (unlink(path) < 0 && errno != ENOENT)
                return -errno;
        if (!text)
                return 0;
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        r = fd < 0 ? -errno : write_all(fd, text);
        if (r < 0 && fd >= 0)
                (void) unlink(path);
        return r;
}
