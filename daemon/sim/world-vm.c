/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* QEMU's processes and the kernels in them. */

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/sim/world.h"

#define BOOT_USEC (3 * USEC_PER_SEC)
#define PLUG_USEC_PER_GIB (200 * USEC_PER_MSEC)
#define UNPLUG_USEC_PER_GIB (5 * USEC_PER_SEC)
#define PANIC_SEEN_USEC (55 * USEC_PER_MSEC)
#define LIBVIRT_SEES_USEC (5 * USEC_PER_MSEC)
#define SIZE_EVENT_USEC USEC_PER_SEC

bool vm_guest_acts(const struct sim_vm *vm) {
        return vm->process && !vm->process_stopped && !vm->paused && !vm->starved &&
               (vm->guest == GUEST_BOOTING || vm->guest == GUEST_RUNNING);
}

static void forget_applications(struct sim_vm *vm) {
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                struct sim_app *app = &vm->apps[i], fresh = {
                        .life = app->life + 1, .start_fails = app->start_fails, .stop_sticks = app->stop_sticks,
                        .check_fails = app->check_fails, .disk_sticks = app->disk_sticks,
                        .canary_fails = app->canary_fails, .canary_hangs = app->canary_hangs,
                        .start_usec = app->start_usec, .stop_usec = app->stop_usec,
                };

                *app = fresh;
        }
}

/* A guest begins from nothing: a boot, or a reset in the same QEMU. */
static void boot(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        vm->guest = GUEST_BOOTING;
        vm->boot++;
        vm->agent_up = vm->agent_stopped = false;
        vm->agent_life++;
        vm->lied = vm->lie_percent > 0;
        vm->stated_dead = false;
        vm->n_deferred = 0;
        vm->alive_usec = 0;
        memset(vm->plugged, 0, sizeof(vm->plugged));
        memset(vm->others_bytes, 0, sizeof(vm->others_bytes));
        memset(vm->others_told, 0, sizeof(vm->others_told));
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                vm->plugging[i]++;
        forget_applications(vm);
        sim_add(sim,
                (struct item){
                        .kind = ITEM_BOOTED, .pair = (short) pair, .side = (signed char) side, .life = vm->boot },
                sim_latency(sim, vm->boot_usec ? vm->boot_usec : BOOT_USEC));
}

/* libvirt starts the domain: a new process, nothing requested. */
void vm_start(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        const struct pair_policy *policy = sim_policy(sim, pair);

        vm->process = true;
        vm->process_stopped = vm->paused = vm->killed = vm->starved = false;
        vm->life++;
        vm->pid = ++sim->next_pid;
        vm->domain = DOMAIN_RUNNING;
        vm->reason = REASON_BOOTED;
        memset(vm->requested, 0, sizeof(vm->requested));
        memset(vm->disks, 0, sizeof(vm->disks));
        /* The persistent XML of the home side has the applications' disks. */
        for (size_t i = 0; policy && side == SIDE_A && i < policy->n_applications; i++)
                vm->disks[i] = 0;
        boot(sim, pair, side);
        libvirt_inspect(sim, pair, side, false, 0);
        if (!vm->link_cut)
                host_link(sim, pair, side, true);
}

/* The same process, a new kernel. virtio-mem is unplugged by it; what is requested stays. */
void vm_reset(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm->process)
                return;
        for (int i = 0; i < 2; i++) /* raised twice */
                host_tell(sim, pair, side, EVENT_REBOOTED, (usec_t) i * USEC_PER_MSEC, (struct item){ 0 });
        boot(sim, pair, side);
}

/* The process ends, for that reason in libvirt's eyes. */
void vm_kill(struct sim *sim, int pair, int side, enum domain_reason reason, usec_t delay_usec) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm->process || (vm->kill_sticks && reason != REASON_UNKNOWN))
                return;
        sim_add(sim, (struct item){ .kind = ITEM_QEMU_GONE, .pair = (short) pair, .side = (signed char) side,
                                    .life = vm->life, .value = (uint64_t) reason }, delay_usec);
}

