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

void line_reclaim(struct sim *sim, const struct arguments *a) {
        sim->reclaim = a->on;
        memory_tell_reclaim(sim);
}
