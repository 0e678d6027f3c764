/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The pool's hard limit while failoverd runs (cgroup-pool.h): what is wanted, what is in force, and whether it holds
 * for every VM. Kept by whoever has the shares (shares.h), who does all that is asked of the kernel.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/host/memory/cgroup-pool.h"
#include "policy/policy.h"

#define POOL_LIMIT_TEXT_LEN 256

struct pool_limit {
        char group[NAME_LEN]; /* name of the group that is to have it; empty: none is */
        uint64_t bytes;
        usec_t next_usec;     /* looked at again then */
        bool known;           /* the rest is */
        int result;
        char outside[NAME_LEN]; /* a domain that is not in that group; empty: all are */
        struct cgroup_pool found;
};

/* What decides whether the kernel could get the group below a limit without a kill. */
struct pool_swap {
        uint64_t free_bytes;  /* on this host */
        uint64_t leant_bytes; /* old users may have so much of regions that moved: as much has to fit into the swap */
};

/* One VM that it is for. */
struct pool_limit_vm {
        int pid;
        char domain[NAME_LEN];
};

/* Has the kernel hold the pool to it now? */
bool pool_limit_holds(const struct pool_limit *limit);
/* The swap takes so much of what VMs have: what is there already, where the limit holds, so that somebody counts it,
 * and what is free: `free_bytes` on this host. */
uint64_t pool_limit_swap_bytes(const struct pool_limit *limit, uint64_t free_bytes);
/* For people; empty where none is wanted. */
void pool_limit_describe(const struct pool_limit *limit, char text[POOL_LIMIT_TEXT_LEN]);
/* Gives it to the group above the first of these VMs, and looks where the others are: what has come of that is in
 * `limit`. `helper_path`, `lock_path`, `mountinfo` as in shares_new(). Where `swap` does not
 * take what leans on it, and some more, the limit is taken away, since the kernel would kill for it. May take seconds:
 * for workers. */
void pool_limit_give(struct pool_limit *limit, const char *helper_path, const char *lock_path, const char *mountinfo,
                     const struct pool_limit_vm *vms, size_t n_vms, const struct pool_swap *swap);
