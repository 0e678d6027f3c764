/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define PREFIX "context-"
#define RANDOM "XXXXXX"
#define FILE_NAME "state"
#define SYSTEM_PARENT "/var/cache/failoverd"
#define KEPT_FREE_BYTES (64 * MIB) /* for everybody else on that file system */

static void closedirp(DIR **directory) {
        if (*directory)
                closedir(*directory);
}

static void remove_one(int parent_fd, const char *name, int fd) {
        (void) unlinkat(fd, FILE_NAME, 0);
        (void) unlinkat(parent_fd, name, AT_REMOVEDIR);
}

/* A directory that make_directory() has made. */
static bool is_ours(int fd, const char *name) {
        struct stat st;

        return strlen(name) == strlen(PREFIX RANDOM) && fstat(fd, &st) == 0 && st.st_uid == geteuid() &&
               (st.st_mode & 07777) == 0700;
}

/* Whoever has made one holds its lock for as long as it lives. */
static void sweep(const char *parent) {
        _cleanup_(closedirp) DIR *directory = opendir(parent);
        struct dirent *entry;

        while (directory && (entry = readdir(directory))) {
                _cleanup_close_ int fd = -1;

                if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
                        continue;
                fd = openat(dirfd(directory), entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (fd >= 0 && is_ours(fd, entry->d_name) && flock(fd, LOCK_EX | LOCK_NB) == 0)
                        remove_one(dirfd(directory), entry->d_name, fd);
        }
}

static int check_room(const char *parent, uint64_t bytes, struct error *error) {
        char needed[UNITS_TEXT_MAX], there[UNITS_TEXT_MAX];
        struct statvfs fs;
        uint64_t room;

        if (statvfs(parent, &fs) < 0)
                return error_set(error, -errno, "%s: %s", parent, strerror(errno));
        room = (uint64_t) fs.f_bavail * fs.f_frsize;
        if (room < KEPT_FREE_BYTES || room - KEPT_FREE_BYTES < bytes)
                return error_set(error, -ENOSPC, "%s has no room: the VM's state takes up to %s there for a while, and "
                                 "%s are free; make room, or name another directory with --spool", parent,
                                 size_format(needed, bytes / MIB * MIB), size_format(there, room / MIB * MIB));
        return 0;
}

/* The sweep of another program may take it before it is locked: then the next one. */
static int make_directory(const char *parent, struct context_spool *spool) {
        for (int i = 0; i < 10; i++) {
                _cleanup_free_ char *path = NULL;
                _cleanup_close_ int fd = -1;
                struct stat mine, there;

                if (asprintf(&path, "%s/" PREFIX RANDOM, parent) < 0)
                        return -ENOMEM;
                if (!mkdtemp(path))
                        return -errno;
                fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &mine) < 0 || stat(path, &there) < 0 ||
                    mine.st_ino != there.st_ino)
                        continue;
                spool->directory = steal_ptr(path);
                spool->directory_fd = steal_fd(&fd);
                return 0;
        }
        return -EAGAIN;
}

/* A directory on disk of the user's own. Its parent may not be there yet. */
static int default_parent(char **ret) {
        const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
        _cleanup_free_ char *parent = NULL;
        int n;

        if (geteuid() == 0) {
                *ret = strdup(SYSTEM_PARENT);
                return *ret ? 0 : -ENOMEM;
        }
        if ((!cache || *cache != '/') && (!home || *home != '/'))
                return -ENOENT;
        n = cache && *cache == '/' ? asprintf(&parent, "%s", cache) : asprintf(&parent, "%s/.cache", home);
        if (n < 0) {
                parent = NULL;
                return -ENOMEM;
        }
        (void) mkdir(parent, 0700); /* where this fails, who needs it says so */
        return asprintf(ret, "%s/failoverd", parent) < 0 ? -ENOMEM : 0;
}

int context_spool_default(char **ret_parent, char **ret_key) {
        char *parent = NULL, *key = NULL;
        int r = default_parent(&parent);

        if (r < 0)
                return r;
        if (asprintf(&key, "%s/context.key", parent) < 0) {
                free(parent);
                return -ENOMEM;
        }
        *ret_parent = parent;
        *ret_key = key;
        return 0;
}

int context_spool_open(const char *parent, uint64_t bytes, struct context_spool *ret, struct error *error) {
        struct context_spool spool = CONTEXT_SPOOL_INIT;
        int r;

        if (mkdir(parent, 0700) < 0 && errno != EEXIST)
                return error_set(error, -errno, "%s: %s", parent, strerror(errno));
        sweep(parent);
        r = check_room(parent, bytes, error);
        if (r < 0)
                return r;
        r = make_directory(parent, &spool);
        if (r == 0 && asprintf(&spool.path, "%s/" FILE_NAME, spool.directory) < 0) {
                spool.path = NULL;
                r = -ENOMEM;
        }
        if (r < 0) {
                context_spool_close(&spool);
                return error_set(error, r, "%s: %s", parent, strerror(-r));
        }
        *ret = spool;
        return 0;
}

void context_spool_close(struct context_spool *spool) {
        if (spool->directory_fd >= 0) {
                remove_one(AT_FDCWD, spool->directory, spool->directory_fd);
                (void) close(spool->directory_fd);
        }
        free(spool->directory);
        free(spool->path);
        *spool = CONTEXT_SPOOL_INIT;
}
