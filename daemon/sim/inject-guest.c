/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of a timeline about guests, their QEMU, and operators at virsh. */

#include <string.h>

#include "daemon/sim/inject-internal.h"

#define ANNOUNCED_USEC USEC_PER_SEC /* from an announced stop to its end */

void line_panic(struct sim *sim, const struct arguments *a) {
        vm_panic(sim, a->pair, a->side);
}

void line_hang(struct sim *sim, const struct arguments *a) {
        agent_fault(sim, a->pair, a->side, "hang", NO_APP);
}

void line_unhang(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->guest == GUEST_HUNG)
                vm->guest = GUEST_RUNNING;
        vm_release_deferred(sim, a->pair, a->side);
}

void line_guest_stop(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const struct sim_message going = { .type = MESSAGE_GOING,
                                           .text = strcmp(word(a->line, 0), "reboot") == 0 ? "reboot" : "shutdown" };
        bool announced = strcmp(word(a->line, 2), "announced") == 0;

        if (!vm_guest_acts(vm))
                return;
        if (announced && vm->agent_up && !vm->agent_stopped)
                agent_say(sim, a->pair, a->side, NO_APP, &going);
        /* on_reboot is destroy: both end QEMU, and libvirt says that the guest shut down. */
        vm_kill(sim, a->pair, a->side, REASON_SHUTDOWN, announced ? ANNOUNCED_USEC : USEC_PER_MSEC);
}

void line_reset(struct sim *sim, const struct arguments *a) {
        vm_reset(sim, a->pair, a->side);
}

void line_qemu_kill(struct sim *sim, const struct arguments *a) {
        vm_kill(sim, a->pair, a->side, REASON_FAILED, 5 * USEC_PER_MSEC);
}

void line_qemu_stop(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->process && !vm->process_stopped) {
                vm->process_stopped = true;
                vm->alive_usec = sim->now_usec;
        }
}

void line_qemu_cont(struct sim *sim, const struct arguments *a) {
        sim_vm(sim, a->pair, a->side)->process_stopped = false;
        vm_release_deferred(sim, a->pair, a->side);
        libvirt_unstick(sim, a->pair, a->side);
}

void line_watchdog(struct sim *sim, const struct arguments *a) {
        if (vm_guest_acts(sim_vm(sim, a->pair, a->side)))
                host_tell(sim, a->pair, a->side, EVENT_WATCHDOG, USEC_PER_MSEC, (struct item){ 0 });
}

void line_io_error(struct sim *sim, const struct arguments *a) {
        bool paused = a->line->n_words == 2;

        if (!vm_guest_acts(sim_vm(sim, a->pair, a->side)))
                return;
        host_tell(sim, a->pair, a->side, EVENT_IO_ERROR, USEC_PER_MSEC, (struct item){ .up = paused, .text = "vda" });
        if (paused)
                vm_pause(sim, a->pair, a->side, REASON_IO_ERROR);
}

void line_memory_failure(struct sim *sim, const struct arguments *a) {
        if (sim_vm(sim, a->pair, a->side)->process)
                host_tell(sim, a->pair, a->side, EVENT_MEMORY_FAILURE, USEC_PER_MSEC,
                          (struct item){ .app = (signed char) a->app, .value = a->number });
}

/* ---- operators at virsh --------------------------------------------------------------------------------------- */

void line_virsh(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 0);

        if (!sim->libvirt_up || libvirt_stuck(sim, vm, ACTION_INSPECT))
                return; /* virsh fails too */
        if (strcmp(what, "suspend") == 0 && !vm->paused && vm->guest != GUEST_PANICKED) {
                vm_pause(sim, a->pair, a->side, REASON_USER);
                vm->suspended = true;
        } else if (strcmp(what, "resume-suspended") == 0 && !(vm->suspended && vm->paused))
                return; /* not an operator's, to be let go on */
        else if (strncmp(what, "resume", 6) == 0 && vm->guest != GUEST_PANICKED)
                vm_go_on(sim, a->pair, a->side);
        else if (strcmp(what, "destroy") == 0)
                vm_kill(sim, a->pair, a->side, REASON_DESTROYED, DESTROY_USEC);
        else if (strcmp(what, "save") == 0)
                vm_kill(sim, a->pair, a->side, REASON_SAVED, DESTROY_USEC);
        else if (strcmp(what, "migrate") == 0)
                vm_kill(sim, a->pair, a->side, REASON_MIGRATED, DESTROY_USEC);
        else if (strcmp(what, "start") == 0 && !vm->process && vm->domain == DOMAIN_SHUTOFF)
                vm_start(sim, a->pair, a->side);
}
