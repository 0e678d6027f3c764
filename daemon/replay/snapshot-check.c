/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the engine relies on and a field cannot show alone: counts and what they count, indexes and what they point
 * to, sums. The core asserts a part of it and would stop the program; here it is an error with a reason, so that a
 * damaged recording cannot do that.
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/pair.h"
#include "daemon/replay/snapshot.h"

enum { ROW_MONITOR, ROW_OVERHEAD, ROW_RESERVE, ROW_UNUSED, ROW_FIRST_FREE };

/* ---- handovers ------------------------------------------------------------------------------------------- */

static bool is_borrowed(const struct rights_range *range) {
        return holder_is_vm(range->user) && !holder_equal(range->user, range->manager);
}

/* A member of this pair, or nobody. */
static bool is_inside(struct holder holder, int slot) {
        return holder.pair < 0 || holder.pair == slot;
}

/* What rights_check() states. */
static bool range_is_sound(const struct rights *rights, size_t i, int slot) {
        const struct rights_range *range = &rights->ranges[i], *before = i > 0 ? range - 1 : NULL;

        if (range->span.start != (before ? before->span.end : 0) || range->span.end <= range->span.start ||
            range->span.end % rights->extent_bytes != 0 || range->span.end > rights->size_bytes)
                return false;
        if (!is_inside(range->manager, slot) || !is_inside(range->user, slot) || !is_inside(range->next, slot))
                return false;
        if (is_borrowed(range) != (range->unmanaged_usec != USEC_INFINITY) || (range->releasing && !is_borrowed(range)))
                return false;
        if (holder_is_vm(range->next) && (!range->releasing || holder_equal(range->next, range->user)))
                return false;
        return !before || !holder_equal(before->manager, range->manager) || !holder_equal(before->user, range->user) ||
               before->releasing != range->releasing || !holder_equal(before->next, range->next) ||
               before->unmanaged_usec != range->unmanaged_usec;
}

/* As early_release_init() makes it, and nothing is divided by zero. */
static bool early_is_sound(const struct early_release *early, const struct rights *rights, int slot) {
        uint64_t n_extents = rights->size_bytes / rights->extent_bytes;

        _Static_assert(USAGE_EXTENTS_MAX <= EARLY_RELEASE_GRANULES_MAX, "a granule is an extent");
        if (early->granule_bytes != rights->extent_bytes || early->n_granules != n_extents ||
            early->cursor >= n_extents || early->n_means > n_extents)
                return false;
        for (size_t i = 0; i < early->n_granules; i++)
                if (!is_inside(early->granules[i].user, slot))
                        return false;
        for (size_t i = 0; i < early->n_means; i++)
                if (early->means[i].n == 0 || early->means[i].n > n_extents)
                        return false;
        return true;
}

static int check_handover(const struct pair *pair, size_t i, struct error *error) {
        const struct handover *handover = pair->apps[i].handover;
        const struct application *policy = &pair->policy->applications[i];
        const struct rights *rights = &handover->rights;
        uint64_t extent = usage_extent_bytes(policy->memory_bytes),
                 size = extent * usage_n_extents(policy->memory_bytes);

        if (rights->extent_bytes != extent || rights->size_bytes != size)
                return error_set(error, -EBADMSG, "the handover of %s is of another size than its region",
                                 policy->name);
        for (size_t k = 0; k < rights->n_ranges; k++)
                if (!range_is_sound(rights, k, pair->slot))
                        return error_set(error, -EBADMSG,
                                         "the handover of %s: range %zu contradicts the others, or itself",
                                         policy->name, k);
        if (rights->n_ranges == 0 || rights->ranges[rights->n_ranges - 1].span.end != size)
                return error_set(error, -EBADMSG, "the handover of %s: its ranges do not cover the region",
                                 policy->name);
        if (!early_is_sound(&handover->early, rights, pair->slot))
                return error_set(error, -EBADMSG,
                                 "the handover of %s: what is counted of its extents does not fit them", policy->name);
        if ((handover->usage.n_extents &&
             (handover->usage.extent_bytes != extent || handover->usage.n_extents * extent != size)) ||
            handover->paging.start > handover->paging.end || handover->paging.end > size)
                return error_set(error, -EBADMSG, "the handover of %s reaches past its region", policy->name);
        return 0;
}

/* ---- pairs ----------------------------------------------------------------------------------------------- */

static int check_app(const struct pair *pair, size_t i, struct error *error) {
        const struct application *policy = &pair->policy->applications[i];
        const struct record_app *record = &pair->record.apps[i];

        if (strcmp(record->name, policy->name) != 0)
                return error_set(error, -EBADMSG, "apps[%zu] is \"%s\" in the record and %s in the policy", i,
                                 record->name, policy->name);
        return pair->apps[i].handover ? check_handover(pair, i, error) : 0;
}

