/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What failoverd sees of the world, and what it does there: events, links, messages, pidfds. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define EVENT_USEC 500
#define KILL_USEC (55 * USEC_PER_MSEC)
#define BALLOON_USEC (2 * USEC_PER_MSEC)
#define BALLOON_TIMEOUT_USEC USEC_PER_SEC
#define HELLO_USEC (2 * USEC_PER_MSEC)
#define SESSION_USEC (11 * USEC_PER_SEC)

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

/* On the link's present session. */
static void welcome(struct sim *sim, int pair, int side) {
        sim_add(sim,
                (struct item){ .kind = ITEM_TO_AGENT,
                               .pair = (short) pair,
                               .side = (signed char) side,
                               .app = NO_APP,
                               .life = sim_vm(sim, pair, side)->link,
                               .message.type = MESSAGE_WELCOME },
                sim_latency(sim, HELLO_USEC));
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
                welcome(sim, pair, side);
}

/* The link takes a new session where its agent has said nothing for long. */
void host_repeat_welcome(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (!vm->link_up || sim->now_usec - vm->heard_usec < SESSION_USEC)
                return;
        vm->heard_usec = sim->now_usec;
        vm->link++;
        welcome(sim, pair, side);
}

/* A libvirtd that was restarted knows which domains are off, and not why. */
static void forget_reasons(struct sim *sim) {
        for (int i = 0; i < sim->n_pairs; i++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (sim->pairs[i].vms[side].domain == DOMAIN_SHUTOFF)
                                sim->pairs[i].vms[side].reason = REASON_UNKNOWN;
}

void host_libvirt(struct sim *sim, bool up) {
        if (sim->libvirt_up == up)
                return;
        sim->libvirt_up = up;
        forget_reasons(sim);
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
                        libvirt_unstick(sim, i, side);
                        libvirt_inspect(sim, i, side, false, 0);
                }
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
        bool fails = libvirt_call_fails(sim);

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
        usec_t since = vm->waited_told_usec > vm->starved_usec ? vm->waited_told_usec : vm->starved_usec, waited = 0;

        if (vm->starved)
                waited = sim->now_usec - since;
        else if (vm->crowded_until_usec > sim->now_usec)
                waited = (sim->now_usec - vm->waited_told_usec) / 4 * 3;
        vm->waited_told_usec = sim->now_usec;
        if (vm->process)
                host_tell(sim, action->pair, action->side, EVENT_WAITED, 0, (struct item){ .value = waited });
}

static void probe(struct sim *sim, const struct action *action) {
        const struct sim_vm *vm = sim_vm(sim, action->pair, action->side);
        bool alive = vm_guest_acts(vm) && vm->guest == GUEST_RUNNING,
             silent = !sim->libvirt_up || libvirt_stuck(sim, vm, ACTION_RESIZE);
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
        else if (action->message->type == MESSAGE_ANSWER)
                return; /* whoever asked reads it */
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
        case ACTION_GRANT_STATE:
                holder_call(sim, action);
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
        default:
                libvirt_call(sim, action);
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
                else if (item->action == ACTION_GRANT_STATE)
                        holder_call_end(sim, item);
                else
                        libvirt_call_end(sim, item);
                break;
        case ITEM_LOOK:
                memory_look(sim, item);
                break;
        case ITEM_PAGED_OUT:
                memory_paged_out(sim, item);
                break;
        case ITEM_OVERFLOW:
                overflow_item(sim, item);
                break;
        default:
                tell(sim, item);
                break;
        }
}
