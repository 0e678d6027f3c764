/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What failoverd sees of the world, and its calls on it: libvirt with its lanes and its hangs, pidfds, links. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define EVENT_USEC 500
#define ANSWER_USEC 200
#define FREEZE_USEC (3 * USEC_PER_MSEC)
#define DUMP_USEC (700 * USEC_PER_MSEC)
#define START_USEC (600 * USEC_PER_MSEC)
#define RESIZE_USEC (5 * USEC_PER_MSEC)
#define DISK_USEC (100 * USEC_PER_MSEC)
#define INSPECT_USEC (2 * USEC_PER_MSEC)
#define KILL_USEC (55 * USEC_PER_MSEC)
#define BALLOON_USEC (2 * USEC_PER_MSEC)
#define BALLOON_TIMEOUT_USEC USEC_PER_SEC
#define DEVICE_ALIGN (128 * MIB) /* of a device that a guest can plug from */
#define HELLO_USEC (2 * USEC_PER_MSEC)
#define SESSION_USEC (11 * USEC_PER_SEC)
#define TWICE_USEC (400 * USEC_PER_MSEC) /* from an answer of libvirt's to the same one again */
#define ANSWERED (-1) /* pid-like mark in a stuck call: its deadline has been told */

/* Something for failoverd to see; what comes through libvirt is lost while libvirt is away. */
void host_tell(struct sim *sim, int pair, int side, enum event_kind kind, usec_t delay_usec, struct item item) {
        bool by_libvirt = kind != EVENT_PROCESS && kind != EVENT_LINK && kind != EVENT_SECOND_PATH;

        if (!sim->engine || (by_libvirt && !sim->libvirt_up))
                return;
        item.kind = ITEM_EVENT;
        item.pair = (short) pair;
        item.side = (signed char) side;
        item.action = (int) kind;
        item.host = sim->host;
        if (kind != EVENT_DEVICE_SIZE && kind != EVENT_MEMORY_FAILURE)
                item.app = NO_APP;
        if (by_libvirt && sim->libvirt_hang_usec > sim->now_usec)
                delay_usec += sim->libvirt_hang_usec - sim->now_usec;
        for (int i = 0; i < 1 + (by_libvirt && sim->libvirt_twice); i++)
                sim_add(sim, item, delay_usec);
}

void host_tell_domain(struct sim *sim, int pair, int side) {
        const struct sim_vm *vm = sim_vm(sim, pair, side);

        host_tell(sim, pair, side, EVENT_DOMAIN, EVENT_USEC,
                  (struct item){ .domain = vm->domain, .reason = vm->reason });
}

void host_link(struct sim *sim, int pair, int side, bool up) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (up == vm->link_up || !sim->engine || (up && vm->link_cut))
                return;
        vm->link_up = up;
        vm->link++;
        if (vm->greeted)
                host_tell(sim, pair, side, EVENT_LINK, ANSWER_USEC, (struct item){ .up = false });
        vm->greeted = false;
        vm->heard_usec = sim->now_usec;
        vm->last_to_agent_usec = vm->last_from_agent_usec = 0;
        if (up)
                sim_add(sim,
                        (struct item){ .kind = ITEM_TO_AGENT,
                                       .pair = (short) pair,
                                       .side = (signed char) side,
                                       .app = NO_APP,
                                       .life = vm->link,
                                       .message.type = MESSAGE_WELCOME },
                        sim_latency(sim, HELLO_USEC));
}

/* The link takes a new session where its agent has said nothing for long. */
void host_repeat_welcome(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm->link_up || sim->now_usec - vm->heard_usec < SESSION_USEC)
                return;
        vm->heard_usec = sim->now_usec;
        vm->link++;
        sim_add(sim,
                (struct item){ .kind = ITEM_TO_AGENT,
                               .pair = (short) pair,
                               .side = (signed char) side,
                               .app = NO_APP,
                               .life = vm->link,
                               .message.type = MESSAGE_WELCOME },
                sim_latency(sim, HELLO_USEC));
}

void host_libvirt(struct sim *sim, bool up) {
        if (sim->libvirt_up == up)
                return;
        sim->libvirt_up = up;
        if (sim->engine)
                sim_add(sim,
                        (struct item){ .kind = ITEM_EVENT,
                                       .pair = NO_PAIR,
                                       .action = EVENT_HYPERVISOR,
                                       .up = up,
                                       .host = sim->host },
                        EVENT_USEC);
        for (int i = 0; i < sim->n_pairs; i++)
                for (int side = 0; up && sim->pairs[i].present && side < SIDE_MAX; side++) {
                        host_unstick(sim, i, side);
                        host_inspect(sim, i, side, false, 0);
                }
}