/* The places behind the last application are empty. */
static bool app_is_empty(const struct pair *pair, size_t i) {
        static const struct app_state no_state;
        static const struct record_app no_record;

        return memcmp(&pair->apps[i], &no_state, sizeof(no_state)) == 0 &&
               memcmp(&pair->record.apps[i], &no_record, sizeof(no_record)) == 0;
}

static int check_flow(const struct flow *flow, struct error *error) {
        if (flow->kind != FLOW_NONE && (flow->from < 0 || flow->to < 0 || flow->from == flow->to))
                return error_set(error, -EBADMSG, "its %s goes from no side to another",
                                 flow_kind_to_string(flow->kind));
        return 0;
}

/* What happened happened before now: an answer that is still to come would be one for ever. */
static int check_times(const struct engine *engine, const struct member_state *member, struct error *error) {
        const struct detector *d = &member->detector;
        const usec_t times[] = {
                member->domain_usec,
                member->process_gone_usec,
                member->lost_usec,
                member->greeted_usec,
                member->failure_usec,
                member->going_usec,
                member->fence_usec,
                member->started_usec,
                member->found_usec,
                member->mass_hold_usec,
                d->last_pong_usec,
                d->suspected_usec,
                d->last_path_usec[PATH_ECHO],
                d->last_path_usec[PATH_BALLOON],
                d->told_usec[PATH_ECHO],
                d->told_usec[PATH_BALLOON],
        };

        for (size_t i = 0; i < ELEMENTSOF(times); i++)
                if (times[i] > engine->now_usec)
                        return error_set(error, -EBADMSG, "something happened at %" PRIu64 ", which is later than now",
                                         times[i]);
        return 0;
}

static int check_pair(const struct engine *engine, int slot, struct error *error) {
        const struct pair *pair = engine->pairs[slot];
        int r;

        if (pair->slot != slot)
                return error_set(error, -EBADMSG, "says that it is in slot %d", pair->slot);
        if (pair->record.n_apps != pair->policy->n_applications)
                return error_set(error, -EBADMSG, "its record has %u applications, its policy %zu", pair->record.n_apps,
                                 pair->policy->n_applications);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                r = check_app(pair, i, error);
                if (r < 0)
                        return r;
        }
        for (size_t i = pair->policy->n_applications; i < POLICY_APPLICATIONS_MAX; i++)
                if (!app_is_empty(pair, i))
                        return error_set(error, -EBADMSG, "it has no application %zu", i);
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (check_times(engine, &pair->members[side], error) < 0)
                        return error_prefix(error, "members[%d]", (int) side);
        r = check_flow(&pair->record.flow, error);
        return r < 0 ? r : check_flow(&pair->last_flow, error);
}

static int check_counts(const struct engine *engine, struct error *error) {
        unsigned watched = 0, suspected = 0;

        for (int i = 0; i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        watched += engine->pairs[i]->members[side].counted_watched;
                        suspected += engine->pairs[i]->members[side].counted_suspect;
                }
        if (watched != engine->n_watched || suspected != engine->n_suspected || suspected > watched)
                return error_set(error, -EBADMSG, "engine: %u watched and %u suspected, the VMs say %u and %u",
                                 engine->n_watched, engine->n_suspected, watched, suspected);
        return 0;
}

/* ---- the table ------------------------------------------------------------------------------------------- */

static bool is_a_vm(const struct engine *engine, struct holder holder) {
        return holder.pair >= 0 && holder.pair < engine->n_pairs && engine->pairs[holder.pair] && holder.side >= 0 &&
               holder.side < SIDE_MAX;
}

static int check_row(const struct engine *engine, size_t i, struct error *error) {
        static const enum region_kind fixed[] = { REGION_MONITOR, REGION_OVERHEAD, REGION_RESERVE, REGION_UNUSED };
        const struct region *row = &engine->table.rows[i];
        const struct pair *pair;

        if (i < ROW_FIRST_FREE) {
                if (row->kind != fixed[i] || row->user.pair >= 0 || row->target.pair >= 0 || row->app >= 0)
                        return error_set(error, -EBADMSG, "is the place of %s", region_kind_to_string(fixed[i]));
                return 0;
        }
        if (row->kind >= REGION_MONITOR || !is_a_vm(engine, row->user) ||
            (row->target.pair >= 0 && !is_a_vm(engine, row->target)))
                return error_set(error, -EBADMSG, "is no VM's");
        pair = engine->pairs[row->user.pair];
        if ((row->kind == REGION_APPLICATION || row->kind == REGION_REHEARSAL) != (row->app >= 0) ||
            row->app >= (int) pair->policy->n_applications)
                return error_set(error, -EBADMSG, "names an application that there is not");
        if (row->kind == REGION_REHEARSAL &&
            (!pair->record.apps[row->app].rehearsed || row->user.side != pair->record.rehearsal_side ||
             row->usage_bytes != pair->record.apps[row->app].granted_bytes[row->user.side]))
                return error_set(error, -EBADMSG, "is of a rehearsal that its pair knows nothing of");
        return 0;
}

