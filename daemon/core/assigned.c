/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/assigned.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define GIVE_WAY_USEC (30 * USEC_PER_SEC) /* after the last time that somebody was short */
#define ATTACH_ATTEMPTS 5

static uint64_t sum(const struct assigned *assigned) {
        uint64_t bytes = 0;

        for (unsigned i = 0; i < assigned->n_spans; i++)
                bytes += span_bytes(assigned->spans[i]);
        return bytes;
}

uint64_t assigned_bytes(const struct pair *pair, enum side side) {
        return sum(&pair->record.assigned[side]);
}

uint64_t assigned_most(const struct pair *pair, int app) {
        uint64_t most = 0;

        for (enum side side = 0; side < SIDE_MAX; side++) {
                uint64_t has = pair->record.apps[app].granted_bytes[side], is_to_have = assigned_bytes(pair, side);

                most = has > most ? has : most;
                most = is_to_have > most ? is_to_have : most;
        }
        return most;
}

bool assigned_called_back(const struct engine *engine) {
        return engine->assigned_short_usec && engine->now_usec < engine->assigned_short_usec + GIVE_WAY_USEC;
}

uint64_t assigned_target(const struct engine *engine, const struct pair *pair, int app, enum side side) {
        const struct assigning *assigning = &engine->assigning;
        const struct application *region = &pair->policy->applications[app];
        struct holder vm = pair_holder(pair, side);
        uint64_t target = assigned_bytes(pair, side);

        if (assigned_called_back(engine) || region->retired)
                return 0;
        for (size_t i = 0; assigning->plan.running && i < assigning->plan.n_vms; i++)
                if (holder_equal(assigning->plan.vms[i].holder, vm))
                        target = assigning->vms[i].target_bytes;
        return target < region->memory_bytes ? target : region->memory_bytes;
}

uint64_t assigned_available(const struct engine *engine) {
        uint64_t unused = table_unused(&engine->table), spent = engine_promised_bytes(engine);

        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];
                int app = pair ? pair_policy_find_memory(pair->policy) : -1;

                for (enum side side = 0; app >= 0 && side < SIDE_MAX; side++) {
                        uint64_t has = pair->record.apps[app].granted_bytes[side];
                        uint64_t is_to_have = assigned_bytes(pair, side);

                        if (has > is_to_have)
                                unused += has - is_to_have;
                        else
                                spent += is_to_have - has;
                }
        }
        return unused > spent ? unused - spent : 0;
}

/* ---- places ---------------------------------------------------------------------------------------------- */

static uint64_t space_bytes(const struct policy *policy) {
        return policy->pool_bytes / policy->extent_bytes * policy->extent_bytes;
}

int assigned_map(const struct engine *engine, struct rights *ret) {
        struct rights map;
        int r;

        r = rights_init(&map, engine->policy->extent_bytes, space_bytes(engine->policy));
        if (r < 0)
                return r;
        for (int i = 0; i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        const struct assigned *assigned = &engine->pairs[i]->record.assigned[side];

                        for (unsigned k = 0; r >= 0 && k < assigned->n_spans; k++)
                                r = rights_assign(&map, assigned->spans[k], pair_holder(engine->pairs[i], side), 0);
                }
        if (r < 0) {
                rights_deinit(&map);
                return r;
        }
        *ret = map;
        return 0;
}

bool assigned_refuses_policy(const struct engine *engine, const struct policy *policy, char *why, size_t size) {
        if (engine->assigning.plan.running && !engine->assigning.of_guest) {
                snprintf(why, size, "memory is being assigned by hand; apply again when that is over (failoverctl "
                         "memory assign --wait), or end it (--cancel)");
                return true;
        }
        for (int i = 0; i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        const struct assigned *assigned = &engine->pairs[i]->record.assigned[side];

                        for (unsigned k = 0; k < assigned->n_spans; k++) {
                                struct span span = assigned->spans[k];

                                if (span.start % policy->extent_bytes == 0 && span.end % policy->extent_bytes == 0 &&
                                    span.end <= space_bytes(policy))
                                        continue;
                                snprintf(why, size, "%s: what was assigned to it by hand does not fit %s; release it "
                                         "first (failoverctl memory release)", pair_domain(engine->pairs[i], side),
                                         span.end > space_bytes(policy) ? "a pool of that size"
                                                                        : "an extent of that size");
                                return true;
                        }
                }
        return false;
}

