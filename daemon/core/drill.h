/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a drill came to: the verdict against the pair's recovery-time objective. The latest that did something stays
 * in the pair's record (record.h: last_drill); history has the earlier ones.
 */

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

enum drill_level {
        DRILL_LEVEL_PLAN,     /* nothing is done: what the policy's settings come to at worst */
        DRILL_LEVEL_REHEARSE, /* the standby is grown, touched, tried and shrunk again; the active VM is not touched */
        DRILL_LEVEL_FULL,     /* a real fault and a real failover */
        DRILL_LEVEL_MAX,
        DRILL_LEVEL_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(drill_level); /* "plan", "rehearse", "full" */

#define DRILL_TEXT_LEN 256

struct drill_result {
        enum drill_level level;
        usec_t at_usec;           /* CLOCK_REALTIME of its end; 0: there was none */
        bool ok;                  /* it came to its end, and within the objective */
        usec_t took_usec;         /* fault to application started; in a rehearsal, begin to canary passed. USEC_INFINITY:
                                   * it did not come to that */
        usec_t objective_usec;    /* as it was in the policy then */
        uint64_t number;          /* of the failover that it led to; 0: none */
        char text[DRILL_TEXT_LEN]; /* for people */
};

/* "met", "missed" (it came to its end, later than the objective), "failed". */
const char *drill_verdict(const struct drill_result *result);
