/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Guest agents: their links, what they are told and say, as failover-agent behaves (agents/guest/). */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world-app.h"

#define LINK_USEC 300
#define WELCOME_USEC (100 * USEC_PER_MSEC) /* the host repeats its welcome until an agent answers */
#define AGENT_RESTART_USEC USEC_PER_SEC
#define REPEAT_USEC (2 * USEC_PER_SEC)

struct item agent_item_for(enum item_kind kind, int pair, int side, int app, unsigned life) {
        return (struct item){
                .kind = kind, .pair = (short) pair, .side = (signed char) side, .app = (signed char) app, .life = life
        };
}

/* To the host, in order; lost where the link loses. */
void agent_say(struct sim *sim, int pair, int side, int app, const struct sim_message *message) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct item item = agent_item_for(ITEM_FROM_AGENT, pair, side, app, vm->link);
        usec_t at = sim->now_usec + sim_latency(sim, LINK_USEC) + vm->lag_usec;

        if (!vm->link_up || !sim->engine || (message->type != MESSAGE_HELLO && sim_chance(sim, vm->lose_percent)))
                return;
        if (at < vm->last_from_agent_usec)
                at = vm->last_from_agent_usec;
        vm->last_from_agent_usec = at;
        item.host = sim->host;
        item.message = *message;
        if (vm->lie_percent && sim_chance(sim, vm->lie_percent) && !liar_twist(sim, &item))
                return;
        sim_add(sim, item, at - sim->now_usec);
        if (vm->repeat_percent && sim_chance(sim, vm->repeat_percent)) {
                usec_t later = sim_chance(sim, 50) ? sim_latency(sim, REPEAT_USEC) : 0;

                /* At once, or when nobody thinks of it any more; but a hello says that an agent has begun just now: the
                 * link knows all else by its number, and the channel is a stream, which repeats nothing by itself. */
                if (message->type != MESSAGE_HELLO || later == 0)
                        sim_add(sim, item, at - sim->now_usec + later);
        }
}

void agent_answer(struct sim *sim, int pair, int side, int app, uint64_t id, int result, const char *text) {
        const struct sim_message message = { .type = MESSAGE_RESULT, .id = id, .result = result, .text = text };

        if (id)
                agent_say(sim, pair, side, app, &message);
}

uint64_t agent_states(const struct sim_vm *vm) {
        uint64_t packed = 0;

        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                packed |= (uint64_t) vm->apps[i].state << (4 * i);
        return packed;
}

/* An application that is not of this pair: another's where there is one. */
static const char *foreign_name(const struct sim *sim, int pair) {
        for (int i = 0; i < sim->n_pairs; i++)
                if (i != pair && sim->pairs[i].policy && sim->pairs[i].policy->n_applications > 0)
                        return sim->pairs[i].policy->applications[0].name;
        return "nobodys";
}

/* Makes the message that an item stands for, as the link would deliver it. */
void agent_message(struct sim *sim, const struct item *item, struct message *ret) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct pair_policy *policy = sim_policy(sim, item->pair);
        const struct sim_message *m = &item->message;

        *ret = (struct message){
                .type = m->type,
                .id = m->id,
                .token = m->token,
                .bytes = m->bytes,
                .nonce = m->nonce,
                .node = -1,
                .result = m->result,
                .code = m->code,
                .cause = m->cause,
                .hard = m->hard,
                .kind = APPLICATION_AUTO,
                .version = vm->agent_old ? PROTOCOL_VERSION_REHEARSE - 1 : PROTOCOL_VERSION,
                .usec = m->usec,
        };
        if (m->text)
                snprintf(ret->text, sizeof(ret->text), "%s", m->text);
        if (item->app >= 0 && (size_t) item->app < policy->n_applications)
                snprintf(ret->app, sizeof(ret->app), "%s", policy->applications[(int) item->app].name);
        else if (item->app >= 0)
                snprintf(ret->app, sizeof(ret->app), "%s", foreign_name(sim, item->pair));
        if (m->type == MESSAGE_HELLO) {
                snprintf(ret->boot, sizeof(ret->boot), "boot-%u", vm->boot);
                snprintf(ret->system, sizeof(ret->system), "simulated");
        }
        if (m->type != MESSAGE_HELLO && m->type != MESSAGE_PONG)
                return;
        for (size_t i = 0; i < policy->n_applications; i++) {
                struct application_report *report = &ret->apps[ret->n_apps++];

                snprintf(report->app, sizeof(report->app), "%s", policy->applications[i].name);
                report->state = (enum application_state) (m->states >> (4 * i) & 15);
                report->token = m->token ? m->token : vm->apps[i].token;
                if (report->state == APPLICATION_RUNNING && vm->crowded_until_usec > sim->now_usec)
                        report->missed_checks = 1;
                if (vm->agent_old || (report->state != APPLICATION_STOPPED && report->state != APPLICATION_FAILED))
                        continue;
                vm->others_told[i] = memory_others(vm, (int) i);
                report->node_bytes = vm->plugged[i];
                report->spare_bytes = vm->plugged[i] - vm->others_told[i];
        }
}

/* ---- what the host asks ---------------------------------------------------------------------------------- */

