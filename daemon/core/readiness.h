/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Could a failover happen now, for each single failure? What would be done, out of which memory, and what stands in
 * the way. It asks the very functions that decide when the failure comes (flow_blocker(), member_trouble(),
 * move_region_source(), ...), and asking changes nothing; `explore ... check` holds each answer against what then
 * happens.
 */

#include "daemon/core/engine.h"

/* The single failures that are looked at. */
enum readiness_fault {
        READINESS_SYSTEM,      /* a VM's system fails: kernel panic, QEMU gone, watchdog, disk error */
        READINESS_HANG,        /* it stops answering */
        READINESS_APPLICATION, /* an application fails with major severity */
        READINESS_MEMORY,      /* memory of a region is lost */
        READINESS_FAULT_MAX,
        READINESS_FAULT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(readiness_fault); /* "system", "hang", "application", "memory" */

/* One application that would move, and the memory that it would get on the other side. */
struct readiness_move {
        int app;
        uint64_t region_bytes;   /* comes along: of the fenced VM, or the region that unused memory stands in for */
        uint64_t stand_in_bytes; /* out of unused, while a living VM gives up its own */
        uint64_t shared_bytes;   /* the living VM uses so much of it on until it is needed (policy handover: lazy) */
        uint64_t unused_bytes;   /* out of unused, for good */
        uint64_t remote_bytes;   /* overflow, at memory servers, since the pool is short */
        uint64_t awaited_bytes;  /* only once the old side has given so much up */
        uint64_t missing_bytes;  /* nowhere to be had */
};

struct readiness_case {
        enum readiness_fault fault;
        enum side side; /* where it fails */
        int app;        /* READINESS_APPLICATION, READINESS_MEMORY; else NO_APP */
        enum readiness_level level;
        bool begins;    /* a flow would begin, whether or not it ends well */
        bool open;      /* the VM does not run, or is being moved: what would follow is not foretold */
        enum flow_kind flow; /* FLOW_NONE: nothing is moved */
        struct readiness_move moves[POLICY_APPLICATIONS_MAX];
        unsigned n_moves;
        char why[EVENT_TEXT_LEN];  /* what is short or in the way; empty where it is covered */
        char mend[EVENT_TEXT_LEN]; /* what to do about it; may be empty where `why` says so */
};

#define READINESS_CASES_MAX (3 * SIDE_MAX + POLICY_APPLICATIONS_MAX)
#define READINESS_NOTES_MAX 8

struct readiness {
        enum readiness_level level; /* the worst; never covered while the pair is not armed */
        struct readiness_case cases[READINESS_CASES_MAX];
        unsigned n_cases;
        char notes[READINESS_NOTES_MAX][EVENT_TEXT_LEN]; /* what will be short next */
        unsigned n_notes;
};

/* The answer for one pair, from the engine as it is. */
void readiness_list(const struct engine *engine, const struct pair *pair, struct readiness *ret);
