/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How much of a region is really resident in one QEMU, extent by extent, out of the process's page map. Memory that
 * nobody has touched costs about a millisecond a GiB to look at, memory in use some 20: who follows a region in small
 * steps asks for the extents that can still change.
 *
 * Resident is all that a page map tells for certain. It marks an anonymous page that was paged out as swapped; one of
 * a memory file (memfd) it leaves as empty as a page that was released, and so does mincore(2). For a region as a
 * whole the process's smaps tells those apart (qemu-memory.h). Nothing here rests on the difference, since either way
 * the host has that memory.
 */

#include "daemon/core/handover.h"

/* Looks at one side of `usage`, whose extents lie from `start` on in the address space of the process whose pagemap
 * this is. With `only_empty`, at those extents only in which nothing was found before. Returns 1 where something has
 * changed, 0 where not, or a negative errno (-ESRCH: the process has ended); then that side is not known. */
int usage_read(int pagemap_fd, uint64_t start, uint64_t region_bytes, enum side side, bool only_empty,
               struct usage *usage);
