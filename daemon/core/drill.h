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

/*
 * A rehearsal (DRILL_LEVEL_REHEARSE): unused memory of the pool is plugged into the standby, as much of each
 * application's region as there is, largest first; the standby's agent takes it, writes it and reads it back, and tries
 * each application's canary; then all of it is taken back. Nothing changes its owner, and the active VM is not touched.
 */
enum rehearsal_state {
        REHEARSAL_NONE,
        REHEARSAL_PLUG,
        REHEARSAL_TOUCH,
        REHEARSAL_CANARY,
        REHEARSAL_GIVE_BACK, /* it is over, its memory comes back; the verdict waits for that, for a while */
        REHEARSAL_LATE,      /* the verdict is out; what has not come back is asked for again and again */
        REHEARSAL_STATE_MAX,
        REHEARSAL_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(rehearsal_state); /* "none", "plug", "touch", "canary", "give-back", "late" */

#define DRILL_TEXT_LEN 256

struct drill_result {
        enum drill_level level;
        usec_t at_usec;           /* CLOCK_REALTIME of its end; 0: there was none */
        bool ok;                  /* it came to its end, and within the objective */
        usec_t took_usec;         /* fault to application started; in a rehearsal, begin to canary passed.
                                   * USEC_INFINITY: it did not come to that */
        usec_t objective_usec;    /* as it was in the policy then */
        uint64_t number;          /* of the failover that it led to; 0: none */
        /* of a rehearsal */
        uint64_t wanted_bytes, rehearsed_bytes; /* the regions that a failover would move; what unused memory allowed */
        usec_t plugged_usec, touched_usec, canary_usec; /* how long each took; USEC_INFINITY: it did not come to that */
        char text[DRILL_TEXT_LEN]; /* for people */
};

/* "met", "missed" (it came to its end, later than the objective), "failed". */
const char *drill_verdict(const struct drill_result *result);
