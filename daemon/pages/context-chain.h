/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The files behind a disk of which checkpoints are taken again and again. Each checkpoint freezes the file that the VM
 * writes, and puts an overlay before it: a chain that grows. What two files hold that lie between the same checkpoints
 * needs one file only, so the upper one is merged into the lower one (libvirt's block commit, while the VM runs).
 *
 * What is seen through the upper file is the same before, after and in the midst of that: whoever reads it reads what
 * it has, and where it has nothing, what the lower one has. So a crash at any moment spoils nothing, and merging is
 * begun anew. What lies behind the VM's own file is nobody's to change here: others may rest on it.
 *
 * Overlays are called as the VM's own file, with ".standby~" and a number above those of all that are there.
 */

#include "daemon/pages/context-vm.h"

#define CONTEXT_CHAIN_MARK ".standby~"
#define CONTEXT_CHAIN_NAME_LEN 32 /* by what the name of an overlay ends, without its dot */

struct context_merge {
        const struct context_disk *base, *top; /* in the chain; what is between them is merged too */
};

/* So much of the path is the VM's own file's: all of it, but for the mark with its number. */
size_t context_chain_own_length(const char *path);
/* Whether it is called as an overlay is; NULL is not. */
bool context_chain_is_overlay(const char *path);
/* Sources of the disk that `disks` begins with, from the file that the VM writes to the last one behind it. */
size_t context_chain_length(const struct context_disk *disks, size_t n);
/* The source of that path in a chain; NULL: none. */
const struct context_disk *context_chain_find(const struct context_disk *chain, size_t n, const char *path);

/* What is to be merged next in that chain. `frozen`: the file that the checkpoint goes with, which is kept apart from
 * all that was written since; NULL: there is none. False where there is nothing. */
bool context_chain_plan(const struct context_disk *chain, size_t n, const char *frozen, struct context_merge *ret);

/* Calls `found` for each file that lies beside the disk's and is called as its overlays are, until it returns non-zero;
 * what it has returned, or 0. Negative errno where the directory cannot be read. */
int context_chain_scan(const char *path, int (*found)(const char *overlay, unsigned number, void *userdata),
                       void *userdata);
/* By what the names of the next overlays of these disks end. -EACCES, -EROFS with the reason where none can be made. */
int context_chain_name(const struct context_disk *disks, size_t n, char ret[static CONTEXT_CHAIN_NAME_LEN],
                       struct error *error);

/* Whether a merge that was planned in that chain could be begun now, and has room; NULL: whether an overlay could be
 * put before it. -EBUSY where a block job of somebody's is there, and where libvirt does not say; -ENOSPC; of a file
 * that cannot be looked at, why. */
int context_chain_check(const struct context_vm *vm, const struct context_disk *chain,
                        const struct context_merge *merge, struct error *error);
/* Merges `top` into `base`, while the VM runs, and waits for that. A job that is given up leaves both as they are. That
 * it has worked is seen in the VM's chain alone. */
int context_chain_merge(const struct context_vm *vm, const struct context_merge *merge,
                        const struct context_progress *progress, struct error *error);
/* Whether libvirt says that nothing is done with the files of that disk (a block job) but that the VM uses them. */
bool context_chain_is_idle(const struct context_vm *vm, const char *target);
