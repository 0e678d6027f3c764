/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Swap on a disk of this guest. What may wait for the disk is to be called in a process of its own. */

#include <stdbool.h>
#include <stdint.h>

/* Makes a new disk a swap area: `path` is a block device (a file, for tests) that holds nothing but zeroes at its
 * beginning. One that is a swap area already is left as it is. `ours`: nobody else can have put anything there, so
 * that a beginning that is lost (EIO) is written anew. 0, -EEXIST where something else is on it, or -errno. */
int swap_prepare(const char *path, bool ours);
/* Pages go there when there is no place in any other swap that is on: its priority is the lowest. Pages of it that are
 * free again are trimmed. 0 or -errno (-EBUSY: it is on). */
int swap_on(const char *path);
/* Brings all its pages back into memory first. -ENOMEM where they do not fit, -EINTR where a signal ended it: it stays
 * on. */
int swap_off(const char *path);
/* Empties a swap area that is not on: nothing but zeroes is left, as trimmed. 0, -EEXIST where something else is
 * on it, which stays, or -errno (-EBUSY: it is on). */
int swap_erase(const char *path);
/* Divides an empty disk, or one that held swap alone, into parts of these sizes (multiples of 512 bytes), one behind
 * the other, in the kernel alone: nothing of it is on the disk, so an empty disk stays empty. Parts that are there stay
 * as they are. Whoever calls it holds a lock (flock(2)) on the disk until a part is in use, as udev would have the
 * kernel read the disk's own table again. 0, -EEXIST where something else is on it, or -errno (-ENOTTY, -EINVAL: it
 * cannot be divided). */
int swap_divide(const char *path, const uint64_t *sizes, unsigned n);
/* 1 and how much is there, where the disk `/dev/NAME` is on as swap; 0 where it is not; or -errno. */
int swap_used(const char *proc_dir, const char *name, uint64_t *ret_bytes);
