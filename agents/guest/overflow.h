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
 * Everything that may wait for the disk is done in a process of its own, one at a time.
 */

#include <stdbool.h>

#include "agents/guest/process.h"
#include "agents/protocol/message.h"

#define OVERFLOW_NAME_LEN 32

enum overflow_step {
        OVERFLOW_NOTHING,
        OVERFLOW_ON,   /* switch it on */
        OVERFLOW_HOME, /* bring its pages home */
        OVERFLOW_LEAVE, /* the same, and leave it, empty */
        OVERFLOW_STOP, /* do not go on with that */
};

struct overflow_disk {
        char name[OVERFLOW_NAME_LEN]; /* "vdb" */
        usec_t enough_usec;           /* since when there has been memory enough; 0: there is not */
        usec_t leave_usec;            /* when the host last said that it is to be let go of; 0: it has not */
        bool left;                    /* it has been, and is empty */
        usec_t failed_usec;           /* when the last step failed; 0: it did not */
};

/* What a decision rests on. */
struct overflow_sight {
        bool on;
        uint64_t used_bytes; /* on the disk */
        uint64_t total_bytes, available_bytes; /* memory of the guest */
        bool coming_home;    /* that is under way */
};

/* What to do about one disk at `now_usec`. Pure, but for what it notes in `disk`. */
enum overflow_step overflow_decide(struct overflow_disk *disk, const struct overflow_sight *sight, usec_t now_usec);
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
        enum overflow_step step; /* what it does */
};

void overflow_init(struct overflow *overflow, struct process_table *table, const struct paths *paths);
/* What is under way ends; swap that is on stays on. Harmless where it was never begun. */
void overflow_deinit(struct overflow *overflow);
/* An application starts, perhaps for a disk that has just come: it is not to wait for the next look in its turn. */
void overflow_look_soon(struct overflow *overflow);
/* The host wants the disk with that serial number back; it says so again while that is so. */
void overflow_let_go(struct overflow *overflow, const char *serial);