/* ---- calls -------------------------------------------------------------------------------------------------- */

static enum sim_lane lane_of(int action) {
        if (action == ACTION_FREEZE)
                return LANE_FENCE;
        return action == ACTION_INSPECT || action == ACTION_PREFLIGHT || action == ACTION_DUMP ? LANE_OBSERVE
                                                                                               : LANE_ACT;
}

bool host_stuck(const struct sim *sim, const struct sim_vm *vm, int action) {
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
        usec_t takes = sim_latency(sim, takes_usec);

        if (action->kind == ACTION_ATTACH_DISK || action->kind == ACTION_DETACH_DISK) {
                const struct pair_policy *policy = sim_policy(sim, action->pair);

                for (size_t i = 0; policy && i < policy->applications[action->app].n_disks; i++)
                        if (strcmp(policy->applications[action->app].disks[i], action->text) == 0)
                                item.value = i;
        }
        if (!sim->libvirt_up) {
                item.up = true;
                item.result = -ENOTCONN;
                takes = ANSWER_USEC;
        } else if (vm->lane_stuck[lane_of(item.action)]) {
                item.up = true;
                item.result = -EBUSY;
                takes = ANSWER_USEC;
        } else if (host_stuck(sim, vm, item.action)) {
                get_stuck(sim, &item, action->deadline_usec);
                return;
        } else if (takes > action->deadline_usec) {
                item.up = true;
                item.result = -ETIMEDOUT;
                takes = action->deadline_usec;
        }
        sim_add(sim, item, takes);
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

static int attach_disk(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct sim_vm *other = sim_vm(sim, item->pair, !item->side);
        unsigned bit = 1U << item->value;

        /* QEMU takes a write lock on the image; the other process holds it as long as it lives. */
        if (other->process && (other->disks[(int) item->app] & bit))
                return -EAGAIN;
        vm->disks[(int) item->app] |= bit;
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
void host_unstick(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        for (int lane = 0; lane < LANE_MAX; lane++) {
                struct item item = vm->stuck[lane];

                if (!vm->lane_stuck[lane] || host_stuck(sim, vm, item.action))
                        continue;
                vm->lane_stuck[lane] = false;
                item.up = false;
                item.result = 0;
                if (vm->stuck[lane].result == ANSWERED)
                        item.id = 0;
                sim_add(sim, item, 0);
                host_inspect(sim, pair, side, false, 0);
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

void host_inspect(struct sim *sim, int pair, int side, bool wanted, uint64_t id) {
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
                .vcpus_max = 4,
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

/* Is it the turn of this call to fail? */
static bool call_fails(struct sim *sim) {
        if (sim->fail_call == 0 || --sim->fail_call > 0)
                return false;
        sim->result.calls_failed++;
        return true;
}

void host_call_end(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        bool fails;
        int result;

        if (item->up) { /* its answer only */
                enum sim_lane lane = lane_of(item->action);

                if (item->result == -ETIMEDOUT && vm->lane_stuck[lane] && vm->stuck[lane].id == item->id)
                        vm->stuck[lane].result = ANSWERED;
                else if (item->result == -ETIMEDOUT && host_stuck(sim, vm, item->action) == false &&
                         vm->stuck[lane].id == item->id)
                        return; /* answered when it went on */
                answer(sim, item, item->result, NULL);
                return;
        }
        fails = item->id > 0 && call_fails(sim);
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

/* ---- what needs no libvirt ----------------------------------------------------------------------------------- */

static void signal_process(struct sim *sim, const struct action *action) {
        struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        struct item item = { .kind = ITEM_CALL_END,
                             .pair = (short) action->pair,
                             .side = (signed char) action->side,
                             .app = NO_APP,
                             .action = (int) action->kind,
                             .id = action->id,
                             .host = sim->host,
                             .up = true };
        bool fails = call_fails(sim);

        if (fails)
                item.result = -EPERM;
        if (!vm->held)
                item.result = -ESRCH;
        else if (fails && !sim->fail_done)
                ; /* nothing happens to it */
        else if (action->kind == ACTION_STOP_PROCESS) {
                vm->process_stopped = true;
                vm->alive_usec = sim->now_usec;
        } else if (!vm->killed) {
                vm->killed = !vm->kill_sticks;
                vm_kill(sim, action->pair, action->side, REASON_FAILED, sim_latency(sim, KILL_USEC));
        }
        sim_add(sim, item, ANSWER_USEC / 2);
}

/* How much of the time since the last probe its QEMU waited. */
static void tell_waited(struct sim *sim, const struct action *action) {
        struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        usec_t since = vm->waited_told_usec > vm->starved_usec ? vm->waited_told_usec : vm->starved_usec;

        vm->waited_told_usec = sim->now_usec;
        if (vm->process)
                host_tell(sim, action->pair, action->side, EVENT_WAITED, 0,
                          (struct item){ .value = vm->starved ? sim->now_usec - since : 0 });
}

static void probe(struct sim *sim, const struct action *action) {
        const struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        bool alive = vm_guest_acts(vm) && vm->guest == GUEST_RUNNING,
             silent = !sim->libvirt_up || host_stuck(sim, vm, ACTION_RESIZE);
        usec_t age = alive            ? sim->now_usec % USEC_PER_SEC
                     : vm->alive_usec ? sim->now_usec - vm->alive_usec
                                      : USEC_INFINITY;

        if (action->count > 0)
                tell_waited(sim, action);
        if (alive && !vm->no_echo)
                host_tell(sim, action->pair, action->side, EVENT_SECOND_PATH, sim_latency(sim, EVENT_USEC),
                          (struct item){ .result = PATH_ECHO });
        if (!vm->no_balloon && vm->process && vm->process_stopped) /* told from its process, without libvirt */
                host_tell(sim, action->pair, action->side, EVENT_SECOND_PATH, sim_latency(sim, EVENT_USEC),
                          (struct item){ .result = PATH_BALLOON, .value = age });
        else if (!vm->no_balloon && vm->process)
                host_tell(sim, action->pair, action->side, EVENT_SECOND_PATH,
                          silent ? BALLOON_TIMEOUT_USEC : sim_latency(sim, BALLOON_USEC),
                          (struct item){ .result = PATH_BALLOON, .value = silent ? USEC_INFINITY : age });
}

static void send_message(struct sim *sim, const struct action *action) {
        struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        struct item item = { .kind = ITEM_TO_AGENT, .pair = (short) action->pair, .side = (signed char) action->side,
                             .app = (signed char) action->app, .life = vm->link };
        usec_t at = sim->now_usec + sim_latency(sim, EVENT_USEC / 2) + vm->lag_usec;

        if (action->kind == ACTION_CONFIGURE)
                item.message.type = MESSAGE_CONFIGURE;
        else {
                const struct message *m = action->message;

                item.message = (struct sim_message){
                        .type = m->type, .id = m->id, .token = m->token, .bytes = m->bytes, .nonce = m->nonce
                };
                if (m->type == MESSAGE_FAULT)
                        for (enum drill_fault fault = 0; fault < DRILL_FAULT_MAX; fault++)
                                if (strcmp(drill_fault_to_string(fault), m->text) == 0)
                                        item.message.text = drill_fault_to_string(fault);
        }
        if (!vm->greeted || (item.message.type != MESSAGE_CONFIGURE && sim_chance(sim, vm->lose_percent)))
                return;
        if (at < vm->last_to_agent_usec)
                at = vm->last_to_agent_usec;
        vm->last_to_agent_usec = at;
        sim_add(sim, item, at - sim->now_usec);
}

static void set_wake(struct sim *sim, const struct action *action) {
        unsigned number = action->pair < 0 ? ++sim->wake : ++sim->pairs[action->pair].wake;
        usec_t now = sim->now_usec - sim->boot_offset_usec;

        if (action->due_usec == USEC_INFINITY)
                return;
        sim_add(sim,
                (struct item){ .kind = ITEM_WAKE,
                               .pair = (short) action->pair,
                               .side = -1,
                               .value = number,
                               .host = sim->host,
                               .id = action->due_usec },
                action->due_usec > now ? action->due_usec - now : 0);
}

void host_act(struct sim *sim, const struct action *action) {
        static const usec_t takes[ACTION_KIND_MAX] = {
                [ACTION_FREEZE] = FREEZE_USEC,    [ACTION_START_DOMAIN] = START_USEC,
                [ACTION_RESIZE] = RESIZE_USEC,    [ACTION_VCPUS] = RESIZE_USEC,
                [ACTION_ATTACH_DISK] = DISK_USEC, [ACTION_DETACH_DISK] = DISK_USEC,
                [ACTION_INSPECT] = INSPECT_USEC,  [ACTION_PREFLIGHT] = 2 * INSPECT_USEC,
        };

        switch (action->kind) {
        case ACTION_PERSIST:
                store_act(sim, action);
                break;
        case ACTION_KILL:
        case ACTION_STOP_PROCESS:
                signal_process(sim, action);
                break;
        case ACTION_PROBE:
                probe(sim, action);
                break;
        case ACTION_SEND:
        case ACTION_CONFIGURE:
                send_message(sim, action);
                break;
        case ACTION_DROP_LINK:
                host_link(sim, action->pair, action->side, false);
                break;
        case ACTION_WAKE:
                set_wake(sim, action);
                break;
        case ACTION_FOLLOW:
                memory_follow(sim, action);
                break;
        case ACTION_PAGE_OUT:
                memory_page_out(sim, action);
                break;
        case ACTION_FLOW_ENDED:
                sim->result.flows++;
                break;
        case ACTION_DUMP:
                call(sim, action, sim_vm(sim, action->pair, action->side)->dump_usec ?: DUMP_USEC);
                break;
        default:
                if (takes[action->kind])
                        call(sim, action, takes[action->kind]);
                break;
        }
}

/* ---- at failoverd's door ------------------------------------------------------------------------------------- */

static void tell(struct sim *sim, const struct item *item) {
        struct event event = {
                .kind = (enum event_kind) item->action,
                .pair = item->pair,
                .side = item->side,
                .app = item->app,
                .up = item->up,
                .bytes = item->value,
                .domain = item->domain,
                .reason = item->reason,
        };

        if (event.kind == EVENT_WAITED)
                event.age_usec = item->value;
        if (event.kind == EVENT_PROCESS)
                event.result = item->result;
        if (event.kind == EVENT_DONE) {
                event.action = (int) item->value;
                event.action_id = item->id;
                event.result = item->result;
        }
        if (event.kind == EVENT_SECOND_PATH) {
                event.path = (enum second_path) item->result;
                event.age_usec = item->value;
        }
        if (event.kind == EVENT_DEVICE_SIZE && item->life != sim_vm(sim, item->pair, item->side)->boot)
                return;
        if (event.kind == EVENT_DOMAIN && event.domain == DOMAIN_PAUSED &&
            sim_vm(sim, item->pair, item->side)->domain != DOMAIN_PAUSED)
                return; /* an inspection has overtaken it */
        if (item->text)
                snprintf(event.text, sizeof(event.text), "%s", item->text);
        failoverd_step(sim, &event);
}

static void step_link(struct sim *sim, const struct item *item, bool up) {
        failoverd_step(sim,
                       &(struct event){
                               .kind = EVENT_LINK, .pair = item->pair, .side = item->side, .app = NO_APP, .up = up });
}

/* The link lets nothing through before a hello, and takes a second one for a new agent's. */
static void hear(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        unsigned host = sim->host;
        bool again = vm->greeted;

        vm->heard_usec = sim->now_usec;
        if (!vm->greeted && item->message.type != MESSAGE_HELLO)
                return;
        vm->greeted = true;
        agent_message(sim, item, &sim->message);
        if (item->message.type == MESSAGE_HELLO) {
                if (again)
                        step_link(sim, item, false);
                if (sim->host == host) /* it may die at every step */
                        step_link(sim, item, true);
        }
        if (sim->host == host)
                failoverd_step(sim, &(struct event){ .kind = EVENT_MESSAGE,
                                                     .pair = item->pair,
                                                     .side = item->side,
                                                     .app = NO_APP,
                                                     .message = &sim->message });
}

void host_item(struct sim *sim, struct item *item) {
        if (item->kind != ITEM_CALL_END && item->host != sim->host)
                return;
        if (sim->stalled_until_usec > sim->now_usec) { /* it is stopped: what comes waits for it */
                if (!queue_put_off(&sim->queue, item, sim->stalled_until_usec))
                        sim->failed = true;
                return;
        }
        switch (item->kind) {
        case ITEM_WAKE:
                for (int i = 0; item->pair < 0 && i < sim->n_pairs; i++)
                        for (int side = 0; side < SIDE_MAX; side++)
                                host_repeat_welcome(sim, i, side);
                if (item->value == (item->pair < 0 ? sim->wake : sim->pairs[item->pair].wake))
                        failoverd_step(sim, &(struct event){ .kind = EVENT_WAKE,
                                                             .pair = item->pair,
                                                             .side = SIDE_INVALID,
                                                             .app = NO_APP,
                                                             .due_usec = item->id });
                break;
        case ITEM_FROM_AGENT:
                if (item->life == sim_vm(sim, item->pair, item->side)->link)
                        hear(sim, item);
                break;
        case ITEM_CALL_END:
                if (item->action == ACTION_PERSIST)
                        store_item(sim, item);
                else
                        host_call_end(sim, item);
                break;
        case ITEM_LOOK:
                memory_look(sim, item);
                break;
        case ITEM_PAGED_OUT:
                memory_paged_out(sim, item);
                break;
        default:
                tell(sim, item);
                break;
        }
}
