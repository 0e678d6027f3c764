/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How much of a region is really resident in one QEMU, extent by extent, out of the process's page map. Memory that
 * nobody has touched costs about a millisecond a GiB to look at, memory in use some 20: who follows a region in small
 * steps asks for the extents that can still change.
 */

#include "daemon/core/handover.h"

/* Looks at one side of `usage`, whose extents lie from `start` on in the address space of the process whose pagemap
 * this is. With `only_empty`, at those extents only in which nothing was found before. Returns 1 where something has
 * changed, 0 where not, or a negative errno (-ESRCH: the process has ended); then that side is not known. */
int usage_read(int pagemap_fd, uint64_t start, uint64_t region_bytes, enum side side, bool only_empty,
               struct usage *usage);
