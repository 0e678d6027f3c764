/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Applications in guests, as failover-agent supervises them (agents/guest/). */

#include <errno.h>

#include "daemon/sim/world-app.h"

#define START_USEC (80 * USEC_PER_MSEC)
#define HEALTHY_USEC (50 * USEC_PER_MSEC)
#define STOP_USEC (30 * USEC_PER_MSEC)
#define MEMORY_WAIT_USEC (30 * USEC_PER_SEC)
#define STOP_PATIENCE_USEC (5 * USEC_PER_SEC)

static void schedule(struct sim *sim, enum item_kind kind, int pair, int side, int app, usec_t delay) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        sim_add(sim, agent_item_for(kind, pair, side, app, ++a->life), delay);
}

static void answer_start(struct sim *sim, int pair, int side, int app, int result, const char *text) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        agent_answer(sim, pair, side, app, a->start_id, result, text);
        a->start_id = 0;
}

static void report_failure(struct sim *sim, int pair, int side, int app) {
        const struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];
        const struct sim_message message = {
                .type = MESSAGE_FAILED, .token = a->token, .cause = a->cause, .code = a->code, .hard = a->hard
        };

        agent_say(sim, pair, side, app, &message);
}

void app_fails(struct sim *sim, int pair, int side, int app, enum failure_cause cause, int code, bool hard) {
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

void app_memory_came(struct sim *sim, int pair, int side, int app) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];

        if (!vm->agent_up || vm->agent_stopped)
                return;
        if (a->attach_id && vm->plugged[app] >= a->attach_bytes) {
                agent_answer(sim, pair, side, app, a->attach_id, 0, NULL);
                a->attach_id = 0;
        }
        if (a->state == APPLICATION_WAITING && vm->plugged[app] >= a->bytes)
                begin(sim, pair, side, app);
}

/* ---- what the host asks ---------------------------------------------------------------------------------- */

/* What a host that has just come has to hear of it. */
void app_tell(struct sim *sim, int pair, int side, int app) {
        const struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->state == APPLICATION_FAILED)
                report_failure(sim, pair, side, app);
        if (a->state == APPLICATION_WAITING && a->request_id && !a->granted)
                say_request(sim, pair, side, app);
}

/* A failoverd that has just come does not know that an application is healthy: its next check tells. */
void app_configure(struct sim *sim, int pair, int side, int app, bool is_wanted) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        a->configured = is_wanted;
        if (a->configured && a->state == APPLICATION_RUNNING)
                schedule(sim, ITEM_APP_HEALTHY, pair, side, app, sim_latency(sim, HEALTHY_USEC));
}

void app_start(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (m->token < a->token) {
                agent_answer(sim, pair, side, app, m->id, -ESTALE, "a higher token has been seen");
                return;
        }
        if (a->state == APPLICATION_STOPPING || !a->configured) {
                agent_answer(sim, pair, side, app, m->id, a->configured ? -EBUSY : -ENOENT,
                             a->configured ? "it is being stopped" : "it is not configured here");
                return;
        }
        a->token = m->token;
        if (a->state == APPLICATION_RUNNING) {
                agent_answer(sim, pair, side, app, m->id, 0, "already running");
                return;
        }
        rehearsal_end(sim, pair, side, app);
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
        agent_answer(sim, pair, side, app, a->stop_id, 0, NULL);
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

void app_stop(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->start_id)
                answer_start(sim, pair, side, app, -ECANCELED, "stopped before it was up");
        a->restart = false;
        a->request_id = 0;
        a->stop_id = m->id;
        if (a->state != APPLICATION_STOPPING)
                begin_stop(sim, pair, side, app);
}

void app_restart(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (m->token < a->token || !a->configured) {
                agent_answer(sim, pair, side, app, m->id, a->configured ? -ESTALE : -ENOENT, "not so here");
                return;
        }
        if (a->stop_id || a->state == APPLICATION_WAITING) {
                agent_answer(sim, pair, side, app, m->id, -EBUSY, "it is being stopped or waits");
                return;
        }
        a->token = m->token;
        a->start_id = m->id;
        a->restart = true;
        if (a->state != APPLICATION_STOPPING)
                begin_stop(sim, pair, side, app);
}