/* The first stretch of whole extents within `span` that nobody has yet; empty where there is none. */
static struct span find_free(const struct rights *map, struct span span) {
        uint64_t at;

        span.start = (span.start + map->extent_bytes - 1) / map->extent_bytes * map->extent_bytes;
        span.end = span.end / map->extent_bytes * map->extent_bytes;
        if (span.end > map->size_bytes)
                span.end = map->size_bytes;
        while (span.start < span.end && holder_is_vm(rights_find(map, span.start)->manager))
                span.start = rights_find(map, span.start)->span.end;
        for (at = span.start; at < span.end && !holder_is_vm(rights_find(map, at)->manager);)
                at = rights_find(map, at)->span.end;
        if (at < span.end)
                span.end = at;
        return span.start < span.end ? span : (struct span) { 0 };
}

static int restore_side(struct step *step, struct rights *map, enum side side, uint64_t region_bytes) {
        struct assigned *assigned = &step->pair->record.assigned[side], fits = { 0 };
        uint64_t before = sum(assigned), left = region_bytes / map->extent_bytes * map->extent_bytes;
        int r = 0;

        for (unsigned i = 0; r >= 0 && i < assigned->n_spans; i++) {
                struct span rest = assigned->spans[i], span;

                while (r >= 0 && left > 0 && fits.n_spans < ASSIGNED_SPANS_MAX) {
                        span = find_free(map, rest);
                        if (span.start == span.end)
                                break;
                        if (span_bytes(span) > left)
                                span.end = span.start + left;
                        left -= span_bytes(span);
                        fits.spans[fits.n_spans++] = span;
                        r = rights_assign(map, span, pair_holder(step->pair, side), step->now);
                        rest.start = span.end;
                }
        }
        if (r < 0 || sum(&fits) == before)
                return r;
        *assigned = fits;
        pair_owner_dirty(step->pair);
        step_say(step, RECORD_TABLE_MISMATCH, side, "%s: %" PRIu64 " MiB of what it was assigned by hand are another "
                 "VM's by now, or do not fit the pool or its region; it goes on with %" PRIu64 " MiB, ask for the rest "
                 "again", pair_domain(step->pair, side), (before - sum(&fits)) / MIB, sum(&fits) / MIB);
        return 0;
}

/* The records of two pairs may be of different times: failoverd was ended between their writes. */
void assigned_restore(struct engine *engine, struct update *update) {
        struct rights map;

        if (rights_init(&map, engine->policy->extent_bytes, space_bytes(engine->policy)) < 0)
                return;
        for (int i = 0; i < engine->n_pairs; i++) {
                struct step step = step_begin(engine, engine->pairs[i], update);
                int app = step.pair ? pair_policy_find_memory(step.pair->policy) : -1;

                if (step.pair && app < 0)
                        memset(step.pair->record.assigned, 0, sizeof(step.pair->record.assigned));
                for (enum side side = 0; app >= 0 && side < SIDE_MAX; side++)
                        if (restore_side(&step, &map, side, step.pair->policy->applications[app].memory_bytes) ==
                            -ENOMEM)
                                update->failed = true;
        }
        rights_deinit(&map);
}

/* What the records say that each VM was given, by application. */
struct given {
        uint64_t bytes[POLICY_APPLICATIONS_MAX][SIDE_MAX];
};

/* Each VM has what it was given by hand, as far as it is to have it; or nothing. */
static void cut_given(struct engine *engine, const struct given *given, bool to_nothing) {
        for (int i = 0; i < engine->n_pairs; i++)
                for (int app = 0; engine->pairs[i] && app < (int) engine->pairs[i]->policy->n_applications; app++)
                        for (enum side side = 0; pair_is_memory(engine->pairs[i], app) && side < SIDE_MAX; side++) {
                                uint64_t target = assigned_target(engine, engine->pairs[i], app, side);
                                uint64_t *bytes = &engine->pairs[i]->record.apps[app].granted_bytes[side];

                                if (to_nothing || target < given[i].bytes[app][side])
                                        *bytes = to_nothing ? 0 : target;
                        }
}

