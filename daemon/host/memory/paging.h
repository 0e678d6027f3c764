/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Does the host swap a VM's memory just now? Pages that its process had to wait for (major faults) tell, and a guest
 * that waits for many of them answers late or not at all. One that hangs asks for few.
 */

#include "policy/policy.h"

/* From so many pages a second on they may be why a guest is silent: on a slow disk each takes 10 ms. */
#define PAGING_MIN_PER_SEC 50
/* Two looks that are closer tell nothing. */
#define PAGING_LOOK_USEC (50 * USEC_PER_MSEC)

/* The last look at one process. All zero: none yet. */
struct paging {
        int pid;
        uint64_t faults;
        usec_t seen_usec;
};

/* Takes a look's result in: `faults` is all that the process has ever made. Returns how many it has made a second since
 * the last look, 0 where those are few, or there was no look at this process. */
uint64_t paging_look(struct paging *paging, int pid, uint64_t faults, usec_t now_usec);
