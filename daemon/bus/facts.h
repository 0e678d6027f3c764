/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the host knows beside the engine: memory that is really resident, and how the adapters are doing. Only
 * shown, never decided on. The manager fills it when somebody asks; whatever it does not know stays zero and
 * is shown as unknown (null).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/standby-readiness.h"
#include "policy/policy.h"

/* A number with the time when it was learned. */
struct fact {
        uint64_t value;
        usec_t seen_usec; /* CLOCK_BOOTTIME; 0: not known */
        uint64_t error;   /* it was estimated, and in 95 of 100 cases is off by no more; 0: counted */
};

/* Whether a part of the outside world works. */
struct link_fact {
        bool known, up;
        usec_t since_usec; /* CLOCK_BOOTTIME */
        char text[128];    /* the last error where it is down, else empty */
};

struct member_facts {
        struct fact resident;                              /* of the whole QEMU process */
        struct fact system_resident;                       /* guest's base memory */
        struct fact overhead;                              /* QEMU's own */
        struct fact processor_usec; /* processor time that the process used within the span before that */
        usec_t processor_span_usec;
        char protection[512];       /* of its memory, while a region of it changes hands; else empty */
        struct fact app_resident[POLICY_APPLICATIONS_MAX]; /* each region's device, by application slot */
        struct fact app_swapped[POLICY_APPLICATIONS_MAX];  /* of that, paged out on the host */
        usec_t app_granted_usec[POLICY_APPLICATIONS_MAX];  /* the right to write its shared regions; 0: not known */
};

/* A name that a program has registered at the name server. */
struct name_fact {
        char name[NAME_LEN];
        uint64_t pid, uid; /* who holds it */
        uint64_t size_bytes;
        unsigned kinds;    /* bit K: kind K is served */
        usec_t since_usec; /* CLOCK_BOOTTIME */
        uint64_t resolved; /* how often somebody was told where it is */
};

/* What the standby of a VM that stands alone has told; all of it is of `told_usec`. */
struct vm_fact {
        usec_t told_usec;       /* CLOCK_BOOTTIME; 0: nothing so far */
        const char *vm, *state; /* words: enum alone_state, enum standby_state */
        usec_t checkpoint_usec; /* when the one was begun that the VM would go on from; 0: there is none */
        usec_t took_usec;
        usec_t decided_usec, running_usec; /* of the last failover; 0: there was none, or it has not ended so far */
        usec_t lost_usec;       /* so much of the VM's work */
        uint64_t failovers;
        unsigned copies;        /* memory servers that have the checkpoint */
        usec_t kept_usec;       /* when they told; 0: they have not */
        struct standby_report report; /* its `problem` is `text` */
        char doing[32], text[512]; /* what takes its time, what is wrong; else empty */
};

struct host_facts {
        int64_t realtime_offset_usec; /* CLOCK_REALTIME less CLOCK_BOOTTIME; 0: wall times are left out */
        usec_t started_usec;          /* when failoverd came up, CLOCK_BOOTTIME */
        bool user_mode;               /* session bus, qemu:///session */
        char policy_path[256];        /* file that the policy was read from, empty where none */
        bool policy_is_last;          /* that file was not taken, and the policy that was in force last stays so */
        const char *policy_refused;   /* why, a line each; NULL: it was taken, or memory ran out. Borrowed */
        char decisions_dir[256];      /* where recordings of decisions not to act are kept, empty where none are */

        struct link_fact observe, act, fence; /* the three connections to the hypervisor */
        struct link_fact store;
        struct link_fact helper;
        struct fact store_write_usec;  /* how long the last write took */
        char pool_limit[256];          /* the kernel's limit of the pool, for people; empty where none is wanted */
        struct fact monitor_resident;  /* of failoverd itself */
        struct fact loop_late_usec;    /* worst lateness of the loop in the last minute */

        bool surveying; /* a newer look at the members' resident memory is under way */
        struct member_facts *members; /* owned by the caller: [slot * SIDE_MAX + side]; NULL where nothing is
                                       * known */
        size_t n_members;
        struct name_fact *names; /* the same; the latest first */
        size_t n_names;
        struct vm_fact vms[POLICY_VMS_MAX]; /* as the policy numbers them */
        size_t n_vms;
        char node[NAME_LEN]; /* this host, as holders of regions know it */
};

/* What is known of one member, or NULL. `facts` may be NULL. */
static inline const struct member_facts *host_facts_member(const struct host_facts *facts, int slot, enum side side) {
        size_t i = (size_t) slot * SIDE_MAX + side;

        return facts && facts->members && slot >= 0 && i < facts->n_members ? &facts->members[i] : NULL;
}
