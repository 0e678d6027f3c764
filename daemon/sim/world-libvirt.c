/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls on libvirt, with its lanes and its hangs: what they do to the world, and when they are answered. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define FREEZE_USEC (3 * USEC_PER_MSEC)
#define DUMP_USEC (700 * USEC_PER_MSEC)
#define START_USEC (600 * USEC_PER_MSEC)
#define RESIZE_USEC (5 * USEC_PER_MSEC)
#define TAKE_VCPUS_USEC (80 * USEC_PER_MSEC) /* the guest lets go of them */
#define DISK_USEC (100 * USEC_PER_MSEC)
#define INSPECT_USEC (2 * USEC_PER_MSEC)
#define ANSWERED (-1) /* pid-like mark in a stuck call: its deadline has been told */
#define DEVICE_ALIGN (128 * MIB) /* of a device that a guest can plug from */
#define TWICE_USEC (400 * USEC_PER_MSEC) /* from an answer of libvirt's to the same one again */

/* What is a call on libvirt, and how long it takes. */
static const usec_t takes[ACTION_KIND_MAX] = {
        [ACTION_FREEZE] = FREEZE_USEC,    [ACTION_START_DOMAIN] = START_USEC,
        [ACTION_RESIZE] = RESIZE_USEC,    [ACTION_VCPUS] = RESIZE_USEC,
        [ACTION_TAKE_VCPUS] = TAKE_VCPUS_USEC,
        [ACTION_ATTACH_DISK] = DISK_USEC, [ACTION_DETACH_DISK] = DISK_USEC,
        [ACTION_INSPECT] = INSPECT_USEC,  [ACTION_PREFLIGHT] = 2 * INSPECT_USEC,
        [ACTION_DUMP] = DUMP_USEC,
};

static enum sim_lane lane_of(int action) {
        if (action == ACTION_FREEZE)
                return LANE_FENCE;
        return action == ACTION_INSPECT || action == ACTION_PREFLIGHT || action == ACTION_DUMP ? LANE_OBSERVE
                                                                                               : LANE_ACT;
}

bool libvirt_stuck(const struct sim *sim, const struct sim_vm *vm, int action) {
        bool asks_qemu = action != ACTION_INSPECT && action != ACTION_PREFLIGHT && action != ACTION_START_DOMAIN;

        return sim->libvirt_hang_usec > sim->now_usec || vm->hang_until_usec > sim->now_usec ||
               (vm->process && vm->process_stopped && asks_qemu);
}

static void answer(struct sim *sim, const struct item *item, int result, const char *text) {
        struct event event = { .kind = EVENT_DONE, .pair = item->pair, .side = item->side, .app = item->app,
                               .action = item->action, .action_id = item->id, .result = result };

        if (item->id == 0 || item->host != sim->host)
                return;
        snprintf(event.text, sizeof(event.text), "%s", text ? text : result ? strerror(-result) : "");
        failoverd_step(sim, &event);
        if (sim->libvirt_twice)
                sim_add(sim,
                        (struct item){ .kind = ITEM_EVENT,
                                       .pair = item->pair,
                                       .side = item->side,
                                       .app = item->app,
                                       .action = EVENT_DONE,
                                       .value = (uint64_t) item->action,
                                       .id = item->id,
                                       .result = result,
                                       .host = item->host },
                        sim_latency(sim, TWICE_USEC));
}

/* The call neither returns nor does anything until what it waits for goes on; its deadline is told in time. */
static void get_stuck(struct sim *sim, const struct item *item, usec_t deadline_usec) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        enum sim_lane lane = lane_of(item->action);
        struct item late = *item;

        vm->lane_stuck[lane] = true;
        vm->stuck[lane] = *item;
        late.result = -ETIMEDOUT;
        late.up = true;
        sim_add(sim, late, deadline_usec);
}

static void call(struct sim *sim, const struct action *action, usec_t takes_usec) {
        struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        struct item item = {
                .kind = ITEM_CALL_END, .pair = (short) action->pair, .side = (signed char) action->side,
                .app = (signed char) action->app, .action = (int) action->kind, .id = action->id,
                .value = action->kind == ACTION_INSPECT ? sim->now_usec : action->bytes,
                .host = sim->host, .life = vm->life,
        };
        usec_t usec = sim_latency(sim, takes_usec);

        if (action->kind == ACTION_ATTACH_DISK || action->kind == ACTION_DETACH_DISK) {
                const struct pair_policy *policy = sim_policy(sim, action->pair);

                for (size_t i = 0; policy && i < policy->applications[action->app].n_disks; i++)
                        if (strcmp(policy->applications[action->app].disks[i], action->text) == 0)
                                item.value = i;
        }
        if (!sim->libvirt_up) {
                item.up = true;
                item.result = -ENOTCONN;
                usec = ANSWER_USEC;
        } else if (vm->lane_stuck[lane_of(item.action)]) {
                item.up = true;
                item.result = -EBUSY;
                usec = ANSWER_USEC;
        } else if (libvirt_stuck(sim, vm, item.action)) {
                get_stuck(sim, &item, action->deadline_usec);
                return;
        } else if (usec > action->deadline_usec) {
                item.up = true;
                item.result = -ETIMEDOUT;
                usec = action->deadline_usec;
        }
        sim_add(sim, item, usec);
}

