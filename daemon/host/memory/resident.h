/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that is really resident, from /proc. Whatever cannot be told apart for certain is left unknown.
 */

#include <stdlib.h>

#include "daemon/host/libvirt/domain-xml.h"

/* Resident memory of a process, from `directory`/statm ("/proc/PID"). In bytes. -ENOENT, -EIO. */
int resident_read(const char *directory, uint64_t *ret_bytes);

struct resident_part {
        bool known;
        uint64_t bytes;
        uint64_t error_bytes;   /* in 95 of 100 cases it is off by no more; 0: counted */
        uint64_t swapped_bytes; /* beside that, paged out; of regions that were counted */
};

/* Resident memory of one QEMU process, by whom it belongs to. */
struct resident_parts {
        uint64_t total_bytes;         /* all of it; the parts add up to it where all are known */
        struct resident_part system;  /* the guest's memory but for the regions of `apps` */
        struct resident_part overhead; /* QEMU's own; known where everything else is */
        struct resident_part apps[POLICY_APPLICATIONS_MAX]; /* by slot: the memory device with the alias ua-NAME */
};

/* Brings together what qemu_memory_read() finds; its errors are these. Not for the loop. */
int resident_read_parts(const char *directory, const struct app_names *apps, struct resident_parts *ret);
/* The same from a sample of the guest's memory (resident-sample.h), some 2 ms for each part of it: neither QEMU's own
 * memory nor what is paged out is known of it, nor the total. Errors of qemu_memory_read() and resident_sample(). */
int resident_sample_parts(const char *directory, const struct app_names *apps, struct drand48_data *random,
                          struct resident_parts *ret);
/* The same where the QEMU is another user's: failoverd-helper, on the socket `helper_path`, opens its page map. Only
 * regions are known then. Returns 0 where one is, else an error of helper_ask() or resident_sample(). */
int resident_sample_regions(const char *helper_path, const char *domain, const struct app_names *apps,
                            struct drand48_data *random, struct resident_parts *ret);
