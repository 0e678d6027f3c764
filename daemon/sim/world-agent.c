/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Guest agents and the applications that they supervise, as failover-agent behaves (agents/guest/). */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define LINK_USEC 300
#define WELCOME_USEC (100 * USEC_PER_MSEC) /* the host repeats its welcome until an agent answers */
#define START_USEC (80 * USEC_PER_MSEC)
#define HEALTHY_USEC (50 * USEC_PER_MSEC)
#define STOP_USEC (30 * USEC_PER_MSEC)
#define MEMORY_WAIT_USEC (30 * USEC_PER_SEC)
#define STOP_PATIENCE_USEC (5 * USEC_PER_SEC)
#define AGENT_RESTART_USEC USEC_PER_SEC
#define TOUCH_GIB_USEC (1500 * USEC_PER_MSEC)
#define CANARY_USEC (20 * USEC_PER_MSEC)
#define REPEAT_USEC (2 * USEC_PER_SEC)

static struct item item_for(enum item_kind kind, int pair, int side, int app, unsigned life) {
        return (struct item){
                .kind = kind, .pair = (short) pair, .side = (signed char) side, .app = (signed char) app, .life = life
        };
}

/* To the host, in order; lost where the link loses. */
void agent_say(struct sim *sim, int pair, int side, int app, const struct sim_message *message) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct item item = item_for(ITEM_FROM_AGENT, pair, side, app, vm->link);
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

static void answer(struct sim *sim, int pair, int side, int app, uint64_t id, int result, const char *text) {
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

static void schedule(struct sim *sim, enum item_kind kind, int pair, int side, int app, usec_t delay) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        sim_add(sim, item_for(kind, pair, side, app, ++a->life), delay);
}

static void answer_start(struct sim *sim, int pair, int side, int app, int result, const char *text) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        answer(sim, pair, side, app, a->start_id, result, text);
        a->start_id = 0;
}

static void report_failure(struct sim *sim, int pair, int side, int app) {
        const struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];
        const struct sim_message message = {
                .type = MESSAGE_FAILED, .token = a->token, .cause = a->cause, .code = a->code, .hard = a->hard
        };

        agent_say(sim, pair, side, app, &message);
}

void agent_app_fails(struct sim *sim, int pair, int side, int app, enum failure_cause cause, int code, bool hard) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];

        if (!vm_guest_acts(vm) || (a->state != APPLICATION_RUNNING && a->state != APPLICATION_STARTING))
                return;
        a->life++;
        a->state = APPLICATION_FAILED;
        a->cause = cause;
        a->code = code;
        a->hard = hard;
        if (!vm->agent_up || vm->agent_stopped)
                return; /* seen when the agent is back */
        answer_start(sim, pair, side, app, -5, "it failed");
        report_failure(sim, pair, side, app);
}

/* Its memory is there. */
static void begin(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];
        const struct sim_message uses = { .type = MESSAGE_USES, .bytes = a->bytes };

        a->restart = false;
        a->request_id = 0;
        agent_say(sim, pair, side, app, &uses);
        a->state = APPLICATION_STARTING;
        holder_written(sim, pair, side, app, a->token);
        schedule(sim, ITEM_APP_STARTED, pair, side, app, a->start_usec ? a->start_usec : sim_latency(sim, START_USEC));
}

static void say_request(struct sim *sim, int pair, int side, int app) {
        const struct sim_vm *vm = sim_vm(sim, pair, side);
        const struct sim_message request = {
                .type = MESSAGE_REQUEST,
                .id = vm->apps[app].request_id,
                .bytes = vm->apps[app].bytes - vm->plugged[app],
        };

        agent_say(sim, pair, side, app, &request);
}

static void start_when_ready(struct sim *sim, int pair, int side, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];

        if (vm->plugged[app] >= a->bytes) {
                begin(sim, pair, side, app);
                return;
        }
        a->request_id = (uint64_t) vm->agent_life << 32 | ++a->life;
        a->granted = false;
        a->state = APPLICATION_WAITING;
        say_request(sim, pair, side, app);
}

void agent_memory_came(struct sim *sim, int pair, int side, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];

        if (!vm->agent_up || vm->agent_stopped)
                return;
        if (a->attach_id && vm->plugged[app] >= a->attach_bytes) {
                answer(sim, pair, side, app, a->attach_id, 0, NULL);
                a->attach_id = 0;
        }
        if (a->state == APPLICATION_WAITING && vm->plugged[app] >= a->bytes)
                begin(sim, pair, side, app);
}