/* Actions of other kinds are passed over. */
void libvirt_call(struct sim *sim, const struct action *action) {
        if (action->kind == ACTION_DUMP && sim_vm(sim, action->pair, action->side)->dump_usec)
                call(sim, action, sim_vm(sim, action->pair, action->side)->dump_usec);
        else if (takes[action->kind])
                call(sim, action, takes[action->kind]);
}

static int freeze(struct sim *sim, const struct item *item) {
        vm_pause(sim, item->pair, item->side, REASON_USER);
        return 0;
}

static int start_domain(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (vm->start_fails)
                return -EIO;
        if (vm->process || vm->domain != DOMAIN_SHUTOFF)
                return -EEXIST;
        vm_start(sim, item->pair, item->side);
        return 0;
}

/* As with a disk whose image QEMU does not lock: who asks has it, also where the other has it, too. */
static int attach_disk(struct sim *sim, const struct item *item) {
        sim_vm(sim, item->pair, item->side)->disks[(int) item->app] |= 1U << item->value;
        return 0;
}

static int detach_disk(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (!(vm->disks[(int) item->app] & 1U << item->value))
                return 0;
        if (!vm_guest_acts(vm) || vm->apps[(int) item->app].disk_sticks)
                return -ETIMEDOUT; /* the guest has to let go */
        vm->disks[(int) item->app] &= ~(1U << item->value);
        return 0;
}

/* What the call does to the world. */
static int effect(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (item->action == ACTION_START_DOMAIN)
                return start_domain(sim, item);
        if (!vm->process || vm->life != item->life)
                return -ESRCH;
        switch (item->action) {
        case ACTION_FREEZE:
                return freeze(sim, item);
        case ACTION_DUMP:
                return vm->paused ? 0 : -EINVAL;
        case ACTION_RESIZE:
                vm_resize(sim, item->pair, item->side, item->app, item->value);
                return 0;
        case ACTION_ATTACH_DISK:
                return attach_disk(sim, item);
        case ACTION_DETACH_DISK:
                return detach_disk(sim, item);
        default:
                return 0;
        }
}

/* libvirt answers for this domain again: what it was asked for happens now, however late. */
void libvirt_unstick(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        for (int lane = 0; lane < LANE_MAX; lane++) {
                struct item item = vm->stuck[lane];

                if (!vm->lane_stuck[lane] || libvirt_stuck(sim, vm, item.action))
                        continue;
                vm->lane_stuck[lane] = false;
                item.up = false;
                item.result = 0;
                if (vm->stuck[lane].result == ANSWERED)
                        item.id = 0;
                sim_add(sim, item, 0);
                libvirt_inspect(sim, pair, side, false, 0);
        }
}

/* As they were when they were asked for: what changed on the way back may have been told already. */
static void tell_sizes(struct sim *sim, int pair, int side, usec_t asked_usec) {
        const struct pair_policy *policy = sim_policy(sim, pair);

        for (size_t i = 0; policy && i < policy->n_applications; i++) {
                const struct sim_vm *vm = sim_vm(sim, pair, side);

                failoverd_step(sim, &(struct event){ .kind = EVENT_DEVICE_SIZE, .pair = pair, .side = (enum side) side,
                                                     .app = (int) i,
                                                     .bytes = vm->plugged_usec[i] > asked_usec ? vm->plugged_before[i]
                                                                                               : vm->plugged[i] });
        }
}

/* The process is looked for without libvirt, the state with it. */
static void inspected(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        struct event event = { .kind = EVENT_PROCESS, .pair = item->pair, .side = item->side, .app = NO_APP };
        bool off = vm->domain == DOMAIN_SHUTOFF || vm->domain == DOMAIN_UNDEFINED;

        if (item->host != sim->host || !sim->engine)
                return;
        if (vm->process && !vm->held) {
                vm->held = event.up = true;
                vm->absence_told = false;
                event.pid = vm->pid;
                failoverd_step(sim, &event);
        }
        if (!sim->libvirt_up) {
                answer(sim, item, -ENOTCONN, NULL);
                return;
        }
        event.kind = EVENT_DOMAIN;
        event.domain = vm->domain;
        event.reason = vm->reason;
        failoverd_step(sim, &event);
        if (item->host != sim->host || !sim->engine)
                return; /* it died of what it was just told */
        if (off && !vm->process && !vm->absence_told) {
                vm->absence_told = true;
                failoverd_step(sim,
                               &(struct event){
                                       .kind = EVENT_PROCESS, .pair = item->pair, .side = item->side, .app = NO_APP });
        }
        if (!off) {
                tell_sizes(sim, item->pair, item->side, item->value);
                host_link(sim, item->pair, item->side, vm->process);
        }
        answer(sim, item, 0, NULL);
}