static void welcome(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        const struct pair_policy *policy = sim_policy(sim, pair);
        const struct sim_message hello = { .type = MESSAGE_HELLO,
                                           .states = agent_states(vm),
                                           .text = "failover-agent" };

        agent_say(sim, pair, side, NO_APP, &hello);
        for (size_t i = 0; i < policy->n_applications; i++)
                app_tell(sim, pair, side, (int) i);
}

void agent_fault(struct sim *sim, int pair, int side, const char *fault, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (strcmp(fault, "app-kill") == 0)
                app_fails(sim, pair, side, app, FAILURE_SIGNAL, 9, false);
        else if (strcmp(fault, "panic") == 0)
                vm_panic(sim, pair, side);
        else if (strcmp(fault, "hang") == 0 && vm_guest_acts(vm)) {
                vm->guest = GUEST_HUNG;
                vm->alive_usec = sim->now_usec;
        }
}

static void configured(struct sim *sim, int pair, int side) {
        const struct pair_policy *policy = sim_policy(sim, pair);

        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                app_configure(sim, pair, side, i, (size_t) i < policy->n_applications);
}

static void to_agent(struct sim *sim, struct item *item) {
        static void (*const handlers[MESSAGE_TYPE_MAX])(struct sim *, int, int, int, const struct sim_message *) = {
                [MESSAGE_START] = app_start,        [MESSAGE_STOP] = app_stop,     [MESSAGE_RESTART] = app_restart,
                [MESSAGE_ATTACH] = app_attach,      [MESSAGE_GRANT] = app_granted, [MESSAGE_REFUSE] = app_refused,
                [MESSAGE_TOUCH] = rehearsal_touch,  [MESSAGE_CANARY] = rehearsal_canary,
        };
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        const struct sim_message *m = &item->message;
        struct sim_message pong = { .type = MESSAGE_PONG, .nonce = m->nonce, .states = agent_states(vm) };

        if (m->type == MESSAGE_WELCOME)
                welcome(sim, item->pair, item->side);
        else if (m->type == MESSAGE_PING)
                agent_say(sim, item->pair, item->side, NO_APP, &pong);
        else if (m->type == MESSAGE_CONFIGURE)
                configured(sim, item->pair, item->side);
        else if (m->type == MESSAGE_CHECK)
                agent_answer(sim, item->pair, item->side, item->app, m->id,
                             vm->apps[(int) item->app].check_fails ? -ENOENT : 0,
                             vm->apps[(int) item->app].check_fails ? "its start command is not there" : NULL);
        else if (m->type == MESSAGE_DETACH) {
                rehearsal_end(sim, item->pair, item->side, item->app);
                agent_answer(sim, item->pair, item->side, item->app, m->id, 0, NULL);
        } else if (vm->agent_old && (m->type == MESSAGE_TOUCH || m->type == MESSAGE_CANARY))
                return; /* unknown types are answered with nothing */
        else if (m->type == MESSAGE_FAULT)
                agent_fault(sim, item->pair, item->side, m->text, item->app);
        else if (item->app >= 0 && handlers[m->type])
                handlers[m->type](sim, item->pair, item->side, item->app, m);
}

/* ---- its process ------------------------------------------------------------------------------------------ */

static void agent_up(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct item item = agent_item_for(ITEM_TO_AGENT, pair, side, NO_APP, vm->link);

        vm->agent_up = true;
        vm->agent_stopped = false;
        if (!vm->link_up)
                return;
        item.message.type = MESSAGE_WELCOME;
        sim_add(sim, item, sim_latency(sim, WELCOME_USEC));
}

/* The agent's process ends; its applications run on, and systemd starts it anew. */
void agent_die(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        vm->agent_up = vm->agent_stopped = false;
        vm->agent_life++;
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                struct sim_app *a = &vm->apps[i];

                if (a->state == APPLICATION_WAITING)
                        a->state = APPLICATION_STOPPED;
                a->start_id = a->stop_id = a->request_id = a->attach_id = a->touch_id = a->canary_id = 0;
        }
        sim_add(sim, agent_item_for(ITEM_AGENT_UP, pair, side, NO_APP, vm->agent_life),
                sim_latency(sim, AGENT_RESTART_USEC));
}

/* Called while the guest runs. */
void agent_item(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);

        if (item->kind == ITEM_AGENT_UP) {
                if (item->life == vm->agent_life && vm->guest == GUEST_RUNNING)
                        agent_up(sim, item->pair, item->side);
                return;
        }
        if (item->kind == ITEM_TO_AGENT) {
                if (item->life != vm->link || !vm->agent_up || vm->guest != GUEST_RUNNING)
                        return;
                if (vm->agent_stopped)
                        sim_add(sim, *item, 50 * USEC_PER_MSEC);
                else
                        to_agent(sim, item);
                return;
        }
        if (!vm->agent_up || vm->agent_stopped) {
                sim_add(sim, *item, 50 * USEC_PER_MSEC);
                return;
        }
        if (item->kind == ITEM_WAIT_OVER)
                app_wait_over(sim, item);
        else if (item->kind == ITEM_TOUCHED || item->kind == ITEM_CANARY_OVER)
                rehearsal_over(sim, item);
        else
                app_item(sim, item);
}
