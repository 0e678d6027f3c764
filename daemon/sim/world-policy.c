/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The policy in force, and the world that goes with it. The world's pairs and applications have the places that the
 * engine gives them; a changed policy, or a restart under one, may give them others, and everything in the world that
 * names one by its place, what is still to happen included, follows. A pair that the engine governs no more keeps its
 * VMs, beyond the places that the engine knows.
 */

#include <stdlib.h>
#include <string.h>

#include "daemon/sim/world.h"

#define NOWHERE (-1)

/* From old places to new ones. */
struct places {
        int n_pairs;
        struct place {
                int pair;
                signed char apps[POLICY_APPLICATIONS_MAX];
        } *pairs;
};

/* Keeps a policy for the rest of the run: pairs that are governed no more refer to theirs. */
static const struct policy *keep(struct sim *sim, struct policy *policy) {
        struct policy **grown = realloc(sim->policies, (sim->n_policies + 1) * sizeof(*grown));

        if (!grown || !policy) {
                sim->policies = grown ? grown : sim->policies;
                policy_free(policy);
                sim->failed = true;
                return NULL;
        }
        sim->policies = grown;
        return sim->policies[sim->n_policies++] = policy;
}

static int find_pair(const struct sim *sim, const char *name) {
        for (int i = 0; i < sim->n_pairs; i++)
                if (strcmp(sim->pairs[i].name, name) == 0)
                        return i;
        return NOWHERE;
}

/* Which place of the new policy each application of the old one has. */
static void find_applications(const struct pair_policy *before, const struct pair_policy *now,
                              signed char ret[POLICY_APPLICATIONS_MAX]) {
        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                ret[i] = before && i < before->n_applications
                                 ? (signed char) pair_policy_find_application(now, before->applications[i].name)
                                 : NOWHERE;
}

/* ---- what follows ----------------------------------------------------------------------------------------------- */

static uint64_t follow_states(uint64_t states, const signed char *apps) {
        uint64_t moved = 0;

        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                if (apps[i] >= 0)
                        moved |= (states >> (4 * i) & 15) << (4 * apps[i]);
        return moved;
}

/* What happens to a VM, whatever runs there. */
static bool is_of_vm(enum item_kind kind) {
        switch (kind) {
        case ITEM_BOOTED:
        case ITEM_QEMU_GONE:
        case ITEM_LIBVIRT_SEES:
        case ITEM_AGENT_UP:
        case ITEM_RESET:
        case ITEM_STARVED_OVER:
        case ITEM_HANG_OVER:
        case ITEM_LINK_BACK:
                return true;
        default:
                return false;
        }
}

/* Something that is to happen; what is to happen to an application that is no more does not. */
static void follow_item(struct item *item, void *userdata) {
        const struct places *places = userdata;
        const struct place *place;

        if (item->pair < 0 || item->pair >= places->n_pairs)
                return;
        place = &places->pairs[item->pair];
        item->pair = (short) place->pair;
        item->message.states = follow_states(item->message.states, place->apps);
        if (is_of_vm(item->kind) || item->app < 0 || item->app >= POLICY_APPLICATIONS_MAX)
                return;
        item->app = place->apps[(int) item->app];
        if (item->app < 0)
                item->kind = ITEM_NOTHING;
}

static void follow_looks(struct sim_pair *pair, const struct place *place) {
        struct sim_pair old = *pair;

        memset(pair->regions, 0, sizeof(pair->regions));
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                int to = place->apps[i];

                if (to < 0)
                        continue;
                pair->followed[to] = old.followed[i];
                pair->look_usec[to] = old.look_usec[i];
                pair->looked[to] = old.looked[i];
                pair->regions[to] = old.regions[i];
        }
}

static void follow_vm(struct sim_vm *vm, const struct place *place, struct places *places) {
        struct sim_vm old = *vm;

        memset(vm->apps, 0, sizeof(vm->apps));
        memset(vm->requested, 0, sizeof(vm->requested));
        memset(vm->plugged, 0, sizeof(vm->plugged));
        memset(vm->plugging, 0, sizeof(vm->plugging));
        memset(vm->disks, 0, sizeof(vm->disks));
        memset(vm->touch_usec, 0, sizeof(vm->touch_usec));
        memset(vm->paged_out, 0, sizeof(vm->paged_out));
        for (int i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                int to = place->apps[i];

                if (to < 0)
                        continue;
                vm->apps[to] = old.apps[i];
                vm->requested[to] = old.requested[i];
                vm->plugged[to] = old.plugged[i];
                vm->plugging[to] = old.plugging[i];
                vm->disks[to] = old.disks[i];
                vm->touch_usec[to] = old.touch_usec[i];
                memcpy(vm->paged_out[to], old.paged_out[i], sizeof(old.paged_out[i]));
        }
        for (size_t i = 0; i < vm->n_deferred; i++)
                follow_item(&vm->deferred[i], places);
        for (int lane = 0; lane < LANE_MAX; lane++)
                if (vm->lane_stuck[lane]) {
                        follow_item(&vm->stuck[lane], places);
                        vm->lane_stuck[lane] = vm->stuck[lane].kind != ITEM_NOTHING;
                }
}

