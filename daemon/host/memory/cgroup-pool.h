/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The pool's hard limit (N): `memory.max` of a group above all of the pool's VMs, so that what they have in memory
 * together stays within the pool however fast a guest touches. Whose pages go is decided by what each is protected for
 * (cgroup-memory.h).
 *
 * The kernel kills where a group cannot get below such a limit. So it is not given where its processes may not swap,
 * and what is above it is paged out before; the limit stays well above what remains, until that is less.
 *
 * May wait for the kernel, and for systemd, for seconds: for workers.
 */

#include "daemon/host/memory/cgroup.h"

struct cgroup_vm;

struct cgroup_pool {
        char group[CGROUP_PATH_LEN];
        uint64_t max_bytes;               /* in force, by it and all groups above; CGROUP_NO_LIMIT */
        char capped_by[CGROUP_PATH_LEN];  /* group above which has less than it; empty: none */
        uint64_t swapped_bytes;           /* what its processes have in the swap */
        uint64_t swap_left_bytes;         /* so much more they may have there; CGROUP_NO_LIMIT */
};

/* The group of this name above a process's one, out of `file` ("/proc/PID/cgroup"). -EXDEV: it is in none, or that is
 * its own; -ENOENT, -ESRCH: the process has ended; -EOPNOTSUPP. */
int cgroup_pool_find(const char *file, const char *name, char ret_path[CGROUP_PATH_LEN]);
/* Gives the group this limit, again and again if need be. CGROUP_NO_LIMIT: as it was before. -ENOSPC where it may not
 * swap; -EAGAIN, -EPERM and the like as cgroup_limit_give() and cgroup_lock(); -ECANCELED, and no limit, where the
 * asker (a connection, or -1) is gone meanwhile. */
int cgroup_pool_limit(const char *root, const char *lock_path, const char *group, uint64_t bytes, int asker_fd,
                      struct cgroup_pool *ret);
/* The same for the group of this `name` above a process, which `mountinfo` and `pidfd` find as in
 * cgroup_memory_share_process(). */
int cgroup_pool_limit_process(const char *mountinfo, const char *lock_path, int pid, int pidfd, const char *name,
                              uint64_t bytes, int asker_fd, struct cgroup_pool *ret);
