/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory beyond this guest's own (I: clients reach out to a memory server only when local memory does not suffice, and
 * stop when it does again). The host attaches a disk whose serial number begins with OVERFLOW_SERIAL; the agent
 * switches it on as swap with the lowest priority. When the guest has had memory enough for some seconds to take back
 * all that is there, the pages come home: the swap is switched off and on again. Memory that runs short meanwhile ends
 * that, and nothing is lost. A disk that the host wants back is switched off for good as soon as memory suffices for
 * what is there, and emptied, since an empty disk tells the host that nothing here uses it any more.
 *
 * The disk is divided into slices, each a swap area of its own. No more of them are on than the memory servers could
 * hold, as the host says: where these fill, one slice after the other is switched off, the emptiest first, as far as
 * memory suffices for its pages. So a guest has less swap, and knows, before a page is refused. One
 * that was switched off so is on again when there has been room for it, and some to spare, for a while. What the host
 * said last holds for as long as it says nothing else.
 *
 * Everything that may wait for the disk is done in a process of its own, one at a time.
 */

#include "agents/guest/overflow-disk.h"
#include "agents/guest/process.h"

/* Nor is one beside so many others: the kernel has 23 swap areas at most, the guest's own among them. */
#define OVERFLOW_DIVIDED_MAX 3

/* Names of the disks that the host has given, at most OVERFLOW_DISKS_MAX. Returns how many, or -errno. */
int overflow_find(const char *sys_dir, char ret_names[OVERFLOW_DISKS_MAX][OVERFLOW_NAME_LEN]);
struct paths;

struct overflow {
        struct loop *loop;
        const struct paths *paths; /* borrowed */
        struct timer timer;
        struct process process;
        struct overflow_disk disks[OVERFLOW_DISKS_MAX];
        size_t n_disks;
        int busy;                /* index of the disk that the process is at; -1: none */
        unsigned slice;          /* of that one */
        enum overflow_step step; /* what it does */
};

void overflow_init(struct overflow *overflow, struct process_table *table, const struct paths *paths);
/* What is under way ends; swap that is on stays on. Harmless where it was never begun. */
void overflow_deinit(struct overflow *overflow);
/* An application starts, perhaps for a disk that has just come: it is not to wait for the next look in its turn. */
void overflow_look_soon(struct overflow *overflow);
/* The host wants the disk with that serial number back; it says so again while that is so. */
void overflow_let_go(struct overflow *overflow, const char *serial);
/* So much of that disk could be at memory servers now, with what is there. */
void overflow_note_room(struct overflow *overflow, const char *serial, uint64_t bytes);