/* ---- what the host asks ---------------------------------------------------------------------------------- */

/* What is under way of a rehearsal ends when the region or the application is wanted. */
static void rehearsal_ends(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        answer(sim, pair, side, app, a->touch_id, -ECANCELED, "given up: the region is wanted for something else");
        answer(sim, pair, side, app, a->canary_id, -ECANCELED,
               "given up: the application is wanted for something else");
        a->touch_id = a->canary_id = 0;
}

static void touch(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct item item = item_for(ITEM_TOUCHED, pair, side, app, vm->agent_life);

        rehearsal_ends(sim, pair, side, app);
        vm->apps[app].touch_id = item.id = m->id;
        item.value = m->bytes;
        sim_add(sim, item, sim_latency(sim, TOUCH_GIB_USEC * (m->bytes / MIB) / 1024));
}

static void canary(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];
        struct item item = item_for(ITEM_CANARY_OVER, pair, side, app, vm->agent_life);

        a->canary_id = item.id = m->id;
        sim_add(sim, item,
                a->canary_hangs ? sim_policy(sim, pair)->applications[app].canary_timeout_usec
                                : sim_latency(sim, CANARY_USEC));
}

static void start(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (m->token < a->token) {
                answer(sim, pair, side, app, m->id, -ESTALE, "a higher token has been seen");
                return;
        }
        if (a->state == APPLICATION_STOPPING || !a->configured) {
                answer(sim, pair, side, app, m->id, a->configured ? -EBUSY : -ENOENT,
                       a->configured ? "it is being stopped" : "it is not configured here");
                return;
        }
        a->token = m->token;
        if (a->state == APPLICATION_RUNNING) {
                answer(sim, pair, side, app, m->id, 0, "already running");
                return;
        }
        rehearsal_ends(sim, pair, side, app);
        a->start_id = m->id;
        if (a->state == APPLICATION_WAITING && a->request_id && !a->granted)
                say_request(sim, pair, side, app);
        if (a->state == APPLICATION_STARTING || a->state == APPLICATION_WAITING)
                return;
        a->bytes = m->bytes;
        if (a->state == APPLICATION_FAILED) {
                a->restart = true;
                a->state = APPLICATION_STOPPING;
                schedule(sim, ITEM_APP_STOPPED, pair, side, app, USEC_PER_MSEC);
        } else
                start_when_ready(sim, pair, side, app);
}

/* Nothing of it is left. */
static void stopped(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        a->life++;
        if (a->stop_id)
                a->restart = false;
        a->state = APPLICATION_STOPPED;
        answer(sim, pair, side, app, a->stop_id, 0, NULL);
        a->stop_id = 0;
        if (a->restart)
                start_when_ready(sim, pair, side, app);
}

static void begin_stop(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];
        const struct pair_policy *policy = sim_policy(sim, pair);
        bool idle =
                a->state == APPLICATION_STOPPED || a->state == APPLICATION_WAITING || a->state == APPLICATION_FAILED;
        usec_t takes = a->stop_usec ? a->stop_usec : sim_latency(sim, STOP_USEC);

        if (idle) {
                stopped(sim, pair, side, app);
                return;
        }
        if (a->stop_sticks)
                takes = policy->applications[app].stop_timeout_usec + STOP_PATIENCE_USEC;
        a->state = APPLICATION_STOPPING;
        schedule(sim, ITEM_APP_STOPPED, pair, side, app, takes);
}

static void stop(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->start_id)
                answer_start(sim, pair, side, app, -ECANCELED, "stopped before it was up");
        a->restart = false;
        a->request_id = 0;
        a->stop_id = m->id;
        if (a->state != APPLICATION_STOPPING)
                begin_stop(sim, pair, side, app);
}

static void restart(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (m->token < a->token || !a->configured) {
                answer(sim, pair, side, app, m->id, a->configured ? -ESTALE : -ENOENT, "not so here");
                return;
        }
        if (a->stop_id || a->state == APPLICATION_WAITING) {
                answer(sim, pair, side, app, m->id, -EBUSY, "it is being stopped or waits");
                return;
        }
        a->token = m->token;
        a->start_id = m->id;
        a->restart = true;
        if (a->state != APPLICATION_STOPPING)
                begin_stop(sim, pair, side, app);
}

