/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The memory server that holds shared regions: one for all, at another host; and the one that mirrors those that have
 * a mirror. What they are asked for happens, also where the answer comes too late or failoverd is no more. */

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/sim/world.h"

#define GRANT_USEC (2 * USEC_PER_MSEC)
#define GRANT_NEW 1   /* in an item's result: they may be new */
#define GRANT_ALONE 2 /* whoever had them can write no more anyway */
#define DOWN_USEC (50 * USEC_PER_MSEC) /* until it is known that nobody listens */

static struct sim_regions *regions_of(struct sim *sim, const struct item *item) {
        return &sim->pairs[item->pair].regions[(int) item->app];
}

static bool is_mirrored(const struct sim *sim, int pair, int app) {
        return sim_policy(sim, pair)->applications[app].regions[0].mirror[0];
}

static bool is_up(const struct sim *sim, int pair, int app, int at) {
        if (at == 1)
                return is_mirrored(sim, pair, app) && sim->mirror_down_usec <= sim->now_usec;
        return sim->holder_down_usec <= sim->now_usec;
}

/* Copies are as far as their primaries while those reach them. */
static void refresh(struct sim *sim, int pair, int app) {
        struct sim_region_place *places = sim->pairs[pair].regions[app].places;

        for (int at = 0; at < 2; at++)
                if (places[at].is == SIM_REGION_PRIMARY && is_up(sim, pair, app, at) &&
                    places[!at].is == SIM_REGION_COPY)
                        places[!at].latest = places[at].latest && is_up(sim, pair, app, !at);
}

void holder_refresh(struct sim *sim) {
        for (int i = 0; i < sim->n_pairs; i++)
                for (size_t k = 0; sim->pairs[i].present && k < sim_policy(sim, i)->n_applications; k++)
                        refresh(sim, i, (int) k);
}

void holder_call(struct sim *sim, const struct action *action) {
        struct item item = { .kind = ITEM_CALL_END, .pair = (short) action->pair, .side = (signed char) action->side,
                             .app = (signed char) action->app, .action = (int) action->kind, .id = action->id,
                             .value = action->bytes, .offset = action->offset, .host = sim->host };
        usec_t takes = sim_latency(sim, sim->holder_slow_usec ? sim->holder_slow_usec : GRANT_USEC);
        bool up = is_up(sim, action->pair, action->app, 0) || is_up(sim, action->pair, action->app, 1);

        /* That all may be new; where it is one more of them, it is there as the others are. */
        if (action->count == (1U << sim_policy(sim, action->pair)->applications[action->app].n_regions) - 1)
                item.result |= GRANT_NEW;
        if (action->alone)
                item.result |= GRANT_ALONE;
        if (!up || takes > action->deadline_usec) {
                struct item answer = item;

                answer.up = true;
                sim_add(sim, answer, up ? action->deadline_usec : DOWN_USEC);
        }
        if (!up)
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
        if (!(item->result & GRANT_ALONE))
                return -ENOTUNIQ;
        if (regions->token > 0 && (int) regions->side != item->side && other->process && other->boot == regions->boot &&
            !other->paused && !other->stated_dead)
                checker_violated(sim, "%s is started without its state, which %s can still write",
                                 sim_policy(sim, item->pair)->applications[(int) item->app].name,
                                 sim_policy(sim, item->pair)->members[!item->side].domain);
        regions->without = item->value;
        return 0;
}

/* The later of two that believe to be the primary, but sooner that of the last grant on record; or -1. */
static int find_primary(const struct sim_region_place places[static 2], const bool up[static 2], uint64_t granted) {
        bool is[2];

        for (int at = 0; at < 2; at++)
                is[at] = up[at] && places[at].is == SIM_REGION_PRIMARY;
        if (is[0] && is[1])
                return places[1].token == granted || (places[0].token != granted && places[1].token > places[0].token);
        return is[0] ? 0 : is[1] ? 1 : -1;
}

/* The place that gives the right to write, as daemon/pages/region-take.c finds it; or -errno. A holder without a mirror
 * does what it was asked for also late. */
static int find_place(struct sim *sim, const struct item *item) {
        const struct sim_region_place *places = regions_of(sim, item)->places;
        bool mirrored = is_mirrored(sim, item->pair, item->app), makes_do = may_start(sim, item);
        bool up[] = { !mirrored || is_up(sim, item->pair, item->app, 0), is_up(sim, item->pair, item->app, 1) };
        bool may_be_new = item->result & GRANT_NEW, unknown = item->offset == STATE_GRANTED_UNKNOWN;
        bool safe = may_be_new || item->result & GRANT_ALONE, older;
        int found;

        for (int at = 0; at < 2; at++)
                if (up[at] && places[at].is != SIM_REGION_NONE && item->value <= places[at].token)
                        return -ESTALE;
        found = find_primary(places, up, item->offset);
        if (found >= 0) {
                older = unknown ? mirrored && !up[!found] : places[found].token < item->offset;
                if (older && !may_be_new && !makes_do)
                        return -ENODATA;
                return older && mirrored && !up[!found] && !safe ? -ENOTUNIQ : found;
        }
        for (int at = 0; at < 2; at++)
                if (up[at] && places[at].is == SIM_REGION_COPY) {
                        if (!up[!at] && !safe)
                                return -ENOTUNIQ;
                        return places[at].latest || makes_do ? at : -ENODATA;
                }
        if (!up[0] && !up[1])
                return -ENOTCONN;
        if (!may_be_new && mirrored && !(up[0] && up[1]))
                return -ENOTCONN;
        return may_be_new || makes_do ? !up[0] : -ENOENT;
}

