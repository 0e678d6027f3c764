/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What outlives failoverd: one record a pair. The engine fills it, the store writes and reads it as it is.
 * Everything needed to go on from any instant, and nothing that a look at the hypervisor or the agents tells
 * better.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/drill.h"
#include "daemon/core/flow.h"
#include "daemon/core/rights.h"
#include "policy/policy.h"

#define FAILOVER_ID_LEN (NAME_LEN + 12)
#define FLAP_MAX POLICY_FLAPS_MAX
#define RECORD_TEXT_LEN 256

#define STATE_GRANTED_UNKNOWN INT64_MAX

struct record_app {
        char name[NAME_LEN];
        enum side owner;     /* who owns its data and runs it */
        uint64_t token;      /* fencing token: rises at each grant */
        uint64_t granted_bytes[SIDE_MAX]; /* region memory that each side's VM manages */
        uint64_t using_bytes[SIDE_MAX]; /* that side's VM manages nothing of the region any more, and may still use
                                         * so much of it (N) */
        bool rehearsed;      /* what the side that does not own it was granted is a rehearsal's */
        bool releasing[SIDE_MAX]; /* that side's VM is asked to give this region's memory up */
        enum application_kind kind; /* as the agent told, for `kind: auto` */
        bool ended;          /* plain, and its OS failed: not to be started until its VM is active again */
        bool moving;         /* part of the flow under way */
        bool stopped;        /* its stop on the old side is confirmed, by its agent or by a fence; of one that the
                              * policy took out: it is out of both VMs (retired.h) */
        unsigned state_kept; /* bits: its regions, as the policy numbers them, that have been at their holders: one that
                              * is not there any more was lost */
        unsigned state_moved; /* bits: those that were at other holders when they were granted last */
        bool state_left;     /* its regions were the other side's to write, and no holder has said since that they are
                              * not any more: that side may write them as long as its guest lives */
        uint64_t state_granted; /* the token under which they were granted last: at a holder, or its mirror, which knows
                                 * a lower one, they are not the latest. 0: never, or STATE_GRANTED_UNKNOWN */
        bool started;        /* the new side has reported it started */
};

/* What a VM was assigned by hand: places in the pool (assigned.h), sorted, without overlap, no two adjacent. */
#define ASSIGNED_SPANS_MAX 16
struct assigned {
        struct span spans[ASSIGNED_SPANS_MAX];
        unsigned n_spans;
};

struct record {
        char pair[NAME_LEN];
        uint64_t seq;        /* rises with every write; the higher of two copies is the newer */
        bool known;          /* false: written before it was known who owns what; its owners are no facts */
        uint64_t failovers;  /* flows ever begun; makes the next failover id */
        struct record_app apps[POLICY_APPLICATIONS_MAX];
        unsigned n_apps;

        struct assigned assigned[SIDE_MAX];

        struct flow flow;    /* under way, or FLOW_NONE */
        bool fence_wanted[SIDE_MAX]; /* this side must not act any more */
        bool fence_frozen[SIDE_MAX]; /* we froze it: a paused domain is ours, not an operator's */
        bool away[SIDE_MAX]; /* it was migrated to another host, and has not run here since: it may live there */
        int fence_stated[SIDE_MAX];  /* pid of a QEMU that is dead by a person's word, not proven so; 0: none */

        bool paused;         /* by an operator */
        usec_t paused_until_usec; /* CLOCK_REALTIME, USEC_INFINITY for none */
        char pause_reason[RECORD_TEXT_LEN];

        bool held;           /* stopped in a stated, safe state until a person resumes */
        char held_reason[RECORD_TEXT_LEN];

        uint64_t lost_bytes;         /* of its regions, to memory errors since the host's boot */
        uint64_t reserve_used_bytes; /* of the reserve, to replace them */

        usec_t flaps_usec[FLAP_MAX]; /* CLOCK_REALTIME of the latest failovers, newest last */
        unsigned n_flaps;

        enum rehearsal_state rehearsal; /* under way: known here before anything is plugged for it */
        enum side rehearsal_side;       /* the standby that it grows */
        struct drill_result last_drill; /* the latest that did something; at_usec 0: none so far */
};
