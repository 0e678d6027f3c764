/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * VMs' shares of the host's memory while a region changes hands (N: two rights), in the kernel's own terms, where the
 * host has control groups of version 2: what a VM manages is protected, and an old user may have what it manages and as
 * much of the region as its manager has not touched yet. So it is the old user's memory that goes where memory is
 * short, and not the manager's. Which of its pages go is not the kernel's choice alone: those of the region are paged
 * out extent by extent (page-out.h), which control groups cannot be asked for.
 *
 * A thread of its own sets the shares, twice a second while something moves, protections before bounds, and gives them
 * back: a VM's when its last region has been handed over, and all when nothing is on its way, at the beginning (a
 * failoverd that crashed leaves them) and at the end. What could not be given back is tried again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/host/memory/pool-limit.h"

struct shares;
struct reclaim_region;

#define SHARES_TEXT_LEN 512

/* `helper_path`: socket of failoverd-helper, which does it; NULL: this process does, with the rights that it has,
 * and locks the file `lock_path` for it. `mountinfo`: "/proc/self/mountinfo". All are copied. -ENOMEM or another
 * errno. */
int shares_new(const char *helper_path, const char *lock_path, const char *mountinfo, struct shares **ret);
/* Gives back what was given, and waits for that at most a second. What is kept from then on has no effect. */
void shares_end(struct shares *shares);
/* A thread that is at work ends by itself. Takes NULL; returns NULL. */
struct shares *shares_free(struct shares *shares);

/* What a VM is to have while a region of its pair is on its way. */
struct shares_vm {
        int pair, pid;         /* of its QEMU; 0: not known, then it has no share yet */
        enum side side;
        char domain[NAME_LEN];
        uint64_t system_bytes;  /* its own: base memory, what it holds beside, QEMU's overhead */
        uint64_t managed_bytes; /* that, and all regions that it manages */
};

/* A VM is, and has, so much: before a region of it is kept, or where the pool has a limit, and again whenever that may
 * have changed. From any thread.
 * -ENOMEM. */
int shares_set_vm(struct shares *shares, const struct shares_vm *vm);
/* A region is on its way, and its manager has touched so much of it; again whenever that has changed. `able`: the old
 * user's pages have somewhere to go, so it may be bounded. From any thread. -ENOMEM. */
int shares_keep(struct shares *shares, const struct reclaim_region *region, uint64_t touched_bytes, bool able);
/* It has been handed over, or was undone. */
void shares_forget(struct shares *shares, int pair, int app);
/* The group with this name above the VMs that are told of gets this hard limit, from now on and until failoverd ends;
 * empty: none does. From any thread. */
void shares_set_pool(struct shares *shares, const char *group, uint64_t bytes);
/* That limit, where it is in force for all VMs, else 0; and for people, empty where none is wanted. `ret_swap_bytes`:
 * what the swap takes of the VMs (pool_limit_swap_bytes()); may be NULL. */
uint64_t shares_pool(struct shares *shares, char text[POOL_LIMIT_TEXT_LEN], uint64_t *ret_swap_bytes);
/* What is in force for a VM, for people; empty: nothing is on its way. */
void shares_describe(struct shares *shares, int pair, enum side side, char text[SHARES_TEXT_LEN]);
/* Does this host have what it takes? 0, -EOPNOTSUPP or another errno. */
int shares_possible(const struct shares *shares);
