/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/records/evidence-dump.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/records/evidence.h"

#define ENTRIES_MAX 4096 /* looked at */

DEFINE_CLEANUP(DIR *, closedir)

static bool is_before(const struct timespec *a, const struct timespec *b) {
        return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec < b->tv_nsec);
}

/* Of the dumps below the directory: their number, and the path of the oldest one relative to it. */
static unsigned look_at_dumps(DIR *root, char *ret_oldest, size_t size) {
        struct timespec oldest = { 0 };
        struct dirent *entry;
        unsigned n = 0;

        rewinddir(root);
        for (unsigned i = 0; i < ENTRIES_MAX && (entry = readdir(root)); i++) {
                if (entry->d_name[0] == '.')
                        continue;
                for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                        char path[NAME_MAX + 16];
                        struct stat st;

                        snprintf(path, sizeof(path), "%s/core-%s", entry->d_name, side_to_string(side));
                        if (fstatat(dirfd(root), path, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                                continue;
                        if (++n > 1 && !is_before(&st.st_mtim, &oldest))
                                continue;
                        oldest = st.st_mtim;
                        snprintf(ret_oldest, size, "%s", path);
                }
        }
        return n;
}

static int remove_dumps(DIR *root, unsigned kept) {
        char oldest[NAME_MAX + 16];

        while (look_at_dumps(root, oldest, sizeof(oldest)) > kept)
                if (unlinkat(dirfd(root), oldest, 0) < 0)
                        return -errno;
        return 0;
}

int evidence_dump_prepare(const char *directory, const char *failover_id, enum side side, uint64_t bytes,
                          char **ret_path) {
        _cleanup_(closedirp) DIR *root = NULL;
        struct statvfs fs;
        int r;

        if (!evidence_id_is_valid(failover_id))
                return -EINVAL;
        if (mkdir(directory, 0700) < 0 && errno != EEXIST)
                return -errno;
        root = opendir(directory);
        if (!root)
                return -errno;
        r = remove_dumps(root, EVIDENCE_DUMPS_KEPT - 1);
        if (r < 0)
                return r;
        if (fstatvfs(dirfd(root), &fs) < 0)
                return -errno;
        if (fs.f_bavail * fs.f_frsize < bytes + EVIDENCE_DUMP_SPARE_BYTES)
                return -ENOSPC;
        if (mkdirat(dirfd(root), failover_id, 0700) < 0 && errno != EEXIST)
                return -errno;
        return asprintf(ret_path, "%s/%s/core-%s", directory, failover_id, side_to_string(side)) < 0 ? -ENOMEM : 0;
}
