/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Mirrors of shared regions that are in use. A holder reaches for its mirror by itself; one that has come back empty it
 * does not find again, and would be alone until the application's next start. So what is on record as granted is looked
 * after, one application after the other. Nothing is decided here that a failover rests on: a mirror that is not there
 * is none, whoever has looked. And what a policy that is to take effect leaves at holders is told.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/memstream.h"
#include "daemon/manager/manager-internal.h"

#define LOOK_USEC (2 * USEC_PER_SEC)
#define LOOKED_AT 8 /* applications a look: at one of a thousand every four minutes */

_Static_assert(POLICY_REGIONS_MAX <= 8, "bits by region (manager_pair.untended)");

static bool has_mirror(const struct application *application) {
        for (size_t i = 0; i < application->n_regions; i++)
                if (application->regions[i].mirror[0])
                        return true;
        return false;
}

/* It is in use under that token, and nobody is about to take it. */
static bool rests(const struct pair *pair, int app) {
        const struct record_app *record = &pair->record.apps[app];

        return pair->record.known && !pair->policy->retired && pair->record.flow.kind == FLOW_NONE && !record->moving &&
               record->state_granted == record->token && record->token > 0 &&
               pair->members[record->owner].fence == FENCE_NONE && !pair->record.fence_wanted[record->owner];
}

/* Numbers may have changed with the policy since it was asked for. False where it is not there any more. */
static bool find(const struct engine *engine, const struct region_look_after *done, int *ret_slot, int *ret_app,
                 int *ret_region) {
        const struct pair_policy *policy;

        *ret_slot = engine_find_pair(engine, done->pair);
        if (*ret_slot < 0)
                return false;
        policy = engine->pairs[*ret_slot]->policy;
        *ret_app = pair_policy_find_application(policy, done->application);
        if (*ret_app < 0)
                return false;
        *ret_region = application_find_region(&policy->applications[*ret_app], done->region);
        return *ret_region >= 0;
}

/* Said once, until it is well again: it is tried again all the time. */
static void on_tended(void *userdata, const struct region_look_after *done) {
        struct manager *manager = userdata;
        struct action action = { .kind = ACTION_RECORD, .record_kind = RECORD_GRANTED };
        const struct pair *pair;
        uint8_t *untended, bit;
        int region;

        if (done->result == -EAGAIN || !find(manager->engine, done, &action.pair, &action.app, &region) ||
            action.pair >= manager->n_pairs)
                return;
        pair = manager->engine->pairs[action.pair];
        if (pair->record.apps[action.app].token != done->token)
                return; /* its next grant has said how it stands */
        untended = &manager->pairs[action.pair]->untended[action.app];
        bit = (uint8_t) (1U << region);
        if (done->result < 0 && *untended & bit)
                return;
        *untended = (uint8_t) (done->result < 0 ? *untended | bit : *untended & ~bit);
        if (!done->text[0])
                return; /* nothing was amiss */
        action.side = pair->record.apps[action.app].owner;
        snprintf(action.text, sizeof(action.text), "the state of %.60s: %.180s", done->application, done->text);
        manager_act(manager, &action);
}

/* The next one that has a mirror, from where the last look ended. False where all have had their turn. */
static bool next(struct manager *manager, int *ret_slot, int *ret_app) {
        const struct engine *engine = manager->engine;

        for (; manager->tended_slot < engine->n_pairs; manager->tended_slot++, manager->tended_app = 0) {
                const struct pair *pair = engine->pairs[manager->tended_slot];

                while (pair && (size_t) manager->tended_app < pair->policy->n_applications) {
                        int app = manager->tended_app++;

                        if (!has_mirror(&pair->policy->applications[app]) || !rests(pair, app))
                                continue;
                        *ret_slot = manager->tended_slot;
                        *ret_app = app;
                        return true;
                }
        }
        manager->tended_slot = manager->tended_app = 0;
        return false;
}

static int on_look(sd_event_source *source, uint64_t usec, void *userdata) {
        struct manager *manager = userdata;
        int slot, app;

        for (int i = 0; i < LOOKED_AT && next(manager, &slot, &app); i++) {
                const struct pair *pair = manager->engine->pairs[slot];

                /* What cannot be begun now has its turn again. */
                (void) region_holder_tend(manager->regions, manager->engine->policy, pair->policy, app,
                                          pair->record.apps[app].token);
        }
        (void) sd_event_source_set_time_relative(source, LOOK_USEC);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int manager_open_regions(struct manager *manager, struct error *error) {
        int r = region_holder_new(manager->loop, &manager->sink, on_tended, manager, &manager->regions);

        if (r < 0)
                return error_set(error, r, "out of memory");
        r = sd_event_add_time_relative(manager->loop, &manager->regions_timer, CLOCK_BOOTTIME, LOOK_USEC, 0, on_look,
                                       manager);
        return r < 0 ? error_set(error, r, "cannot set a timer: %s", strerror(-r)) : 0;
}

/* A space is its pair's, whichever application has it as a region. NULL: it leaves the policy. */
static const struct state_region *find_region(const struct policy *policy, const char *pair, const char *name) {
        int at = policy_find_pair(policy, pair);

        for (size_t k = 0; at >= 0 && k < policy->pairs[at].n_applications; k++) {
                const struct application *application = &policy->pairs[at].applications[k];
                int region = application_find_region(application, name);

                if (region >= 0)
                        return &application->regions[region];
        }
        return NULL;
}

static bool is_at(const struct state_region *region, const char *server) {
        return region && (strcmp(region->holder, server) == 0 || strcmp(region->mirror, server) == 0);
}

/* What a pair that left the policy has there is told from other programs' memory by whoever drops it. */
static void tell_left(FILE *f, const struct policy *policy, const char *pair, const struct application *application,
                      const struct state_region *region) {
        const struct state_region *next = find_region(policy, pair, region->name);
        bool holder = !is_at(next, region->holder), mirror = region->mirror[0] && !is_at(next, region->mirror);

        if (!holder && !mirror)
                return;
        fprintf(f, "note: what %s/%s has stored in region %s stays at %s%s%s", pair, application->name, region->name,
                holder ? region->holder : "", holder && mirror ? " and " : "", mirror ? region->mirror : "");
        if (next && holder && (!region->mirror[0] || mirror))
                fprintf(f, ", and at the next start it begins empty at %s, unless that has an older one", next->holder);
        fprintf(f, "; failoverctl regions drop %s %s%s gives it up\n", pair, region->name,
                policy_find_pair(policy, pair) >= 0 ? "" : " --force");
}

int manager_tell_left(const struct manager *manager, const struct policy *policy, char **report) {
        const struct engine *engine = manager->engine;
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        if (f && *report)
                fputs(*report, f);
        for (int slot = 0; f && slot < engine->n_pairs; slot++) {
                const struct pair *pair = engine->pairs[slot];

                for (size_t app = 0; pair && app < pair->policy->n_applications; app++) {
                        const struct application *application = &pair->policy->applications[app];

                        for (size_t i = 0; i < application->n_regions; i++)
                                if (pair->record.apps[app].state_kept & 1U << i)
                                        tell_left(f, policy, pair->policy->name, application,
                                                  &application->regions[i]);
                }
        }
        if (memstream_close(f, &text) < 0)
                return -ENOMEM;
        free(*report);
        *report = text;
        return 0;
}