static void gone(struct sim *sim, int pair, int side, enum domain_reason reason) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        bool killed = reason == REASON_CRASHED || reason == REASON_FAILED; /* all else libvirt asks it to */

        vm->process = vm->process_stopped = vm->paused = vm->suspended = vm->starved = false;
        vm->life++;
        vm->boot++;
        vm->agent_life++;
        vm->guest = GUEST_OFF;
        vm->agent_up = vm->agent_stopped = false;
        vm->n_deferred = 0;
        memset(vm->plugged, 0, sizeof(vm->plugged));
        memset(vm->requested, 0, sizeof(vm->requested));
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                vm->apps[i].disk = false;
        forget_applications(vm);
        if (vm->held)
                host_tell(sim, pair, side, EVENT_PROCESS, USEC_PER_MSEC / 5,
                          (struct item){ .up = false, .result = sim->tells_signals ? PROCESS_END_TO_BE_TOLD : 0 });
        if (vm->held && sim->tells_signals)
                host_tell(sim, pair, side, EVENT_PROCESS, USEC_PER_MSEC,
                          (struct item){ .up = false, .result = killed                     ? SIGKILL
                                                              : reason != REASON_UNKNOWN ? PROCESS_ENDED_AS_ASKED
                                                                                           : 0 });
        vm->absence_told = vm->held; /* who held it has been told; anybody else looks for it */
        vm->held = false;
        if (vm->link_up)
                host_link(sim, pair, side, false);
        sim_add(sim,
                (struct item){ .kind = ITEM_LIBVIRT_SEES,
                               .pair = (short) pair,
                               .side = (signed char) side,
                               .life = vm->life,
                               .value = (uint64_t) reason },
                sim_latency(sim, LIBVIRT_SEES_USEC));
}

/* libvirt notes the end when it runs; what it missed it learns as a failure when it comes back. */
static void libvirt_sees(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (vm->life != item->life)
                return;
        vm->domain = DOMAIN_SHUTOFF;
        vm->reason = sim->libvirt_up ? (enum domain_reason) item->value : REASON_FAILED;
        libvirt_unstick(sim, item->pair, item->side);
        host_tell_domain(sim, item->pair, item->side);
}

void vm_panic(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm_guest_acts(vm))
                return;
        vm->guest = GUEST_PANICKED;
        vm->boot++;
        vm->alive_usec = sim->now_usec;
        vm->n_deferred = 0;
        vm->domain = DOMAIN_CRASHED;
        vm->reason = REASON_PANICKED;
        host_tell(sim, pair, side, EVENT_DOMAIN, PANIC_SEEN_USEC,
                  (struct item){ .domain = DOMAIN_CRASHED, .reason = REASON_PANICKED });
}

/* The processors stop; the guest does nothing more until they go on. */
void vm_pause(struct sim *sim, int pair, int side, enum domain_reason reason) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm->process)
                return;
        vm->paused = true;
        vm->domain = DOMAIN_PAUSED;
        vm->reason = reason;
        host_tell_domain(sim, pair, side);
}

void vm_go_on(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm->process || !vm->paused)
                return;
        vm->paused = false;
        vm->domain = DOMAIN_RUNNING;
        vm->reason = REASON_UNKNOWN;
        vm->alive_usec = sim->now_usec;
        host_tell_domain(sim, pair, side);
        vm_release_deferred(sim, pair, side);
}

void vm_runs_again(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (vm->life != item->life)
                return;
        vm->starved = false;
        vm->alive_usec = sim->now_usec;
        vm_release_deferred(sim, item->pair, item->side);
}

/* Waits in the guest until it gets processor time again. */
static void defer(struct sim *sim, struct sim_vm *vm, const struct item *item) {
        if (vm->n_deferred == vm->n_deferred_allocated) {
                size_t n = vm->n_deferred_allocated ? vm->n_deferred_allocated * 2 : 16;
                struct item *grown = realloc(vm->deferred, n * sizeof(*grown));

                if (!grown) {
                        sim->failed = true;
                        return;
                }
                vm->deferred = grown;
                vm->n_deferred_allocated = n;
        }
        if (vm->n_deferred < 256) /* the channel's buffer is bounded too */
                vm->deferred[vm->n_deferred++] = *item;
}

