/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager/manager-places.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/manager/manager-internal.h"

#define PLACES_MAX 4096

/* The first place whose name is that or comes behind it: places are in the order of their names. */
static size_t lower_bound(const struct overflow *overflow, const char *name) {
        size_t low = 0, high = overflow->n_places;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (strcmp(overflow->places[middle]->name, name) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static struct overflow_place *new_place(struct overflow *overflow, const char *name) {
        struct overflow_place *place = calloc(1, sizeof(*place));

        if (!place)
                return NULL;
        *place = (struct overflow_place) { .overflow = overflow, .pair = NO_PAIR };
        snprintf(place->name, sizeof(place->name), "%s", name);
        return place;
}

/* NULL when out of memory or past the limit. */
static struct overflow_place *get_place(struct overflow *overflow, const char *name) {
        size_t at = lower_bound(overflow, name), n = overflow->n_places;
        struct overflow_place *place, **grown;

        if (at < n && strcmp(overflow->places[at]->name, name) == 0)
                return overflow->places[at];
        if (n == PLACES_MAX)
                return NULL;
        grown = realloc(overflow->places, (n + 1) * sizeof(*grown));
        if (!grown)
                return NULL;
        overflow->places = grown;
        place = new_place(overflow, name);
        if (!place)
                return NULL;
        memmove(grown + at + 1, grown + at, (n - at) * sizeof(*grown));
        grown[at] = place;
        overflow->n_places++;
        return place;
}

static struct overflow_place *get_vm_place(struct overflow *overflow, const struct pair *pair, enum side side,
                                           const char *app) {
        struct overflow_place *place;
        char name[PAGER_NAME_LEN];

        snprintf(name, sizeof(name), "%s%s%s", pair->policy->members[side].domain, *app ? "@" : "", app);
        place = get_place(overflow, name);
        if (!place)
                return NULL;
        place->pair = pair->slot;
        place->side = side;
        snprintf(place->app, sizeof(place->app), "%s", app);
        return place;
}

static void on_listed(void *userdata, const char *name) {
        (void) get_place(userdata, name);
}

static void set_keys(struct overflow *overflow, const struct pair *pair, enum side side, const char *app,
                     const struct overflow_keys *keys) {
        struct overflow_place *place;

        if (keys->n_servers == 0)
                return;
        place = get_vm_place(overflow, pair, side, app);
        if (place)
                place->keys = keys;
}

/* Those that have a configuration: whose they are is in their names, "DOMAIN" and "DOMAIN@APPLICATION". */
static void claim_configured(struct overflow *overflow, const struct pair *pair, enum side side) {
        const char *domain = pair->policy->members[side].domain;
        char prefix[PAGER_NAME_LEN];
        size_t n = (size_t) snprintf(prefix, sizeof(prefix), "%s@", domain), at = lower_bound(overflow, domain);

        if (at < overflow->n_places && strcmp(overflow->places[at]->name, domain) == 0)
                (void) get_vm_place(overflow, pair, side, "");
        for (at = lower_bound(overflow, prefix);
             at < overflow->n_places && strncmp(overflow->places[at]->name, prefix, n) == 0; at++)
                (void) get_vm_place(overflow, pair, side, overflow->places[at]->name + n);
}

/* An application's disk is its VM's, where it is now. */
static void find_vm(struct overflow *overflow, const struct pair *pair, enum side side) {
        const struct overflow_disks *disks = hypervisor_overflow(overflow->manager->hypervisor, pair->slot, side);
        const struct pair_policy *policy = pair->policy;

        for (unsigned i = 0; disks && i < disks->n; i++) {
                struct overflow_place *place = get_vm_place(overflow, pair, side, disks->disks[i].app);

                if (place)
                        snprintf(place->serial, sizeof(place->serial), "%s", disks->disks[i].serial);
        }
        claim_configured(overflow, pair, side);
        if (policy->retired)
                return;
        set_keys(overflow, pair, side, "", &policy->members[side].overflow);
        for (unsigned app = 0; app < policy->n_applications; app++)
                if (pair_wants_overflow(overflow->manager->engine, pair, (int) app, side))
                        set_keys(overflow, pair, side, policy->applications[app].name,
                                 &policy->applications[app].overflow);
}

/* What each look finds anew, of one pair's places or with NO_PAIR of all. */
static void forget_found(struct overflow *overflow, int slot) {
        for (size_t i = 0; i < overflow->n_places; i++) {
                struct overflow_place *place = overflow->places[i];

                if (slot != NO_PAIR && place->pair != slot)
                        continue;
                place->keys = NULL;
                place->serial[0] = 0;
                place->pair = NO_PAIR;
        }
}

static void find_pair(struct overflow *overflow, const struct pair *pair) {
        for (enum side side = 0; pair && side < SIDE_MAX; side++)
                find_vm(overflow, pair, side);
}

void overflow_find_places(struct overflow *overflow) {
        const struct engine *engine = overflow->manager->engine;

        forget_found(overflow, NO_PAIR);
        (void) pagers_list(overflow->pagers, on_listed, overflow);
        for (int i = 0; i < engine->n_pairs; i++)
                find_pair(overflow, engine->pairs[i]);
}

void overflow_find_places_of(struct overflow *overflow, int slot) {
        forget_found(overflow, slot);
        find_pair(overflow, overflow->manager->engine->pairs[slot]);
}

void overflow_drop_places(struct overflow *overflow, bool (*is_over)(const struct overflow_place *place)) {
        size_t kept = 0;

        for (size_t i = 0; i < overflow->n_places; i++)
                if (is_over(overflow->places[i]))
                        free(overflow->places[i]);
                else
                        overflow->places[kept++] = overflow->places[i];
        overflow->n_places = kept;
}
