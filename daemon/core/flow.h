/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A flow: one failover, switch or return under way, with its phases and their times. At most one a pair.
 */

#include <stdbool.h>

#include "policy/policy.h"

enum flow_kind {
        FLOW_NONE,
        FLOW_OS_FAILURE,          /* H: OS-failure flow */
        FLOW_APPLICATION_FAILURE, /* H: application-failure flow */
        FLOW_SWITCH,
        FLOW_RETURN,
        FLOW_KIND_MAX,
        FLOW_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(flow_kind); /* "none", "os-failure", "application-failure", "switch", "return" */

enum phase {
        PHASE_FAULT, /* where a drill caused it: the instant of the cause */
        PHASE_DETECTED,
        PHASE_DECIDED,
        PHASE_FENCED, /* or: the application's stop confirmed */
        PHASE_GRANTED,
        PHASE_PLUGGED,
        PHASE_STARTED,
        PHASE_HEALTHY,
        PHASE_REJOINED,
        PHASE_MAX,
        PHASE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(phase);

#define FLOW_TEXT_LEN 256

/* Why a flow could not begin now. */
enum flow_blocker {
        FLOW_FREE,
        FLOW_BLOCKED_BY_FLOW,       /* one is under way */
        FLOW_BLOCKED_BY_HYPERVISOR, /* it does not answer */
        FLOW_BLOCKED_BY_PAUSE,
        FLOW_BLOCKED_BY_HOLD,
        FLOW_BLOCKED_UNSETTLED,     /* who owns what is not known yet */
        FLOW_BLOCKED_BY_OTHER_SIDE, /* it is not usable */
        FLOW_BLOCKED_BY_DEVICE,     /* it has no memory device for an application */
        FLOW_BLOCKED_BY_AGENT,      /* its agent is too old for an application with shared regions */
        FLOW_BLOCKED_BY_FLAPS,      /* the flap limit is reached */
        FLOW_BLOCKER_MAX,
        FLOW_BLOCKER_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(flow_blocker); /* sentences */

struct flow {
        enum flow_kind kind;
        uint64_t number; /* of this pair; the failover id is "PAIR-NUMBER" */
        enum side from, to;
        bool drill;
        uint64_t command_id; /* the operator command that waits for it, 0 is none */
        usec_t phase_usec[PHASE_MAX]; /* CLOCK_BOOTTIME; 0 where not reached */
        char cause[FLOW_TEXT_LEN]; /* the evidence, for people */
};