/* Cutting it did not help: it is not what the pool lacks. */
static void restore_given(struct engine *engine, const struct given *given) {
        for (int i = 0; i < engine->n_pairs; i++)
                for (size_t app = 0; engine->pairs[i] && app < POLICY_APPLICATIONS_MAX; app++)
                        memcpy(engine->pairs[i]->record.apps[app].granted_bytes, given[i].bytes[app],
                               sizeof(given[i].bytes[app]));
}

static void say_cut(struct engine *engine, const struct given *given, struct update *update) {
        for (int i = 0; i < engine->n_pairs; i++) {
                struct step step = step_begin(engine, engine->pairs[i], update);

                for (int app = 0; step.pair && app < (int) step.pair->policy->n_applications; app++)
                        for (enum side side = 0; side < SIDE_MAX; side++) {
                                uint64_t before = given[i].bytes[app][side];
                                uint64_t now = step.pair->record.apps[app].granted_bytes[side];

                                if (now == before)
                                        continue;
                                pair_owner_dirty(step.pair);
                                step_say(&step, RECORD_TABLE_MISMATCH, side, "%s: of the %" PRIu64 " MiB that were "
                                         "recorded as given to it by hand the pool covers %" PRIu64 " MiB; what it is "
                                         "still to have it gets once that is unused",
                                         pair_domain(step.pair, side), before / MIB, now / MIB);
                        }
        }
}

int assigned_build_table(struct engine *engine, struct table *ret, struct update *update) {
        struct given *given;
        int r = engine_build_table(engine, engine->policy, engine->pairs, engine->n_pairs, false, ret);

        if (r >= 0 || r == -ENOMEM)
                return r;
        given = calloc((size_t) engine->n_pairs + 1, sizeof(*given));
        if (!given)
                return -ENOMEM;
        for (int i = 0; i < engine->n_pairs; i++)
                for (size_t app = 0; engine->pairs[i] && app < POLICY_APPLICATIONS_MAX; app++)
                        memcpy(given[i].bytes[app], engine->pairs[i]->record.apps[app].granted_bytes,
                               sizeof(given[i].bytes[app]));
        for (int round = 0; r < 0 && r != -ENOMEM && round < 2; round++) {
                cut_given(engine, given, round > 0);
                r = engine_build_table(engine, engine->policy, engine->pairs, engine->n_pairs, false, ret);
        }
        if (r >= 0)
                say_cut(engine, given, update);
        else {
                restore_given(engine, given);
                if (r != -ENOMEM)
                        r = engine_build_table(engine, engine->policy, engine->pairs, engine->n_pairs, true, ret);
        }
        free(given);
        return r;
}

/* ---- one VM follows --------------------------------------------------------------------------------------- */

void assigned_give_way(struct step *step) {
        struct engine *engine = step->engine;
        bool before = assigned_called_back(engine), any = false;

        engine->assigned_short_usec = step->now;
        for (int i = 0; !before && i < engine->n_pairs; i++) {
                struct pair *pair = engine->pairs[i];
                int app = pair ? pair_policy_find_memory(pair->policy) : -1;

                if (app < 0 || pair->record.apps[app].granted_bytes[SIDE_A] +
                                               pair->record.apps[app].granted_bytes[SIDE_B] ==
                                       0)
                        continue;
                any = true;
                step_look_again(step, pair);
        }
        if (any)
                step_say(step, RECORD_GRANTED, SIDE_INVALID,
                         "a hot-standby application is short of memory: what was assigned by hand is called back");
}

/* The table gives the VM so much more. */
static bool grow_row(struct step *step, int app, enum side side, uint64_t bytes) {
        struct table *table = &step->engine->table;
        const struct pair *pair = step->pair;
        struct holder vm = pair_holder(pair, side);
        struct region *row = table_find_application(table, vm, app);

        if (row)
                return table_grow(table, row, bytes) == bytes;
        if (table_grant(table, vm, bytes) < 0)
                return false;
        if (table_carve(table, vm, pair->policy->members[side].base_bytes, app, pair->policy->applications[app].name,
                        bytes, vm) == 0)
                return true;
        (void) table_release(table, vm, bytes);
        step->update->failed = true; /* there was no memory for a row */
        return false;
}

/* Is a failover under way, or is a VM that lost its memory to one still there? */
static bool any_failover(const struct engine *engine) {
        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];

                if (pair && pair_flow_active(pair))
                        return true;
                for (enum side side = 0; pair && side < SIDE_MAX; side++)
                        if (pair->record.fence_wanted[side] && !member_is_gone(&pair->members[side]))
                                return true;
        }
        return false;
}