/* Each VM has one row for its system, and at most one for each application. */
static int check_vm_rows(const struct engine *engine, struct error *error) {
        const struct table *table = &engine->table;
        unsigned char seen[SIDE_MAX][1 + POLICY_APPLICATIONS_MAX];

        for (int slot = 0; slot < engine->n_pairs; slot++) {
                const struct pair *pair = engine->pairs[slot];

                if (!pair)
                        continue;
                memset(seen, 0, sizeof(seen));
                for (size_t i = ROW_FIRST_FREE; i < table->n_rows; i++)
                        if (table->rows[i].user.pair == slot &&
                            seen[table->rows[i].user.side][1 + table->rows[i].app]++ > 0)
                                return error_set(error, -EBADMSG, "row %zu: \"%s\" has a row already", i,
                                                 table->rows[i].name);
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (!seen[side][0])
                                return error_set(error, -EBADMSG, "the table has no row for the system of %s",
                                                 pair->policy->members[side].domain);
        }
        return 0;
}

static int check_table(const struct engine *engine, struct error *error) {
        const struct table *table = &engine->table;
        uint64_t sum = 0;

        if (!engine->policy)
                return table->n_rows ? error_set(error, -EBADMSG, "there is a table, and no policy") : 0;
        if (table->n_rows < ROW_FIRST_FREE)
                return error_set(error, -EBADMSG, "the table lacks its fixed rows");
        for (size_t i = 0; i < table->n_rows; i++) {
                if (check_row(engine, i, error) < 0)
                        return error_prefix(error, "row %zu", i);
                if (__builtin_add_overflow(sum, table->rows[i].usage_bytes, &sum))
                        return error_set(error, -EBADMSG, "row %zu: the sizes add up to more than there can be", i);
        }
        if (sum != table->governed_bytes)
                return error_set(error, -EBADMSG, "the rows add up to %" PRIu64 " bytes, %" PRIu64 " are governed", sum,
                                 table->governed_bytes);
        return check_vm_rows(engine, error);
}

/* ---- memory that is being assigned ----------------------------------------------------------------------- */

static bool has_hand_memory(const struct engine *engine, struct holder vm) {
        return is_a_vm(engine, vm) && pair_policy_find_memory(engine->pairs[vm.pair]->policy) >= 0;
}

static int check_assigning(const struct engine *engine, struct error *error) {
        const struct assignment *plan = &engine->assigning.plan;

        for (size_t i = 0; plan->running && i < plan->n_vms; i++)
                if (!has_hand_memory(engine, plan->vms[i].holder))
                        return error_set(error, -EBADMSG, "assigning: VM %zu has no memory by hand", i);
        for (size_t i = 0; i < plan->n_parts; i++) {
                const struct assignment_part *part = &plan->parts[i];

                if (part->item >= (int) plan->n_items || part->from >= (int) plan->n_vms ||
                    part->to >= (int) plan->n_vms || (part->from < 0 && !part->release_over) ||
                    (part->to < 0 && !part->extend_over) || part->released_bytes > part->bytes ||
                    part->extended_bytes > part->bytes || part->releasing_bytes > part->bytes ||
                    part->extending_bytes > part->bytes)
                        return error_set(error, -EBADMSG, "assigning: part %zu makes no sense", i);
        }
        for (size_t i = 0; i < plan->n_open; i++)
                if (plan->open[i].part >= plan->n_parts)
                        return error_set(error, -EBADMSG, "assigning: an open request is of no part");
        if (plan->running && plan->extent_bytes == 0)
                return error_set(error, -EBADMSG, "assigning: its extents have no size");
        return 0;
}

int snapshot_check(const struct engine *engine, struct error *error) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && check_pair(engine, i, error) < 0)
                        return error_prefix(error, "pair %d (%s)", i, engine->pairs[i]->record.pair);
        if (check_counts(engine, error) < 0)
                return -EBADMSG;
        if (check_assigning(engine, error) < 0)
                return -EBADMSG;
        return check_table(engine, error);
}
