/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How long each kind of fault takes at worst by a policy's settings, before anything has happened.
 *
 * Detecting and deciding can be bounded by the settings alone. Recovering cannot: it is given twice, as the policy
 * expects it and as the sum of the deadlines after which failoverd gives a step up.
 */

#include <stdbool.h>
#include <stdio.h>

#include "policy/policy.h"

/* What an event of the hypervisor or of a guest's agent takes to arrive: libvirt reports a panicked guest within
 * 0.2 s; an agent is told of an exit by its kernel at once. */
#define WORST_CASE_EVENT_USEC (200 * USEC_PER_MSEC)
/* A QEMU process went: whether an operator ended it is waited for so long, unless the kernel tells that it was
 * killed. */
#define WORST_CASE_GONE_USEC (300 * USEC_PER_MSEC)
/* One that ended by itself and with success was asked to end, and libvirt's reason is waited for longer: on a loaded
 * host libvirt is late to tell of an operator's `virsh destroy`. As long where the kernel is still to tell: its word
 * comes when the parent has taken notice. */
#define WORST_CASE_ENDED_USEC (3 * USEC_PER_SEC)
/* An application that starts with a part of its region waits so long for its overflow disk. */
#define WORST_CASE_OVERFLOW_USEC (5 * USEC_PER_SEC)
/* A balloon tells its time in seconds, and counts as silent after so long. */
#define WORST_CASE_BALLOON_USEC (3 * USEC_PER_SEC)

enum worst_case_fault {
        WORST_CASE_PANIC,             /* guest kernel panics: panic device, libvirt event */
        WORST_CASE_QEMU_GONE,         /* QEMU process ends: libvirt event, pid descriptor */
        WORST_CASE_QEMU_ENDED,        /* the same, as it was asked to, and libvirt does not say why */
        WORST_CASE_QEMU_STOPPED,      /* QEMU no longer runs and says nothing: silence */
        WORST_CASE_GUEST_HANG,        /* the guest no longer answers: silence */
        WORST_CASE_HANG_BY_BALLOON,   /* the same, where its balloon is the only second path */
        WORST_CASE_WATCHDOG,          /* its watchdog device fires: libvirt event */
        WORST_CASE_DISK_ERROR,        /* QEMU pauses it at a disk error: libvirt event */
        WORST_CASE_MEMORY_FAILURE,    /* its memory became inaccessible: libvirt event */
        WORST_CASE_RESET,             /* reset, or power-off, that its agent did not announce: libvirt event */
        WORST_CASE_ANNOUNCED_STOP,    /* announced, where the policy says failover: once it has stopped */
        WORST_CASE_APPLICATION_EXIT,  /* an application ends: its agent reports */
        WORST_CASE_APPLICATION_CHECK, /* its health check fails often enough */
        WORST_CASE_FAULT_MAX,
        WORST_CASE_FAULT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(worst_case_fault); /* "panic", "qemu-gone", "qemu-ended", "qemu-stopped", "guest-hang",
                                       * "hang-by-balloon", "watchdog", "disk-error", "memory-failure", "reset",
                                       * "announced-stop", "application-exit", "application-check" */

/* One row. The spans add up: fault to suspicion, suspicion to decision, decision to application started. */
struct worst_case {
        enum worst_case_fault fault;
        int application; /* index in its pair; -1 for a fault of the whole VM */
        bool fails_over; /* false: restarted in place, for it is plain */
        usec_t detect_usec, decide_usec;
        usec_t recover_usec; /* as the policy expects it; USEC_INFINITY where it does not say */
        usec_t limit_usec;   /* of recovering: each step uses up its deadline */
};

#define WORST_CASES_MAX (WORST_CASE_APPLICATION_EXIT + 2 * POLICY_APPLICATIONS_MAX)

size_t worst_case_list(const struct pair_policy *pair, struct worst_case ret[static WORST_CASES_MAX]);
usec_t worst_case_total_usec(const struct worst_case *worst);
bool worst_case_meets(const struct worst_case *worst, usec_t objective_usec);
size_t worst_case_print(const struct policy *policy, FILE *f);