/* What the VM may be given now, of what it lacks. */
static uint64_t may_have(const struct engine *engine, uint64_t lacks) {
        uint64_t unused = table_unused(&engine->table), promised = engine_promised_bytes(engine);
        uint64_t extent = engine->policy->extent_bytes;

        if (unused <= promised || any_failover(engine))
                return 0;
        return unused - promised >= lacks ? lacks : (unused - promised) / extent * extent;
}

static void extend(struct step *step, int app, enum side side, uint64_t target) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        const struct member_state *member = &pair->members[side];
        uint64_t bytes;

        if (member->domain != DOMAIN_RUNNING || pair->record.fence_wanted[side] || member->failure[0] ||
            member->preflight_usec == 0 || !member->preflight.apps[app].present)
                return;
        bytes = may_have(step->engine, target - record->granted_bytes[side]);
        if (bytes == 0 || !grow_row(step, app, side, bytes))
                return;
        record->granted_bytes[side] += bytes;
        pair->apps[app].attached[side] = false;
        pair->apps[app].attach[side].failures = 0;
        pair_dirty(pair);
        step_say(step, RECORD_GRANTED, side, "%s: %" PRIu64 " MiB out of unused, assigned by hand",
                 pair_domain(pair, side), bytes / MIB);
        step->again = true;
}

/* Has QEMU told of the device since it was asked for the present target? */
static bool told_since(const struct member_state *member, int app, uint64_t target) {
        return member->requested_known[app] && member->requested_bytes[app] == target && member->resize[app].id == 0 &&
               member->plugged_usec[app] > member->resize[app].sent_usec;
}

static void release(struct step *step, int app, enum side side, uint64_t target) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        const struct member_state *member = &pair->members[side];
        struct region *row = table_find_application(&step->engine->table, pair_holder(pair, side), app);
        uint64_t left = record->granted_bytes[side];

        if (!record->releasing[side]) {
                uint64_t manages = assigned_bytes(pair, side);

                record->releasing[side] = true;
                pair->apps[app].attached[side] = false;
                handover_tell_managed(step, app, side, target < manages ? target : manages);
                pair_dirty(pair);
                step->again = true;
        }
        if (member_is_gone(member))
                left = target;
        else if (told_since(member, app, target))
                left = member->plugged_bytes[app] > target ? member->plugged_bytes[app] : target;
        if (left >= record->granted_bytes[side])
                return;
        assert(row); /* each grant by hand has one */
        table_shrink(&step->engine->table, row, record->granted_bytes[side] - left);
        record->granted_bytes[side] = left;
        pair_dirty(pair);
        if (left == assigned_bytes(pair, side))
                pair_owner_dirty(pair); /* it is another's from now on, after a power loss too */
        step->again = step->changed = true;
}

/* Where the guest's kernel does not set plugged memory online by itself, its agent does. */
static void bring_online(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        uint64_t bytes = pair->record.apps[app].granted_bytes[side];

        (void) request_expire(step, &a->attach[side], pair->policy->act_timeout_usec);
        if (bytes == 0 || a->attached[side] || pair->record.apps[app].releasing[side] ||
            pair->members[side].plugged_bytes[app] < bytes || !pair->members[side].configured ||
            a->attach[side].failures >= ATTACH_ATTEMPTS || !request_free(step, &a->attach[side]))
                return;
        step_ask(step, side, MESSAGE_ATTACH, app, &a->attach[side])->bytes = bytes;
}

void advance_assigned(struct step *step, int app) {
        struct pair *pair = step->pair;

        if (step->engine->pool_short)
                return; /* the table does not know what was given out */
        for (enum side side = 0; side < SIDE_MAX; side++) {
                struct record_app *record = &pair->record.apps[app];
                uint64_t target = assigned_target(step->engine, pair, app, side);

                if (record->granted_bytes[side] > target)
                        release(step, app, side, target);
                if (record->granted_bytes[side] <= target && record->releasing[side]) {
                        record->releasing[side] = false;
                        pair_dirty(pair);
                        step->again = true;
                }
                if (record->granted_bytes[side] < target)
                        extend(step, app, side, target);
                bring_online(step, app, side);
        }
}
