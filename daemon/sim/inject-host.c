/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of a timeline about the host, libvirt, failoverd and its store. */

#include <string.h>

#include "daemon/sim/inject-internal.h"

void line_preflight(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);
        const char *what = word(a->line, 2);

        if (strcmp(what, "autostart") == 0)
                vm->bad_autostart = a->on;
        else if (strcmp(what, "channel") == 0)
                vm->bad_channel = a->on;
        else if (strcmp(what, "requested") == 0)
                vm->bad_requested = a->on;
        else if (strcmp(what, "huge-pages") == 0)
                vm->huge_pages = a->on;
        else if (strcmp(what, "kvm") == 0)
                vm->kvm = a->on;
        else
                vm->bad_device = a->on;
}

static usec_t later(usec_t a, usec_t b) {
        return a > b ? a : b;
}

void line_libvirt(struct sim *sim, const struct arguments *a) {
        if (strcmp(word(a->line, 1), "down") == 0)
                host_libvirt(sim, false);
        else
                sim->libvirt_hang_usec = later(sim->libvirt_hang_usec, sim->now_usec + a->duration);
        sim_add(sim, (struct item){ .kind = ITEM_LIBVIRT_BACK, .pair = NO_PAIR }, a->duration);
}

/* Its QEMU gets a quarter of the processor that it wants: the guest is slow, and its applications' checks with it. */
void line_crowd(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->process)
                vm->crowded_until_usec = later(vm->crowded_until_usec, sim->now_usec + a->duration);
}

/* Its QEMU gets no processor: the guest stands still, and the kernel tells that it waits. */
void line_starve(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        if (vm->starved || !vm->process)
                return;
        vm->starved = true;
        vm->starved_usec = sim->now_usec;
        vm->alive_usec = sim->now_usec;
        sim_add(sim,
                (struct item){ .kind = ITEM_STARVED_OVER,
                               .pair = (short) a->pair,
                               .side = (signed char) a->side,
                               .life = vm->life },
                a->duration);
}

void line_libvirt_twice(struct sim *sim, const struct arguments *a) {
        sim->libvirt_twice = a->on;
}

void line_libvirt_fails(struct sim *sim, const struct arguments *a) {
        sim->fail_call = (unsigned) a->number;
        sim->fail_done = a->line->n_words > 3;
}

void line_domain_hang(struct sim *sim, const struct arguments *a) {
        struct sim_vm *vm = sim_vm(sim, a->pair, a->side);

        vm->hang_until_usec = later(vm->hang_until_usec, sim->now_usec + a->duration);
        sim_add(sim, (struct item){ .kind = ITEM_HANG_OVER, .pair = (short) a->pair, .side = (signed char) a->side },
                a->duration);
}

void line_store(struct sim *sim, const struct arguments *a) {
        const char *what = word(a->line, 1);

        if (strcmp(what, "stall") == 0)
                sim->store_stall_usec = sim->now_usec + a->duration;
        else if (strcmp(what, "fail") == 0)
                sim->store_fail_usec = sim->now_usec + a->duration;
        else if (strcmp(what, "tear") == 0)
                sim->store_tears = true;
        else
                sim->store_lost = sim->store_gone = true; /* found at failoverd's next start */
}

void line_holder(struct sim *sim, const struct arguments *a) {
        const char *what = word(a->line, 1);

        holder_refresh(sim);
        if (strcmp(word(a->line, 0), "mirror") == 0)
                sim->mirror_down_usec = later(sim->mirror_down_usec, sim->now_usec + a->duration);
        else if (strcmp(what, "down") == 0)
                sim->holder_down_usec = later(sim->holder_down_usec, sim->now_usec + a->duration);
        else if (strcmp(what, "slow") == 0)
                sim->holder_slow_usec = a->duration;
        else if (strcmp(what, "refuses") == 0)
                sim->holder_refuses = a->on;
        else
                holder_lose(sim);
}

void line_host_tells_signals(struct sim *sim, const struct arguments *a) {
        sim->tells_signals = a->on;
}

void line_host(struct sim *sim, const struct arguments *a) {
        const char *what = word(a->line, 1);

        if (strcmp(what, "stall") == 0)
                sim->stalled_until_usec = later(sim->stalled_until_usec, sim->now_usec + a->duration);
        else if (strcmp(what, "clock-forward") == 0)
                sim->clock_step_usec += (int64_t) a->duration;
        else if (strcmp(what, "clock-back") == 0)
                sim->clock_step_usec -= (int64_t) a->duration;
        else if (strcmp(what, "pressure") == 0)
                failoverd_step(sim,
                               &(struct event){ .kind = EVENT_PRESSURE, .pair = NO_PAIR, .bytes = a->number * 10000 });
        else
                failoverd_power_loss(sim, a->duration);
}

void line_paging(struct sim *sim, const struct arguments *a) {
        failoverd_step(sim, &(struct event){ .kind = EVENT_PAGING,
                                             .pair = a->pair,
                                             .side = a->side,
                                             .app = NO_APP,
                                             .bytes = a->number });
}

void line_space(struct sim *sim, const struct arguments *a) {
        failoverd_step(sim, &(struct event){ .kind = EVENT_SPACE, .pair = a->pair, .side = a->side, .app = NO_APP,
                                             .up = !a->on });
}

void line_kill(struct sim *sim, const struct arguments *a) {
        sim->die_down_usec = a->duration && strcmp(word(a->line, 2), "after") != 0 ? a->duration : FAILOVERD_DOWN_USEC;
        if (strcmp(word(a->line, 2), "after") == 0)
                sim->die_after = (int) a->number;
        else
                failoverd_die(sim, sim->die_down_usec);
}