void app_attach(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];

        rehearsal_end(sim, pair, side, app);
        if (a->attach_id && a->attach_id != m->id)
                agent_answer(sim, pair, side, app, a->attach_id, -ECANCELED, "a newer attach takes its place");
        a->attach_id = m->id;
        a->attach_bytes = m->bytes;
        app_memory_came(sim, pair, side, app);
        if (a->attach_id) {
                struct item item = agent_item_for(ITEM_WAIT_OVER, pair, side, app, vm->agent_life);

                item.id = a->attach_id;
                sim_add(sim, item, MEMORY_WAIT_USEC);
        }
}

void app_granted(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];
        struct item item = agent_item_for(ITEM_WAIT_OVER, pair, side, app, vm->agent_life);

        if (a->state != APPLICATION_WAITING || m->id != a->request_id)
                return;
        a->granted = true;
        item.id = a->request_id;
        sim_add(sim, item, MEMORY_WAIT_USEC);
        app_memory_came(sim, pair, side, app);
}

void app_refused(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->state != APPLICATION_WAITING || m->id != a->request_id)
                return;
        a->request_id = 0;
        a->state = APPLICATION_STOPPED;
        answer_start(sim, pair, side, app, -ENOMEM, "the host refused the memory that it asked for");
}

/* ---- what comes of it ------------------------------------------------------------------------------------ */

static void app_started(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->check_fails || a->start_fails) {
                app_fails(sim, pair, side, app, FAILURE_START, 1, false);
                return;
        }
        a->state = APPLICATION_RUNNING;
        memory_app_started(sim, pair, side, app);
        answer_start(sim, pair, side, app, 0, NULL);
        if (overflow_lacks(sim, pair, side, app)) {
                app_fails(sim, pair, side, app, FAILURE_SIGNAL, 9, false);
                return;
        }
        schedule(sim, ITEM_APP_HEALTHY, pair, side, app, sim_latency(sim, HEALTHY_USEC));
}

static void app_stopped(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        if (a->stop_sticks && !a->restart) {
                agent_answer(sim, pair, side, app, a->stop_id, -EBUSY, "1 of its processes cannot be killed");
                a->stop_id = 0;
                schedule(sim, ITEM_APP_STOPPED, pair, side, app, USEC_PER_SEC);
                return;
        }
        stopped(sim, pair, side, app);
}

void app_wait_over(struct sim *sim, const struct item *item) {
        struct sim_vm *vm = sim_vm(sim, item->pair, item->side);
        struct sim_app *a = &vm->apps[(int) item->app];

        if (item->life != vm->agent_life)
                return;
        if (a->attach_id == item->id) {
                agent_answer(sim, item->pair, item->side, item->app, a->attach_id, -ETIMEDOUT,
                             "not all of it came online");
                a->attach_id = 0;
        }
        if (a->state == APPLICATION_WAITING && a->request_id == item->id) {
                a->request_id = 0;
                a->state = APPLICATION_STOPPED;
                answer_start(sim, item->pair, item->side, item->app, -ETIMEDOUT,
                             "the memory that was granted did not come online");
        }
}

/* What an application was to come to: ITEM_APP_*. */
void app_item(struct sim *sim, const struct item *item) {
        const struct sim_app *a = &sim_vm(sim, item->pair, item->side)->apps[(int) item->app];
        const struct sim_message healthy = { .type = MESSAGE_HEALTHY, .token = a->token };

        if (item->life != a->life)
                return;
        if (item->kind == ITEM_APP_STARTED)
                app_started(sim, item->pair, item->side, item->app);
        else if (item->kind == ITEM_APP_STOPPED)
                app_stopped(sim, item->pair, item->side, item->app);
        else if (item->kind == ITEM_APP_HEALTHY)
                agent_say(sim, item->pair, item->side, item->app, &healthy);
}
