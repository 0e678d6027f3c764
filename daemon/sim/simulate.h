/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A policy and a timeline of faults, run on virtual time through the very engine that failoverd runs. No VM, no
 * libvirt and no clock take part; the same input gives the same output, byte for byte.
 */

#include <stdio.h>

#include "daemon/base/error.h"
#include "daemon/core/pair.h"
#include "daemon/sim/transitions.h"

struct simulate_options {
        bool quiet;    /* print violations only */
        bool must_arm; /* at the end every pair has to be armed, else that is a violation */
        uint64_t seed; /* of latencies and losses; 0: every latency is the same each time */
        /* Gives the policy that an `apply FILE` line names; NULL where such lines are refused. The caller frees it
         * with policy_free(). Returns 0 or a negative errno with the reason in `error`. */
        int (*load_policy)(void *userdata, const char *file, struct policy **ret, struct error *error);
        void *userdata;
        FILE *record;            /* where what the engine is told and decides is recorded (daemon/replay); NULL:
                                  * nowhere */
        unsigned record_segment; /* a new segment begins after so many events on average, at random instants; 0: only
                                  * where failoverd starts */
};

/* What a run came to. */
struct simulate_result {
        uint64_t steps;      /* of the engine */
        usec_t span_usec;    /* virtual time */
        unsigned flows;      /* failovers, switches and returns that ended */
        unsigned foretold[READINESS_LEVEL_MAX]; /* `try` lines, by what was said of the failure */
        unsigned calls_failed; /* because their turn had come (`libvirt fails`) */
        struct transitions transitions;
        unsigned violations; /* of what must always hold; each is printed with its time */
};

/* Runs `timeline` (timeline.h has its language) and prints decisions, the final table and the state of each pair to
 * `out`. `ret` may be NULL. Returns 0, -EINVAL with line and reason in `error`, or -ENOMEM. */
int simulate_run(const struct policy *policy, const char *timeline, FILE *out, const struct simulate_options *options,
                 struct simulate_result *ret, struct error *error);