/* ---- places
 * -------------------------------------------------------------------------------------------------------- */

/* Gives each pair of the engine its place, then the others theirs. False when out of memory. */
static bool make_places(struct sim *sim, struct places *places, struct sim_pair **ret, int *ret_n) {
        const struct engine *engine = sim->engine;
        int n = engine->n_pairs;
        struct sim_pair *pairs = calloc((size_t) (n + sim->n_pairs) + 1, sizeof(*pairs));

        *places = (struct places) { .n_pairs = sim->n_pairs,
                                    .pairs = calloc((size_t) sim->n_pairs + 1, sizeof(*places->pairs)) };
        if (!pairs || !places->pairs) {
                free(pairs);
                free(places->pairs);
                return false;
        }
        for (int i = 0; i < sim->n_pairs; i++)
                places->pairs[i].pair = NOWHERE;
        for (int i = 0; i < engine->n_pairs; i++) {
                int from = engine->pairs[i] ? find_pair(sim, engine->pairs[i]->policy->name) : NOWHERE;

                if (from >= 0) {
                        pairs[i] = sim->pairs[from];
                        places->pairs[from].pair = i;
                } else if (engine->pairs[i])
                        sim_pair_init(&pairs[i], engine->pairs[i]->policy->name);
        }
        for (int i = 0; i < sim->n_pairs; i++)
                if (places->pairs[i].pair == NOWHERE) {
                        pairs[n] = sim->pairs[i];
                        places->pairs[i].pair = n++;
                }
        *ret = pairs;
        *ret_n = n;
        return true;
}

/* Nobody looks after it any more: failoverd holds neither its processes nor its links. */
static void leave(struct sim_pair *pair) {
        pair->present = false;
        for (int side = 0; side < SIDE_MAX; side++) {
                pair->vms[side].held = pair->vms[side].absence_told = pair->vms[side].link_up =
                        pair->vms[side].greeted = false;
                pair->vms[side].link++;
        }
}

/* What the policy in force has no more is out of its VMs. */
static void look_for_forgotten(struct sim *sim, const struct sim_pair *pair, const struct pair_policy *next) {
        for (size_t i = 0; pair->present && pair->policy && i < pair->policy->n_applications; i++)
                for (int side = 0; side < SIDE_MAX; side++)
                        if (!next || pair_policy_find_application(next, pair->policy->applications[i].name) < 0)
                                checker_forgotten(sim, &pair->vms[side], (int) i, pair->policy->applications[i].name,
                                                  pair->policy->members[side].domain);
}

void policy_in_force(struct sim *sim) {
        const struct policy *now;
        struct places places;
        struct sim_pair *pairs;
        int n_pairs;

        if (!sim->engine->policy)
                return; /* there was no memory for it */
        now = keep(sim, policy_copy(sim->engine->policy));
        if (!now || !make_places(sim, &places, &pairs, &n_pairs)) {
                sim->failed = true;
                return;
        }
        for (int i = 0; i < sim->n_pairs; i++) {
                struct sim_pair *pair = &pairs[places.pairs[i].pair];
                int found = policy_find_pair(now, pair->name);
                const struct pair_policy *next = found < 0 ? pair->policy : &now->pairs[found];

                find_applications(pair->policy, next, places.pairs[i].apps);
                look_for_forgotten(sim, pair, found < 0 ? NULL : next);
                if (found < 0)
                        leave(pair);
        }
        queue_each(&sim->queue, follow_item, &places);
        for (int i = 0; i < sim->n_pairs; i++) {
                struct sim_pair *pair = &pairs[places.pairs[i].pair];

                follow_looks(pair, &places.pairs[i]);
                for (int side = 0; side < SIDE_MAX; side++)
                        follow_vm(&pair->vms[side], &places.pairs[i], &places);
        }
        free(places.pairs);
        free(sim->pairs);
        sim->pairs = pairs;
        sim->n_pairs = n_pairs;
        sim->policy = now;
        checker_policy(sim);
        for (int i = 0; i < n_pairs; i++) {
                int found = policy_find_pair(now, pairs[i].name);
                bool fresh = pairs[i].policy == NULL;

                if (found < 0)
                        continue;
                pairs[i].present = true;
                pairs[i].policy = &now->pairs[found];
                for (int side = 0; fresh && side < SIDE_MAX; side++)
                        libvirt_inspect(sim, i, side, false, 0);
        }
}

void policy_apply(struct sim *sim, struct policy *policy) {
        const struct policy *kept = keep(sim, policy);
        char why[EVENT_TEXT_LEN];

        if (!kept)
                return;
        if (sim->engine && engine_try_policy(sim->engine, kept, why, sizeof(why)) < 0) {
                print_line(sim, "the policy is refused: %s", why);
                return;
        }
        sim->file_policy = kept;
        if (!sim->engine)
                return; /* found at its next start */
        failoverd_step(sim, &(struct event){ .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = kept });
}

void policy_mend_pool(struct sim *sim) {
        for (uint64_t factor = 2; sim->engine && sim->engine->pool_short && factor <= 16; factor *= 2) {
                struct policy *policy = policy_copy(sim->file_policy);

                if (policy)
                        policy->pool_bytes *= factor;
                policy_apply(sim, policy);
        }
}
