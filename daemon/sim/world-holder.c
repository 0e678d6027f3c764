/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The memory server that holds shared regions: one for all, at another host. What it is asked for happens, also where
 * its answer comes too late or failoverd is no more. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define GRANT_USEC (2 * USEC_PER_MSEC)
#define DOWN_USEC (50 * USEC_PER_MSEC) /* until it is known that nobody listens */

static struct sim_regions *regions_of(struct sim *sim, const struct item *item) {
        return &sim->pairs[item->pair].regions[(int) item->app];
}

void holder_call(struct sim *sim, const struct action *action) {
        struct item item = { .kind = ITEM_CALL_END, .pair = (short) action->pair, .side = (signed char) action->side,
                             .app = (signed char) action->app, .action = (int) action->kind, .id = action->id,
                             .value = action->bytes, .host = sim->host };
        usec_t takes = sim_latency(sim, sim->holder_slow_usec ? sim->holder_slow_usec : GRANT_USEC);

        /* That all may be new; where it is one more of them, it is there as the others are. */
        item.offset = action->count == (1U << sim_policy(sim, action->pair)->applications[action->app].n_regions) - 1;
        item.result = action->alone;
        if (sim->holder_down_usec > sim->now_usec || takes > action->deadline_usec) {
                struct item answer = item;

                answer.up = true;
                sim_add(sim, answer, sim->holder_down_usec > sim->now_usec ? DOWN_USEC : action->deadline_usec);
        }
        if (sim->holder_down_usec > sim->now_usec)
                return;
        if (takes > action->deadline_usec)
                item.id = 0;
        sim_add(sim, item, takes);
}

/* Does the policy make do without its regions? */
static bool may_start(struct sim *sim, const struct item *item) {
        const struct application *app = &sim_policy(sim, item->pair)->applications[(int) item->app];

        for (size_t i = 0; i < app->n_regions; i++)
                if (app->regions[i].on_lost != HOLDER_LOST_START)
                        return false;
        return true;
}

/* The holder cannot be asked. Who got the regions last has them as long as that guest lives. */
static int go_without(struct sim *sim, const struct item *item) {
        struct sim_regions *regions = regions_of(sim, item);
        const struct sim_vm *other = sim_vm(sim, item->pair, !item->side);

        if (!may_start(sim, item))
                return -ENOTCONN;
        if (!item->result)
                return -ENOTUNIQ;
        if (regions->exist && (int) regions->side != item->side && other->process && other->boot == regions->boot &&
            !other->paused && !other->stated_dead)
                checker_violated(sim, "%s is started without its state, which %s can still write",
                                 sim_policy(sim, item->pair)->applications[(int) item->app].name,
                                 sim_policy(sim, item->pair)->members[!item->side].domain);
        regions->without = item->value;
        return 0;
}

static int grant(struct sim *sim, const struct item *item) {
        const struct sim_vm *other = sim_vm(sim, item->pair, !item->side);
        struct sim_regions *regions = regions_of(sim, item);

        if (sim->holder_refuses)
                return -ENOSPC;
        if (!regions->exist && !item->offset && !may_start(sim, item))
                return -ENOENT;
        if (regions->exist && item->value <= regions->token)
                return -ESTALE;
        if (!regions->exist && regions->written && !may_start(sim, item))
                checker_violated(sim, "the state of %s was lost, and an empty one takes its place without a word",
                                 sim_policy(sim, item->pair)->applications[(int) item->app].name);
        regions->exist = true;
        regions->token = item->value;
        regions->side = (enum side) item->side;
        regions->boot = 0;
        /* What comes late is of no use to anybody, and takes nothing from who does without. */
        if (item->value > regions->without && checker_can_act(other, item->app) && !other->lied && !other->stated_dead)
                checker_violated(sim, "the state of %s is taken from %s, where it can still act",
                                 sim_policy(sim, item->pair)->applications[(int) item->app].name,
                                 sim_policy(sim, item->pair)->members[!item->side].domain);
        return 0;
}

static const char *answer_text(const struct event *event, const struct item *item) {
        if (event->result == -ENOTUNIQ)
                return "depot is out of reach, and who had it lives and may write there";
        if (event->result)
                return strerror(-event->result);
        return item->up ? "out of reach, started without it" : "";
}

void holder_call_end(struct sim *sim, const struct item *item) {
        struct event event = { .kind = EVENT_DONE, .pair = item->pair, .side = item->side, .app = item->app,
                               .action = item->action, .action_id = item->id, .bytes = item->value };

        event.result = item->up ? go_without(sim, item) : grant(sim, item);
        if (event.result == -ESTALE)
                event.bytes = regions_of(sim, item)->token;
        if (item->id == 0 || item->host != sim->host)
                return;
        snprintf(event.text, sizeof(event.text), "%s", answer_text(&event, item));
        failoverd_step(sim, &event);
}

static void lose_request(struct item *item, void *userdata) {
        (void) userdata;
        if (item->kind == ITEM_CALL_END && item->action == ACTION_GRANT_STATE)
                item->up = true;
}

/* A server that has lost what it held has begun anew: what it was asked for before, and has not done yet, went too. */
void holder_lose(struct sim *sim) {
        queue_each(&sim->queue, lose_request, NULL);
        for (int i = 0; i < sim->n_pairs; i++)
                for (size_t k = 0; k < POLICY_APPLICATIONS_MAX; k++)
                        sim->pairs[i].regions[k].exist = false;
}

void holder_heal(struct sim *sim) {
        sim->holder_down_usec = sim->holder_slow_usec = 0;
        sim->holder_refuses = false;
        for (int i = 0; i < sim->n_pairs; i++)
                for (size_t k = 0; k < POLICY_APPLICATIONS_MAX; k++)
                        sim->pairs[i].regions[k].exist = true; /* a person opens them */
}
