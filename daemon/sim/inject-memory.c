/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of a timeline about memory: who uses it, and whether it can be taken back. */

#include "daemon/sim/inject-internal.h"

void line_touch(struct sim *sim, const struct arguments *a) {
        memory_touch(sim, a->pair, a->side, a->app, a->number);
}

void line_touches(struct sim *sim, const struct arguments *a) {
        sim_vm(sim, a->pair, a->side)->touches_bytes[a->app] = a->number;
}

void line_others(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm_guest_acts(vm))
                vm->others_bytes[a->app] = a->number < vm->plugged[a->app] ? a->number : vm->plugged[a->app];
}

void line_fills(struct sim *sim, const struct arguments *a) {
        for (int side = 0; side < SIDE_MAX; side++)
                sim_vm(sim, a->pair, side)->apps[a->app].fills = a->on;
}

void line_overflow_takes(struct sim *sim, const struct arguments *a) {
        sim->overflow_usec = a->duration;
}

/* Somebody in the guest asks for memory of its VM. */
void line_guest_asks(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const struct sim_message ask = { .type = MESSAGE_ASK, .id = ++vm->last_ask, .text = word(a->line, 2) };

        if (vm_guest_acts(vm) && vm->agent_up && !vm->agent_stopped)
                agent_say(sim, a->pair, a->side, NO_APP, &ask);
}

void line_reclaim(struct sim *sim, const struct arguments *a) {
        sim->reclaim = a->on;
        memory_tell_reclaim(sim);
}

void line_pool_limit(struct sim *sim, const struct arguments *a) {
        sim->pool_limited = a->on;
        memory_tell_reclaim(sim);
}

void line_swap(struct sim *sim, const struct arguments *a) {
        sim->swap_bytes = a->number;
        memory_tell_reclaim(sim);
}
