/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table, held against what it is made of: the pool, bases, grants, what was assigned by hand, memory servers. */

#include <inttypes.h>

#include "daemon/sim/world.h"

#define ROWS_A_STEP 256 /* more than a world of the exploration has */

bool checker_by_hand(const struct pair *pair, int app) {
        return pair->policy->applications[app].kind == APPLICATION_MEMORY;
}

static void check_rehearsal_row(struct sim *sim, const struct pair *pair, enum side side, int app) {
        const struct record_app *record = &pair->record.apps[app];
        const struct region *row = table_find_rehearsal(&sim->engine->table, (struct holder){ pair->slot, side }, app);
        bool wanted = record->rehearsed && pair->record.rehearsal_side == side && record->granted_bytes[side] > 0;

        if (wanted != (row != NULL) || (row && row->usage_bytes != record->granted_bytes[side]))
                checker_violated(sim, "the table has %" PRIu64 " MiB of %s in a rehearsal, the record %" PRIu64 " MiB",
                                 row ? row->usage_bytes / MIB : 0, record->name,
                                 wanted ? record->granted_bytes[side] / MIB : 0);
        if (record->rehearsed &&
            (pair->record.rehearsal == REHEARSAL_NONE || record->owner == pair->record.rehearsal_side))
                checker_violated(sim, "%s counts as rehearsed without a rehearsal", record->name);
}

