/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The disks of a context. Its memory goes with what was on them at the moment when it was saved: a guest that goes on
 * with other contents destroys its file systems. So each file behind a disk is remembered by size and time of last
 * change, and is looked at before the context is resumed.
 *
 * Of block devices and disks elsewhere nobody here can see whether they were written since. Whether they were is for a
 * person to say (`trust`).
 */

#include "daemon/pages/context-format.h"

/* What is behind the disks of a domain, as it is now. `*ret` and the paths in it are the caller's, also where
 * `*ret_n` is 0. Errors of domain_xml_sources(), and where a file cannot be looked at. */
int context_disks_look(const char *xml, struct context_disk **ret, size_t *ret_n, struct error *error);

/* Whether a VM with these disks, which are those of `xml`, can be saved: -EBUSY where it has swapped memory out to a
 * disk on memory servers that failoverd attached, since that ends with the VM; -EPERM where one is not on this host,
 * unless `trust`: nobody could tell later whether it still goes with the memory. */
int context_disks_may_save(const char *xml, const struct context_disk *disks, size_t n, bool trust,
                           struct error *error);

/* Whether a context may go on with its disks as they are now: -ESTALE where one has changed since, -EBUSY where one is
 * in use (QEMU's own locks on it are looked at, not of those in `spare`: the disks of a VM that will be gone by then),
 * -ENOENT where one is not there, -EPERM where one cannot be looked into, unless `trust`. */
int context_disks_check(const struct context_disk *disks, size_t n, const struct context_disk *spare, size_t n_spare,
                        bool trust, struct error *error);

/* Whether a VM, or a tool of QEMU's, has the file open. */
bool context_disk_is_used(const char *path);

/* Whether two looks at the same disks found the same. */
bool context_disks_equal(const struct context_disk *a, size_t n_a, const struct context_disk *b, size_t n_b);
