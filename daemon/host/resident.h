/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that is really resident, from /proc. Whatever cannot be told apart for certain is left unknown.
 */

#include "daemon/host/domain-xml.h"

/* Resident memory of a process, from `directory`/statm ("/proc/PID"). In bytes. -ENOENT, -EIO. */
int resident_read(const char *directory, uint64_t *ret_bytes);

struct resident_part {
        bool known;
        uint64_t bytes;
};

/* Resident memory of one QEMU process, by whom it belongs to. */
struct resident_parts {
        uint64_t total_bytes;         /* all of it; the parts add up to it where all are known */
        struct resident_part system;  /* the guest's memory but for the regions of `apps` */
        struct resident_part overhead; /* QEMU's own; known where everything else is */
        struct resident_part apps[POLICY_APPLICATIONS_MAX]; /* by slot: the memory device with the alias ua-NAME */
};

/*
 * Reads `directory`/cmdline and `directory`/smaps of a QEMU that libvirt has started. The command line names the
 * memory backends with their sizes, in the order in which QEMU maps them. Each is known by its size and
 * the guard page that QEMU puts behind it. Among several of one size the order tells:
 * memory files by rising inode number, anonymous memory by falling address, which is how the kernel gives it
 * out. Where a size has more or fewer such mappings than backends, those backends are unknown.
 *
 * Takes milliseconds a GiB, and can block while the process is in a bad state: not for the loop. -EACCES for a
 * process of another user; -ENOENT or -ESRCH where it is gone; -EBADMSG where the files tell nothing of use.
 */
int resident_read_parts(const char *directory, const struct app_names *apps, struct resident_parts *ret);