void libvirt_inspect(struct sim *sim, int pair, int side, bool wanted, uint64_t id) {
        if (sim->engine)
                sim_add(sim,
                        (struct item){ .kind = ITEM_CALL_END,
                                       .pair = (short) pair,
                                       .side = (signed char) side,
                                       .app = NO_APP,
                                       .action = ACTION_INSPECT,
                                       .id = wanted ? id : 0,
                                       .host = sim->host,
                                       .value = sim->now_usec,
                                       .life = sim_vm(sim, pair, side)->life },
                        sim_latency(sim, INSPECT_USEC));
}

static void preflight(struct sim *sim, const struct item *item) {
        const struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct pair_policy *policy = sim_policy(sim, item->pair);
        struct preflight found = {
                .defined = true,
                .persistent = true,
                .autostart = vm->bad_autostart,
                .channel = !vm->bad_channel,
                .panic_device = true,
                .crash_preserved = true,
                .balloon_stats = !vm->no_balloon,
                .echo_port = !vm->no_echo,
                .requested_zero = !vm->bad_requested,
                .free_ports = 8,
                .vcpus = 1,
                .vcpus_max = 1 + POLICY_APPLICATIONS_MAX,
                .kvm = vm->kvm,
        };

        if (!policy)
                return;
        found.base_bytes = policy->members[(int) item->side].base_bytes;
        for (size_t i = 0; i < policy->n_applications; i++) {
                found.apps[i].present = !vm->bad_device;
                found.apps[i].huge_pages = vm->huge_pages;
                for (size_t k = 0; k < policy->applications[i].n_disks && found.disks_kept.n < DISKS_MAX; k++)
                        snprintf(found.disks_kept.targets[found.disks_kept.n++], DISK_TARGET_LEN, "%s",
                                 policy->applications[i].disks[k]);
                found.apps[i].node = (int) i + 1;
                found.apps[i].size_bytes =
                        (policy->applications[i].memory_bytes + DEVICE_ALIGN - 1) / DEVICE_ALIGN * DEVICE_ALIGN;
                found.apps[i].block_bytes = 2 * MIB;
        }
        failoverd_step(sim, &(struct event){ .kind = EVENT_PREFLIGHT,
                                             .pair = item->pair,
                                             .side = item->side,
                                             .app = NO_APP,
                                             .preflight = &found });
}

bool libvirt_call_fails(struct sim *sim) {
        if (sim->fail_call == 0 || --sim->fail_call > 0)
                return false;
        sim->result.calls_failed++;
        return true;
}

void libvirt_call_end(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        bool fails;
        int result;

        if (item->up) { /* its answer only */
                enum sim_lane lane = lane_of(item->action);

                if (item->result == -ETIMEDOUT && vm->lane_stuck[lane] && vm->stuck[lane].id == item->id)
                        vm->stuck[lane].result = ANSWERED;
                else if (item->result == -ETIMEDOUT && libvirt_stuck(sim, vm, item->action) == false &&
                         vm->stuck[lane].id == item->id)
                        return; /* answered when it went on */
                answer(sim, item, item->result, NULL);
                return;
        }
        fails = item->id > 0 && libvirt_call_fails(sim);
        if (item->action == ACTION_INSPECT && !fails) {
                inspected(sim, item);
                return;
        }
        if (!sim->libvirt_up) {
                answer(sim, item, -ENOTCONN, NULL);
                return;
        }
        if (fails) {
                if (sim->fail_done && item->action != ACTION_INSPECT && item->action != ACTION_PREFLIGHT)
                        effect(sim, item);
                answer(sim, item, -EIO, NULL);
                return;
        }
        if (item->action == ACTION_PREFLIGHT) {
                if (item->host == sim->host)
                        preflight(sim, item);
                answer(sim, item, 0, NULL);
                return;
        }
        if (sim_chance(sim, vm->calls_fail_percent)) { /* with or without an effect, who knows */
                if (vm->calls_fail_percent < 100 && sim_chance(sim, 50))
                        effect(sim, item);
                result = -EIO;
        } else
                result = effect(sim, item);
        answer(sim, item, result, NULL);
}