static void check_vm_rows(struct sim *sim, const struct pair *pair, enum side side) {
        const struct table *table = &sim->engine->table;
        const struct member *member = &pair->policy->members[side];
        unsigned regions[POLICY_APPLICATIONS_MAX] = { 0 };
        uint64_t rows = 0, granted = 0;

        for (size_t i = 0; i < table->n_rows; i++) {
                const struct region *row = &table->rows[i];

                if (row->user.pair != pair->slot)
                        continue;
                if (row->user.side == side)
                        rows += row->usage_bytes;
                if (row->kind == REGION_APPLICATION && !checker_by_hand(pair, row->app) && ++regions[row->app] > 1)
                        checker_violated(sim, "the region of %s has two rows", row->name);
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                granted += pair->record.apps[i].granted_bytes[side];
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                check_rehearsal_row(sim, pair, side, (int) i);
        if (rows != member->base_bytes + granted)
                checker_violated(sim, "the table gives %s %" PRIu64 " MiB; its base and its grants are %" PRIu64 " MiB",
                         member->domain, rows / MIB, (member->base_bytes + granted) / MIB);
}

/* Each place of the pool has one manager at most, and a VM has nothing plugged there that the table does not give it.
 */
static void check_assigned(struct sim *sim) {
        const struct engine *engine = sim->engine;
        struct rights map;

        if (!engine->ready || !engine->policy || rights_init(&map, engine->policy->extent_bytes,
                                                             engine->policy->pool_bytes / engine->policy->extent_bytes *
                                                                     engine->policy->extent_bytes) < 0)
                return;
        for (int i = 0; i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        const struct assigned *assigned = &engine->pairs[i]->record.assigned[side];

                        for (unsigned k = 0; k < assigned->n_spans; k++) {
                                struct span span = assigned->spans[k];

                                for (uint64_t at = span.start; at < span.end; at += map.extent_bytes) {
                                        const struct rights_range *range = rights_find(&map, at);

                                        if (!range || holder_is_vm(range->manager))
                                                checker_violated(sim, "%s manages a place that is another's, or none",
                                                                 engine->pairs[i]->policy->members[side].domain);
                                }
                                (void) rights_assign(&map, span, (struct holder) { i, side }, 0);
                        }
                }
        rights_deinit(&map);
}

/* At rest each VM has what it was assigned, unless that is called back or the pool does not have it. */
void checker_assigned(struct sim *sim, const struct pair *pair) {
        int app = pair_policy_find_memory(pair->policy);
        uint64_t promised = engine_promised_bytes(sim->engine);

        for (enum side side = 0; app >= 0 && side < SIDE_MAX; side++) {
                uint64_t granted = pair->record.apps[app].granted_bytes[side];
                uint64_t assigned = assigned_bytes(pair, side);

                if (granted == assigned || assigned_target(sim->engine, pair, app, side) != assigned ||
                    pair->members[side].resize[app].id || pair->members[side].resize[app].failures)
                        continue; /* or called back, or not asked for yet, or not at rest */
                if (granted > assigned || table_unused(&sim->engine->table) >= assigned - granted + promised)
                        checker_violated(sim, "%s was assigned %" PRIu64 " MiB and has %" PRIu64 " MiB",
                                         pair->policy->members[side].domain, assigned / MIB, granted / MIB);
        }
}

/* What is at memory servers makes up for what the pool has not, and for no more. */
static void check_remote(struct sim *sim, const struct region *row) {
        const struct pair *pair = row->kind == REGION_APPLICATION ? sim->engine->pairs[row->user.pair] : NULL;
        const struct application *application;
        uint64_t remote;

        if (!pair || !pair->policy || (size_t) row->app >= pair->policy->n_applications)
                return;
        application = &pair->policy->applications[row->app];
        remote = pair_remote_bytes(pair, row);
        if (remote > 0 && (row->usage_bytes == 0 || row->usage_bytes + remote > application->memory_bytes ||
                           remote > application->overflow.size_bytes))
                checker_violated(sim, "%s has %" PRIu64 " MiB here and %" PRIu64 " MiB at memory servers, of %" PRIu64
                                 " MiB", application->name, row->usage_bytes / MIB, remote / MIB,
                                 application->memory_bytes / MIB);
}

void checker_table(struct sim *sim, int slot) {
        const struct table *table = &sim->engine->table;
        uint64_t sum = 0;

        /* A long table is added up less often, so that the cost of a step stays the same. */
        sim->checker.unlooked += ROWS_A_STEP;
        if (sim->checker.unlooked < table->n_rows)
                return;
        sim->checker.unlooked = 0;
        for (size_t i = 0; i < table->n_rows; i++) {
                sum += table->rows[i].usage_bytes;
                check_remote(sim, &table->rows[i]);
        }
        if (!sim->engine->ready || sim->engine->pool_short)
                return; /* it is built once all records are in, and cannot be where they do not fit */
        if (table->rows && sum + sim->engine->lost_bytes != sim->engine->policy->pool_bytes)
                checker_violated(sim, "the table's rows add up to %" PRIu64 " MiB of %" PRIu64 " MiB", sum / MIB,
                         sim->engine->policy->pool_bytes / MIB);
        if (slot < 0 || slot >= sim->engine->n_pairs || !sim->engine->pairs[slot] || !sim->engine->ready)
                return;
        for (enum side side = 0; side < SIDE_MAX; side++)
                check_vm_rows(sim, sim->engine->pairs[slot], side);
        if (pair_policy_find_memory(sim->engine->pairs[slot]->policy) >= 0)
                check_assigned(sim);
}

/* Only what begins to lean is judged: the swap may fill up afterwards. */
void checker_lean(struct sim *sim, const struct event *event) {
        uint64_t sum = 0;

        for (int i = 0; i < sim->engine->n_pairs; i++)
                for (size_t k = 0; sim->engine->pairs[i] && k < sim->engine->pairs[i]->policy->n_applications; k++)
                        for (enum side side = 0; side < SIDE_MAX; side++)
                                sum += sim->engine->pairs[i]->record.apps[k].using_bytes[side];
        if (sum > sim->checker.leant_bytes && event->kind != EVENT_RESTORED) {
                if (sum > sim->swap_bytes)
                        checker_violated(sim, "old users have %" PRIu64 " MiB, and the swap takes %" PRIu64 " MiB",
                                         sum / MIB, sim->swap_bytes / MIB);
                if (sim->engine->policy->overcommit == OVERCOMMIT_NONE && !sim->pool_limited)
                        checker_violated(sim, "old users have %" PRIu64 " MiB beside the pool", sum / MIB);
        }
        sim->checker.leant_bytes = sum;
}
