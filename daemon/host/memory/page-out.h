/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Taking memory back from a process by force: the kernel pages a stretch of its memory out to the swap. */

#include <stdint.h>

#include "daemon/base/units.h"

/* With less free swap nothing is to be taken back by force: who else needs some would not get it. */
#define PAGE_OUT_SWAP_LEAST_BYTES (64 * MIB)

/* Free swap of this host; by a call, since /proc/meminfo is not there behind the walls of a service. */
uint64_t page_out_swap_bytes(void);
/* May this process do so to others (CAP_SYS_NICE), and is there swap? Returns 0; -EPERM; -ENOSPC where so little of it
 * is free; or another errno. */
int page_out_possible(uint64_t swap_bytes);
/* Asks for it. What is locked or just in use may stay, so only a look tells what it did. Takes about two seconds a GiB:
 * for workers. `pidfd`: of the process; the addresses are in it, in whole pages. */
int page_out(int pidfd, uint64_t start, uint64_t bytes);
