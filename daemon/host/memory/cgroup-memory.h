/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A VM's share of memory, as its control group tells the kernel: `memory.min` and `memory.low` protect what it manages,
 * `memory.high` bounds what it may still have of what it manages no more, and `memory.reclaim` takes back what is
 * above.
 *
 * Protection counts only as far as every group above has it too: it is set up the tree, and looked at. What is changed
 * is noted in each group, and given back (cgroup-limit.h).
 *
 * All of this may wait for the kernel, and for systemd, for seconds: for workers.
 */

#include "daemon/host/memory/cgroup.h"

/* Where a VM's memory is counted. */
struct cgroup_vm {
        char leaf[CGROUP_PATH_LEN];  /* the group that its pages are charged to */
        char group[CGROUP_PATH_LEN]; /* the one that is this VM's alone: its scope, or `leaf` */
};

struct cgroup_share {
        uint64_t min_bytes, low_bytes; /* protected: in any case; as long as others have something to give */
        uint64_t high_bytes;           /* at most; CGROUP_NO_LIMIT */
};

/* What came of it. */
struct cgroup_finding {
        char group[CGROUP_PATH_LEN];
        uint64_t low_bytes, high_bytes;    /* in force */
        char capped_by[CGROUP_PATH_LEN];   /* group above that keeps `low_bytes` from being as wanted; empty: none */
        char bounded_by[CGROUP_PATH_LEN];  /* nearest group above with a memory.max; empty: none */
        uint64_t max_bytes;                /* that limit */
};

/* The groups of the process with this directory in /proc. -EOPNOTSUPP: it is in none with the memory controller;
 * -EBUSY: it shares its group with other processes, or groups of others count there. */
int cgroup_memory_find(const char *root, const char *directory, struct cgroup_vm *ret);
/* A share that is asked for by another process: -ERANGE where it makes no sense. No more is protected than the process
 * with this `directory` in /proc has mapped and a GiB beside. */
int cgroup_share_check(const char *directory, struct cgroup_share *share);
/* Gives a VM this share, again and again if need be. What is above its limit is paged out first, for some seconds at
 * most; the limit stays well above what remains, and there is none where groups may not swap. Values are rounded up to
 * MiB. Returns 0, also where a group above cannot be changed; -EOPNOTSUPP where notes cannot be kept; -EAGAIN where
 * another process has been at work on the tree for seconds; -EPERM and the like for the VM's own group. `lock_path`: a
 * file for that, which is made; -EPERM where others than this process's user could open it. `asker_fd`:
 * connection of who wants it, or -1; -ECANCELED, and no limit, where that is closed meanwhile. */
int cgroup_memory_share(const char *root, const char *lock_path, const struct cgroup_vm *vm,
                        const struct cgroup_share *share, int asker_fd, struct cgroup_finding *ret);
/* The same for a process, found by `mountinfo` and held by `pidfd`: its group is the process's for as long as that
 * lives, since one that ends takes its group along, so that nobody else's is given anything. -ESRCH where it has ended;
 * and what cgroup_find_root() and cgroup_memory_find() return. */
int cgroup_memory_share_process(const char *mountinfo, const char *lock_path, int pid, int pidfd,
                                const struct cgroup_share *share, int asker_fd, struct cgroup_finding *ret);
/* Brings every group back to what it had before, but for the hard limit of a pool (cgroup-pool.h) unless that is to go,
 * too. Returns how many there were, or a negative errno; what could not be brought back keeps its note. */
int cgroup_memory_give_back(const char *root, const char *lock_path, bool hard);
