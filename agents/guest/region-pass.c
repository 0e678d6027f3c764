/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/region-pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "agents/protocol/message.h"
#include "agents/protocol/region-list.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/whole.h"

int region_pass_open(const char *text) {
        _cleanup_close_ int fd = memfd_create(REGION_LIST_CREDENTIAL, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = whole_write(fd, text, strlen(text));
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        return steal_fd(&fd);
}

static int pass(int fd, const char *variable) {
        char number[16];

        snprintf(number, sizeof(number), "%d", fd);
        return fcntl(fd, F_SETFD, 0) < 0 || setenv(variable, number, 1) < 0 ? -errno : 0;
}

/* What the regions of a list need, of a program that will have fewer rights than the agent. */
struct needs {
        uint64_t lock_bytes; /* of those that are resident */
        bool faults;         /* of those that are not */
};

static struct needs needs_of(int fd) {
        char text[MESSAGE_LINE_MAX];
        ssize_t n = pread(fd, text, sizeof(text), 0);
        struct region_list list;
        struct needs needs = { 0 };

        if (n > 0 && region_list_decode(text, (size_t) n, &list, NULL) == 0) {
                for (size_t i = 0; i < list.n_entries; i++)
                        if (list.entries[i].kind >= REGION_KIND_RESIDENT)
                                needs.lock_bytes += list.entries[i].size_bytes;
                        else
                                needs.faults = true;
                region_list_deinit(&list);
        }
        explicit_bzero(text, sizeof(text));
        return needs;
}

/* As far as the agent may. */
static void raise_lock_limit(uint64_t bytes) {
        struct rlimit limit, old;

        if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
                return;
        old = limit;
        limit.rlim_cur += bytes;
        if (limit.rlim_max < limit.rlim_cur)
                limit.rlim_max = limit.rlim_cur;
        if (setrlimit(RLIMIT_MEMLOCK, &limit) == 0)
                return;
        old.rlim_cur = old.rlim_max;
        (void) setrlimit(RLIMIT_MEMLOCK, &old);
}

/* What cannot be had is no reason not to start the program: the library says what it lacks. */
static int pass_rights(int list_fd) {
        struct needs needs = needs_of(list_fd);
        int fd;

        if (needs.lock_bytes > 0)
                raise_lock_limit(needs.lock_bytes);
        fd = needs.faults ? open("/dev/userfaultfd", O_RDWR | O_CLOEXEC) : -1;
        return fd < 0 ? 0 : pass(fd, USERFAULTFD_VARIABLE);
}

int region_pass_inherit(int fd) {
        int r = pass(fd, REGION_LIST_VARIABLE);

        return r < 0 ? r : pass_rights(fd);
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
        r = fd < 0 ? -errno : whole_write(fd, text, strlen(text));
        if (r < 0 && fd >= 0)
                (void) unlink(path);
        return r;
}