static void attach(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];

        rehearsal_ends(sim, pair, side, app);
        if (a->attach_id && a->attach_id != m->id)
                answer(sim, pair, side, app, a->attach_id, -ECANCELED, "a newer attach takes its place");
        a->attach_id = m->id;
        a->attach_bytes = m->bytes;
        agent_memory_came(sim, pair, side, app);
        if (a->attach_id) {
                struct item item = item_for(ITEM_WAIT_OVER, pair, side, app, vm->agent_life);

                item.id = a->attach_id;
                sim_add(sim, item, MEMORY_WAIT_USEC);
        }
}

static void granted(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];
        struct item item = item_for(ITEM_WAIT_OVER, pair, side, app, vm->agent_life);

        if (a->state != APPLICATION_WAITING || m->id != a->request_id)
                return;
        a->granted = true;
        item.id = a->request_id;
        sim_add(sim, item, MEMORY_WAIT_USEC);
        agent_memory_came(sim, pair, side, app);
}

static void refused(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->state != APPLICATION_WAITING || m->id != a->request_id)
                return;
        a->request_id = 0;
        a->state = APPLICATION_STOPPED;
        answer_start(sim, pair, side, app, -ENOMEM, "the host refused the memory that it asked for");
}

static void welcome(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        const struct pair_policy *policy = sim_policy(sim, pair);
        const struct sim_message hello = { .type = MESSAGE_HELLO,
                                           .states = agent_states(vm),
                                           .text = "failover-agent" };

        agent_say(sim, pair, side, NO_APP, &hello);
        for (size_t i = 0; i < policy->n_applications; i++) {
                struct sim_app *a = &vm->apps[i];
                if (a->state == APPLICATION_FAILED)
                        report_failure(sim, pair, side, (int) i);
                if (a->state == APPLICATION_WAITING && a->request_id && !a->granted)
                        say_request(sim, pair, side, (int) i);
        }
}

void agent_fault(struct sim *sim, int pair, int side, const char *fault, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);

        if (strcmp(fault, "app-kill") == 0)
                agent_app_fails(sim, pair, side, app, FAILURE_SIGNAL, 9, false);
        else if (strcmp(fault, "panic") == 0)
                vm_panic(sim, pair, side);
        else if (strcmp(fault, "hang") == 0 && vm_guest_acts(vm)) {
                vm->guest = GUEST_HUNG;
                vm->alive_usec = sim->now_usec;
        }
}

/* A failoverd that has just come does not know that an application is healthy: its next check tells. */
static void configured(struct sim *sim, int pair, int side) {
        const struct pair_policy *policy = sim_policy(sim, pair);
        struct sim_vm *vm = sim_vm(sim, pair, side);

        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                vm->apps[i].configured = (size_t) i < policy->n_applications;
                if (vm->apps[i].configured && vm->apps[i].state == APPLICATION_RUNNING)
                        schedule(sim, ITEM_APP_HEALTHY, pair, side, i, sim_latency(sim, HEALTHY_USEC));
        }
}

static void to_agent(struct sim *sim, struct item *item) {
        static void (*const handlers[MESSAGE_TYPE_MAX])(struct sim *, int, int, int, const struct sim_message *) = {
                [MESSAGE_START] = start,   [MESSAGE_STOP] = stop,     [MESSAGE_RESTART] = restart,
                [MESSAGE_ATTACH] = attach, [MESSAGE_GRANT] = granted, [MESSAGE_REFUSE] = refused,
                [MESSAGE_TOUCH] = touch,   [MESSAGE_CANARY] = canary,
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
                answer(sim, item->pair, item->side, item->app, m->id,
                       vm->apps[(int) item->app].check_fails ? -ENOENT : 0,
                       vm->apps[(int) item->app].check_fails ? "its start command is not there" : NULL);
        else if (m->type == MESSAGE_DETACH) {
                rehearsal_ends(sim, item->pair, item->side, item->app);
                answer(sim, item->pair, item->side, item->app, m->id, 0, NULL);
        } else if (vm->agent_old && (m->type == MESSAGE_TOUCH || m->type == MESSAGE_CANARY))
                return; /* unknown types are answered with nothing */
        else if (m->type == MESSAGE_FAULT)
                agent_fault(sim, item->pair, item->side, m->text, item->app);
        else if (item->app >= 0 && handlers[m->type])
                handlers[m->type](sim, item->pair, item->side, item->app, m);
}

/* ---- what happens to applications ------------------------------------------------------------------------- */

static void app_started(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->check_fails || a->start_fails) {
                agent_app_fails(sim, pair, side, app, FAILURE_START, 1, false);
                return;
        }
        a->state = APPLICATION_RUNNING;
        memory_app_started(sim, pair, side, app);
        answer_start(sim, pair, side, app, 0, NULL);
        if (overflow_lacks(sim, pair, side, app)) {
                agent_app_fails(sim, pair, side, app, FAILURE_SIGNAL, 9, false);
                return;
        }
        schedule(sim, ITEM_APP_HEALTHY, pair, side, app, sim_latency(sim, HEALTHY_USEC));
}