/* An application has been started with its regions, if it was for their latest grant: from now on only a copy that its
 * primary reaches is as late as that; and whoever was started there before has ended. */
void holder_written(struct sim *sim, int pair, int side, int app, uint64_t token) {
        struct sim_regions *regions = &sim->pairs[pair].regions[app];
        struct sim_region_place *here = &regions->places[regions->at], *other = &regions->places[!regions->at];

        regions->written |= regions->token > 0;
        if (regions->token == 0 || (int) regions->side != side || regions->token != token)
                return;
        regions->boot = here->boot = sim_vm(sim, pair, side)->boot;
        if (other->is != SIM_REGION_COPY)
                other->latest = false;
        if ((int) other->side == side)
                other->boot = 0;
}

/* Whoever was started there before writes nowhere any more, also where its place cannot be asked. */
static bool has_ended(struct sim *sim, const struct item *item) {
        enum application_state state = sim_vm(sim, item->pair, item->side)->apps[(int) item->app].state;

        return state == APPLICATION_STOPPED || state == APPLICATION_FAILED;
}

static void take(struct sim *sim, const struct item *item, int at) {
        struct sim_regions *regions = regions_of(sim, item);
        struct sim_region_place *other = &regions->places[!at];

        if ((int) other->side == item->side && has_ended(sim, item))
                other->boot = 0;
        regions->places[at] = (struct sim_region_place) { .is = SIM_REGION_PRIMARY, .token = item->value,
                                                          .latest = true, .side = (enum side) item->side };
        regions->at = at;
        if (is_up(sim, item->pair, item->app, !at))
                *other = (struct sim_region_place) { .is = SIM_REGION_COPY, .token = item->value, .latest = true };
        regions->token = item->value;
        regions->side = (enum side) item->side;
}

/* The other place was not asked, and works on with the old side as before. */
static void check_silent(struct sim *sim, const struct item *item, int at) {
        const struct sim_region_place *other = &regions_of(sim, item)->places[!at];
        const struct sim_vm *vm = sim_vm(sim, item->pair, !item->side);

        if (!is_up(sim, item->pair, item->app, !at) && is_mirrored(sim, item->pair, item->app) &&
            other->is == SIM_REGION_PRIMARY && other->boot && (int) other->side != item->side && vm->process &&
            vm->boot == other->boot && !vm->paused && !vm->stated_dead)
                checker_violated(sim, "the state of %s is granted at one place, and %s can still write it at the other",
                                 sim_policy(sim, item->pair)->applications[(int) item->app].name,
                                 sim_policy(sim, item->pair)->members[!item->side].domain);
}

static int grant(struct sim *sim, const struct item *item) {
        const struct sim_vm *other = sim_vm(sim, item->pair, !item->side);
        const struct pair_policy *policy = sim_policy(sim, item->pair);
        struct sim_regions *regions = regions_of(sim, item);
        int at;

        if (sim->holder_refuses)
                return -ENOSPC;
        refresh(sim, item->pair, item->app);
        at = find_place(sim, item);
        if (at < 0)
                return at == -ENOTCONN ? go_without(sim, item) : at;
        if (regions->written && !regions->places[at].latest && !may_start(sim, item))
                checker_violated(sim, "the state of %s was lost, and %s takes its place without a word",
                                 policy->applications[(int) item->app].name,
                                 regions->places[at].is == SIM_REGION_NONE ? "an empty one" : "an older one");
        check_silent(sim, item, at);
        take(sim, item, at);
        regions->boot = 0;
        /* What comes late is of no use to anybody, and takes nothing from who does without. */
        if (item->value > regions->without && checker_can_act(other, item->app) && !other->lied && !other->stated_dead)
                checker_violated(sim, "the state of %s is taken from %s, where it can still act",
                                 policy->applications[(int) item->app].name, policy->members[!item->side].domain);
        return 0;
}

static const char *answer_text(const struct event *event, const struct item *item) {
        if (event->result == -ENOTUNIQ)
                return "depot is out of reach, and who had it lives and may write there";
        if (event->result)
                return strerror(-event->result);
        return item->up ? "out of reach, started without it" : "";
}

static uint64_t highest_token(const struct sim_regions *regions) {
        const struct sim_region_place *places = regions->places;

        return places[0].token > places[1].token ? places[0].token : places[1].token;
}

void holder_call_end(struct sim *sim, const struct item *item) {
        struct event event = { .kind = EVENT_DONE, .pair = item->pair, .side = item->side, .app = item->app,
                               .action = item->action, .action_id = item->id, .bytes = item->value };

        event.result = item->up ? go_without(sim, item) : grant(sim, item);
        if (event.result == -ESTALE)
                event.bytes = highest_token(regions_of(sim, item));
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
                        sim->pairs[i].regions[k].places[0] = (struct sim_region_place) { 0 };
}

void holder_heal(struct sim *sim) {
        sim->holder_down_usec = sim->mirror_down_usec = sim->holder_slow_usec = 0;
        sim->holder_refuses = false;
        for (int i = 0; i < sim->n_pairs; i++)
                for (size_t k = 0; k < POLICY_APPLICATIONS_MAX; k++) {
                        struct sim_regions *regions = &sim->pairs[i].regions[k];
                        struct sim_region_place *places = regions->places;

                        if (!sim->pairs[i].present || k >= sim_policy(sim, i)->n_applications ||
                            !is_mirrored(sim, i, (int) k))
                                places[1] = (struct sim_region_place) { 0 }; /* of a policy before */
                        if (!places[0].latest && !places[1].latest) /* a person brings them back */
                                places[0] = (struct sim_region_place) { .is = SIM_REGION_PRIMARY, .latest = true,
                                                                        .token = regions->token };
                }
}
