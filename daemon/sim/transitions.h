/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which changes of state a run came to, of every state machine that the core has: so that what random worlds come to
 * can be held against the scenarios, where a person has read that it is right. An application's state is no machine of
 * the core: it is what an agent tells, which may be anything.
 */

#include "daemon/core/pair.h"

enum machine {
        MACHINE_PAIR,
        MACHINE_FENCE,       /* of a member */
        MACHINE_REHEARSAL,
        MACHINE_FLOW,        /* its latest phase; at rest there is none */
        MACHINE_MAX,
        MACHINE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(machine);

#define MACHINE_STATES_MAX (PHASE_MAX + 1)

/* How often each machine went from one state to another. */
struct transitions {
        unsigned n[MACHINE_MAX][MACHINE_STATES_MAX][MACHINE_STATES_MAX];
};

/* The states that a pair's machines were last seen in. */
struct machine_states {
        enum pair_state pair;
        unsigned fence[SIDE_MAX], rehearsal, flow;
        uint64_t flow_number;
};

/* Counts the changes from `seen` to what `pair` is in now, which `seen` then is. */
void transitions_note(struct transitions *transitions, struct machine_states *seen, const struct pair *pair);

void transitions_add(struct transitions *transitions, const struct transitions *more);

/* In the words of status; NULL where that machine has no such state. */
const char *machine_state_to_string(enum machine machine, unsigned state);
