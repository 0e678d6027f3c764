/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A rehearsal in a guest: memory is touched, and a canary command runs. */

#include <errno.h>

#include "daemon/sim/world-app.h"

#define TOUCH_GIB_USEC (1500 * USEC_PER_MSEC)
#define CANARY_USEC (20 * USEC_PER_MSEC)

/* What is under way of a rehearsal ends when the region or the application is wanted. */
void rehearsal_end(struct sim *sim, int pair, int side, int app) {
        struct sim_app *a = &sim_vm(sim, pair, side)->apps[app];

        agent_answer(sim, pair, side, app, a->touch_id, -ECANCELED,
                     "given up: the region is wanted for something else");
        agent_answer(sim, pair, side, app, a->canary_id, -ECANCELED,
                     "given up: the application is wanted for something else");
        a->touch_id = a->canary_id = 0;
}

void rehearsal_touch(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct item item = agent_item_for(ITEM_TOUCHED, pair, side, app, vm->agent_life);

        rehearsal_end(sim, pair, side, app);
        vm->apps[app].touch_id = item.id = m->id;
        item.value = m->bytes;
        sim_add(sim, item, sim_latency(sim, TOUCH_GIB_USEC * (m->bytes / MIB) / 1024));
}

void rehearsal_canary(struct sim *sim, int pair, int side, int app, const struct sim_message *m) {
        struct sim_vm *vm = sim_vm(sim, pair, side);
        struct sim_app *a = &vm->apps[app];
        struct item item = agent_item_for(ITEM_CANARY_OVER, pair, side, app, vm->agent_life);

        a->canary_id = item.id = m->id;
        sim_add(sim, item,
                a->canary_hangs ? sim_policy(sim, pair)->applications[app].canary_timeout_usec
                                : sim_latency(sim, CANARY_USEC));
}

void rehearsal_over(struct sim *sim, const struct item *item) {
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
