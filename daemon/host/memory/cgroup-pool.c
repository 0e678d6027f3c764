/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/cgroup-pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/memory/cgroup-limit.h"
#include "daemon/host/memory/cgroup-reclaim.h"
#include "daemon/host/process.h"

int cgroup_pool_find(const char *file, const char *name, char ret_path[CGROUP_PATH_LEN]) {
        char path[CGROUP_PATH_LEN];
        int r;

        r = cgroup_of_process(file, path);
        if (r < 0)
                return r;
        while (cgroup_parent(path) && path[0])
                if (strcmp(strrchr(path, '/') + 1, name) == 0) {
                        memcpy(ret_path, path, sizeof(path));
                        return 0;
                }
        return -EXDEV;
}

/* The lowest value on the way up is what counts. */
static int see(const char *root, const char *group, struct cgroup_pool *pool) {
        char path[CGROUP_PATH_LEN];
        uint64_t found;
        int r;

        snprintf(path, sizeof(path), "%s", group);
        r = cgroup_read(root, path, "memory.max", &pool->max_bytes);
        while (r >= 0 && cgroup_parent(path) && path[0]) {
                r = cgroup_read(root, path, "memory.max", &found);
                if (r >= 0 && found < pool->max_bytes) {
                        pool->max_bytes = found;
                        memcpy(pool->capped_by, path, sizeof(path));
                }
        }
        return r;
}

int cgroup_pool_limit(const char *root, const char *lock_path, const char *group, uint64_t bytes, int asker_fd,
                      struct cgroup_pool *ret) {
        _cleanup_close_ int held = -1;
        struct cgroup_pool pool = { 0 };
        int r;

        if (bytes != CGROUP_NO_LIMIT) {
                if (!cgroup_may_swap(root, group))
                        return -ENOSPC;
                cgroup_reclaim(root, group, bytes, asker_fd);
        }
        held = cgroup_lock(lock_path);
        if (held < 0)
                return held;
        if (cgroup_asker_is_gone(asker_fd))
                return -ECANCELED;
        r = cgroup_bearable(root, group, &bytes);
        if (r >= 0)
                r = cgroup_limit_give(root, group, CGROUP_LIMIT_HARD, cgroup_limit_round(bytes));
        if (r >= 0)
                r = see(root, group, &pool);
        if (r < 0)
                return r;
        pool.swap_left_bytes = cgroup_swap_left(root, group);
        if (cgroup_read(root, group, "memory.swap.current", &pool.swapped_bytes) < 0)
                pool.swapped_bytes = 0; /* the kernel counts none, as where it has none */
        snprintf(pool.group, sizeof(pool.group), "%s", group);
        *ret = pool;
        return 0;
}

int cgroup_pool_limit_process(const char *mountinfo, const char *lock_path, int pid, int pidfd, const char *name,
                              uint64_t bytes, int asker_fd, struct cgroup_pool *ret) {
        char root[CGROUP_PATH_LEN], file[32], group[CGROUP_PATH_LEN];
        int r;

        snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
        r = cgroup_find_root(mountinfo, root);
        if (r >= 0)
                r = cgroup_pool_find(file, name, group);
        if (r >= 0 && process_ended(pidfd))
                r = -ESRCH;
        return r < 0 ? r : cgroup_pool_limit(root, lock_path, group, bytes, asker_fd, ret);
}
