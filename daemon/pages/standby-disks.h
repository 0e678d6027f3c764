/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The disk files of a VM that stands alone, which its checkpoints freeze (context-chain.h), and what its standby keeps
 * of them beside its record: which file each checkpoint that counts goes with, and what that was like. A checkpoint at
 * the memory servers says so too, but as it was when it was taken; merging puts other files in their place.
 *
 * What is kept is always true, whatever was cut off: that a file is about to be merged is kept before that is begun,
 * and from then on both ends of it are right to go on from. What libvirt says of the VM's chain tells which one it is.
 */

#include "daemon/pages/context-chain.h"

#define STANDBY_DISKS_FILE "disks.json"

struct standby_frozen {
        uint64_t saved_usec;        /* by which the checkpoint is known */
        struct context_disk *disks; /* owned; the file that it goes with of each disk, and those behind it */
        size_t n_disks;
};

struct standby_disks {
        struct standby_frozen *frozen; /* owned */
        size_t n_frozen;
};

/* What was kept in that directory; nothing where nothing was. -EBADMSG where it cannot be read. */
int standby_disks_load(const char *dir, struct standby_disks *ret, struct error *error);
int standby_disks_keep(const char *dir, const struct standby_disks *disks, struct error *error);
void standby_disks_deinit(struct standby_disks *disks);
/* Whether checkpoints of a VM with these sources can be kept account of; asked before one is taken. -E2BIG. */
int standby_disks_fit(const struct context_disk *disks, size_t n, struct error *error);

/* What is kept of that checkpoint; NULL: nothing, since the VM has no disk that it can write. */
const struct standby_frozen *standby_disks_find(const struct standby_disks *disks, uint64_t saved_usec);
/* Takes in what a new checkpoint says, where the VM can write to a disk of it. -ENOMEM. */
int standby_disks_add(struct standby_disks *disks, const struct context_manifest *manifest);
/* Forgets all but the checkpoint of that time; 0: all. */
void standby_disks_forget(struct standby_disks *disks, uint64_t saved_usec);

/* As the VM's chain is now (context_chain_length()): a merge that was begun and has come to its end since is noted. So
 * it is where somebody else has merged, also what was written since the checkpoint: that the file has changed then, and
 * the checkpoint is of no use. True where there was one. */
bool standby_disks_merged(struct standby_frozen *frozen, const struct context_disk *chain, size_t n);
/* The same of a merge that is over, and has not worked: who changes the file behind from now on is found out. */
bool standby_disks_unmerged(struct standby_frozen *frozen, const struct context_disk *chain, size_t n);
/* Notes that the merge is about to be begun. -ENOMEM. */
int standby_disks_merging(struct standby_frozen *frozen, const struct context_merge *merge);
/* The file of the chain's disk that the checkpoint goes with; NULL: it has none. */
const char *standby_disks_frozen_path(const struct standby_frozen *frozen, const char *target);

/* Whether what standby_disks_order() begins with could be begun, as far as can be seen: what a checkpoint before needs
 * is not given up for it otherwise. Errors of context_chain_check(). */
int standby_disks_check(const struct standby_disks *disks, uint64_t saved_usec, const struct context_vm *vm,
                        struct error *error);
/* Puts the files of a VM that runs in order: what no checkpoint needs apart becomes one, what nobody needs at all is
 * removed, and the VM's definition names what it writes to. `vm` is as it was just found. Where this fails, the VM runs
 * and its checkpoint stays, and it may be tried again. */
int standby_disks_order(const char *dir, struct standby_disks *disks, uint64_t saved_usec, struct context_vm *vm,
                        const struct context_progress *progress, struct error *error);
/* Its definition alone: what it would be started with names the files that it writes to now. */
int standby_disks_define(const struct context_vm *vm, struct error *error);
