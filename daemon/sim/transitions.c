/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/sim/transitions.h"

#include <assert.h>

static_assert(PAIR_STATE_MAX <= MACHINE_STATES_MAX && FENCE_STATE_MAX <= MACHINE_STATES_MAX &&
                      REHEARSAL_STATE_MAX <= MACHINE_STATES_MAX,
              "a machine has more states than there is room for");

static const char *const machine_table[] = {
        [MACHINE_PAIR] = "pair",           [MACHINE_FENCE] = "fence",
        [MACHINE_REHEARSAL] = "rehearsal", [MACHINE_FLOW] = "flow",
};
DEFINE_ENUM_TABLE(machine, machine_table)

static void note(struct transitions *transitions, enum machine machine, unsigned *seen, unsigned state) {
        if (state == *seen)
                return;
        transitions->n[machine][*seen][state]++;
        *seen = state;
}

/* State 0 is at rest; otherwise it is one more than the latest phase. Several phases may be reached at one instant, and
 * one flow may follow another; after a crash an earlier phase may be the latest that is known. */
static void note_flow(struct transitions *transitions, struct machine_states *seen, const struct flow *flow) {
        uint64_t number = flow->kind == FLOW_NONE ? 0 : flow->number;
        unsigned state = 0;

        if (number != seen->flow_number)
                note(transitions, MACHINE_FLOW, &seen->flow, 0);
        seen->flow_number = number;
        if (number == 0)
                return;
        for (unsigned phase = 0; phase < PHASE_MAX; phase++) {
                if (flow->phase_usec[phase] == 0)
                        continue;
                state = phase + 1;
                if (state > seen->flow)
                        note(transitions, MACHINE_FLOW, &seen->flow, state);
        }
        note(transitions, MACHINE_FLOW, &seen->flow, state);
}

void transitions_note(struct transitions *transitions, struct machine_states *seen, const struct pair *pair) {
        unsigned state = seen->pair;

        note(transitions, MACHINE_PAIR, &state, pair->state);
        seen->pair = pair->state;
        note(transitions, MACHINE_REHEARSAL, &seen->rehearsal, pair->record.rehearsal);
        note_flow(transitions, seen, &pair->record.flow);
        for (enum side side = 0; side < SIDE_MAX; side++)
                note(transitions, MACHINE_FENCE, &seen->fence[side], pair->members[side].fence);
}

void transitions_add(struct transitions *transitions, const struct transitions *more) {
        for (enum machine machine = 0; machine < MACHINE_MAX; machine++)
                for (unsigned a = 0; a < MACHINE_STATES_MAX; a++)
                        for (unsigned b = 0; b < MACHINE_STATES_MAX; b++)
                                transitions->n[machine][a][b] += more->n[machine][a][b];
}

const char *machine_state_to_string(enum machine machine, unsigned state) {
        switch (machine) {
        case MACHINE_PAIR:
                return pair_state_to_string((enum pair_state) state);
        case MACHINE_FENCE:
                return fence_state_to_string((enum fence_state) state);
        case MACHINE_REHEARSAL:
                return rehearsal_state_to_string((enum rehearsal_state) state);
        case MACHINE_FLOW:
                return state == 0 ? "none" : phase_to_string((enum phase) (state - 1));
        default:
                return NULL;
        }
}