static void plug_begin(struct sim *sim, int pair, int side, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        uint64_t from = vm->plugged[app], to = vm->requested[app], amount;
        usec_t rate = vm->plug_usec ? vm->plug_usec : PLUG_USEC_PER_GIB;

        if (vm->guest != GUEST_RUNNING)
                return; /* the driver looks at what is requested when it is loaded */
        if (to == from) {
                vm->plugging[app]++;
                return;
        }
        if (to < from) {
                to = from - (from - to) * vm->unplug_percent / 100 / (2 * MIB) * (2 * MIB);
                rate = UNPLUG_USEC_PER_GIB;
        } else
                to = from + (to - from) * vm->plug_percent / 100 / (2 * MIB) * (2 * MIB);
        amount = to > from ? to - from : from - to;
        sim_add(sim,
                (struct item){ .kind = ITEM_PLUG,
                               .pair = (short) pair,
                               .side = (signed char) side,
                               .app = (signed char) app,
                               .life = vm->boot,
                               .id = ++vm->plugging[app],
                               .value = to },
                sim_latency(sim, rate * (amount / MIB) / 1024 + 100));
}

void vm_release_deferred(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        size_t n = vm->n_deferred;

        if (!vm_guest_acts(vm))
                return;
        vm->n_deferred = 0;
        for (size_t i = 0; i < n; i++)
                sim_add(sim, vm->deferred[i], 0);
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) /* what was asked for meanwhile */
                if (vm->plugged[i] != vm->requested[i])
                        plug_begin(sim, pair, side, i);
}

void vm_resize(struct sim *sim, int pair, int side, int app, uint64_t bytes) {
        sim_vm(sim, pair, side)->requested[app] = bytes;
        plug_begin(sim, pair, side, app);
}

/* What was to make room finds none elsewhere: the guest's kernel kills it. */
static void out_of_memory(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct pair_policy *policy = sim_policy(sim, item->pair);

        print_line(sim, "%s is out of memory and kills what used %" PRIu64 " MiB of the region of %s",
                   policy->members[item->side].domain, vm->others_bytes[item->app] / MIB,
                   policy->applications[item->app].name);
        vm->others_bytes[item->app] = 0;
}

static void plugged(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        usec_t wait = 0;

        if (item->id != vm->plugging[item->app])
                return;
        if (item->value < vm->plugged[item->app] && item->value < vm->others_bytes[item->app])
                out_of_memory(sim, item);
        vm->plugged_before[item->app] = vm->plugged[item->app];
        vm->plugged_usec[item->app] = sim->now_usec;
        vm->plugged[item->app] = item->value;
        if (vm->size_told_usec + SIZE_EVENT_USEC > sim->now_usec)
                wait = vm->size_told_usec + SIZE_EVENT_USEC - sim->now_usec;
        vm->size_told_usec = sim->now_usec + wait;
        host_tell(sim, item->pair, item->side, EVENT_DEVICE_SIZE, wait + 300,
                  (struct item){ .app = item->app, .value = item->value, .life = vm->boot });
        app_memory_came(sim, item->pair, item->side, item->app);
}

static void booted(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct pair_policy *policy = sim_policy(sim, item->pair);

        if (vm->boot_fails) {
                vm->guest = GUEST_ENDED;
                return;
        }
        vm->guest = GUEST_RUNNING;
        for (size_t i = 0; policy && i < policy->n_applications; i++)
                plug_begin(sim, item->pair, item->side, (int) i);
        sim_add(sim,
                (struct item){ .kind = ITEM_AGENT_UP, .pair = item->pair, .side = item->side, .life = vm->agent_life },
                100 * USEC_PER_MSEC);
}

/* Things that happen to VMs. What happens inside a guest waits while it is stopped and ends with it. */
void vm_item(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (item->kind == ITEM_QEMU_GONE) {
                if (item->life == vm->life && vm->process)
                        gone(sim, item->pair, item->side, (enum domain_reason) item->value);
                return;
        }
        if (item->kind == ITEM_LIBVIRT_SEES) {
                libvirt_sees(sim, item);
                return;
        }
        if ((item->kind == ITEM_BOOTED || item->kind == ITEM_PLUG) && item->life != vm->boot)
                return;
        if (!vm_guest_acts(vm)) {
                if (vm->process && vm->guest != GUEST_PANICKED && vm->guest != GUEST_ENDED)
                        defer(sim, vm, item);
                return;
        }
        if (item->kind == ITEM_BOOTED)
                booted(sim, item);
        else if (item->kind == ITEM_PLUG)
                plugged(sim, item);
        else
                agent_item(sim, item);
}