static void app_stopped(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->stop_sticks && !a->restart) {
                answer(sim, pair, side, app, a->stop_id, -EBUSY, "1 of its processes cannot be killed");
                a->stop_id = 0;
                schedule(sim, ITEM_APP_STOPPED, pair, side, app, USEC_PER_SEC);
                return;
        }
        stopped(sim, pair, side, app);
}

static void wait_over(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        struct sim_app *a = &vm->apps[(int) item->app];

        if (item->life != vm->agent_life)
                return;
        if (a->attach_id == item->id) {
                answer(sim, item->pair, item->side, item->app, a->attach_id, -ETIMEDOUT, "not all of it came online");
                a->attach_id = 0;
        }
        if (a->state == APPLICATION_WAITING && a->request_id == item->id) {
                a->request_id = 0;
                a->state = APPLICATION_STOPPED;
                answer_start(sim, item->pair, item->side, item->app, -ETIMEDOUT,
                             "the memory that was granted did not come online");
        }
}

static void rehearsed(struct sim *sim, struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        struct sim_app *a = &vm->apps[(int) item->app];
        struct sim_message result = { .type = MESSAGE_RESULT, .id = item->id };
        bool is_touch = item->kind == ITEM_TOUCHED,
             short_of = vm->touch_fails || vm->plugged[(int) item->app] < item->value;

        if (item->life != vm->agent_life || item->id != (is_touch ? a->touch_id : a->canary_id))
                return;
        a->touch_id = is_touch ? 0 : a->touch_id;
        a->canary_id = is_touch ? a->canary_id : 0;
        if (is_touch) {
                result.result = short_of ? -ENOMEM : 0;
                result.text = short_of ? "less than that can be had there" : NULL;
                result.bytes = short_of ? 0 : item->value;
        } else if (a->canary_hangs || a->canary_fails) {
                result.result = a->canary_hangs ? -ETIMEDOUT : -EIO;
                result.code = a->canary_hangs ? 0 : 3;
                result.text = a->canary_hangs ? "waiting for the licence server" : "no licence";
        }
        agent_say(sim, item->pair, item->side, item->app, &result);
}

static void agent_up(struct sim *sim, int pair, int side) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct item item = item_for(ITEM_TO_AGENT, pair, side, NO_APP, vm->link);

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
        sim_add(sim, item_for(ITEM_AGENT_UP, pair, side, NO_APP, vm->agent_life), sim_latency(sim, AGENT_RESTART_USEC));
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
        if (item->kind == ITEM_WAIT_OVER) {
                wait_over(sim, item);
                return;
        }
        if (item->kind == ITEM_TOUCHED || item->kind == ITEM_CANARY_OVER) {
                rehearsed(sim, item);
                return;
        }
        if (item->life != vm->apps[(int) item->app].life)
                return;
        if (item->kind == ITEM_APP_STARTED)
                app_started(sim, item->pair, item->side, item->app);
        else if (item->kind == ITEM_APP_STOPPED)
                app_stopped(sim, item->pair, item->side, item->app);
        else if (item->kind == ITEM_APP_HEALTHY) {
                const struct sim_message healthy = { .type = MESSAGE_HEALTHY,
                                                     .token = vm->apps[(int) item->app].token };

                agent_say(sim, item->pair, item->side, item->app, &healthy);
        }
}
