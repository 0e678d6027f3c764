/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Decisions that must not be made: none by itself on a pair that is paused, no more of them than the flap limit allows,
 * and none about a hang of a guest that lives and can be heard.
 */

#include <inttypes.h>
#include <string.h>

#include "daemon/sim/world.h"

/* So long after a guest could be heard again, what was asked of it before has its answer. */
#define HEARD_USEC (5 * USEC_PER_SEC)

/* Its kernel lives, and both ways to ask it are open. */
static bool can_be_heard(const struct sim *sim, const struct sim_vm *vm) {
        return vm_guest_acts(vm) && vm->guest == GUEST_RUNNING && !vm->no_echo && !vm->no_balloon && sim->libvirt_up &&
               sim->libvirt_hang_usec <= sim->now_usec && vm->hang_until_usec <= sim->now_usec;
}

void checker_listen(struct sim *sim, int pair) {
        for (int side = 0; side < SIDE_MAX; side++)
                if (!can_be_heard(sim, sim_vm(sim, pair, side)))
                        sim_vm(sim, pair, side)->unheard_usec = sim->now_usec;
}

static bool is_failover(const struct flow *flow) {
        return flow->kind == FLOW_OS_FAILURE || flow->kind == FLOW_APPLICATION_FAILURE;
}

static void check_pause(struct sim *sim, const struct sim_pair *pair, const struct record *record, usec_t real_usec) {
        if (record->paused && (record->paused_until_usec == USEC_INFINITY || record->paused_until_usec > real_usec))
                checker_violated(sim, "%s is paused, and fails over by itself", pair->name);
}

/* This one counts already. */
static void check_flaps(struct sim *sim, const struct sim_pair *pair, const struct record *record, usec_t real_usec) {
        unsigned n = 0;

        for (unsigned i = 0; i < record->n_flaps; i++) {
                int64_t ago = (int64_t) (real_usec - record->flaps_usec[i]);

                n += (usec_t) (ago < 0 ? -ago : ago) < pair->policy->flap_window_usec;
        }
        if (n > pair->policy->flap_limit)
                checker_violated(sim, "%s fails over once more than the %u times that its policy allows", pair->name,
                                 pair->policy->flap_limit);
}

/* Whoever lives, is not starved, and has both ways to say so is not taken for hung. Where the host stood still until
 * now, nobody has looked at it meanwhile. */
static void check_hang(struct sim *sim, const struct sim_pair *pair, const struct flow *flow) {
        const struct sim_vm *vm = &pair->vms[flow->from];

        if (strncmp(flow->cause, "guest hang", strlen("guest hang")) == 0 &&
            can_be_heard(sim, vm) && sim->now_usec - vm->unheard_usec > HEARD_USEC)
                checker_violated(sim, "%s is taken for hung, and lives", pair->policy->members[flow->from].domain);
}

void checker_decision(struct sim *sim, const struct action *action) {
        const struct sim_pair *pair = &sim->pairs[action->pair];
        const struct record *record = &sim->engine->pairs[action->pair]->record;
        const struct flow *flow = &action->flow;
        usec_t real_usec = sim_real_usec(sim);

        if (action->phase != PHASE_DECIDED || !is_failover(flow))
                return;
        check_hang(sim, pair, flow);
        check_pause(sim, pair, record, real_usec);
        if (!flow->drill)
                check_flaps(sim, pair, record, real_usec);
}
