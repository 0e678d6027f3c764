/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A policy takes effect: everything that it puts in place of the present is made first, and replaces it as a whole
 * or not at all. What is known of pairs and applications follows their names. */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/retired.h"
#include "policy/demand.h"

/* ---- the table, from policy and records ------------------------------------------------------------------ */

static uint64_t held_bytes(const struct pair *pair, enum side side) {
        uint64_t sum = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                sum += pair->record.apps[i].granted_bytes[side];
        return sum;
}

/* Had this region a row of its own before? */
static bool was_carved(const struct engine *engine, const struct pair *pair, enum side side, int app) {
        if (pair_is_memory(pair, app))
                return pair->record.apps[app].granted_bytes[side] > 0;
        if (pair->record.apps[app].owner != side || pair->record.apps[app].granted_bytes[side] == 0)
                return false;
        if (pair->restored)
                return true;
        for (size_t i = 0; engine->table.rows && i < engine->table.n_rows; i++) {
                const struct region *row = &engine->table.rows[i];

                if (row->kind == REGION_APPLICATION && holder_equal(row->user, pair_holder(pair, side)) &&
                    strcmp(row->name, pair->policy->applications[app].name) == 0)
                        return true;
        }
        return false;
}

static int add_member(const struct engine *engine, struct table *table, uint64_t overhead_bytes,
                      const struct pair *pair, enum side side) {
        const struct member *member = &pair->policy->members[side];
        struct holder vm = pair_holder(pair, side);
        int r;

        r = table_add_vm(table, vm, member->domain, member->base_bytes + held_bytes(pair, side),
                         overhead_bytes);
        for (size_t i = 0; r >= 0 && i < pair->policy->n_applications; i++)
                if (was_carved(engine, pair, side, (int) i))
                        r = table_carve(table, vm, member->base_bytes, (int) i, pair->policy->applications[i].name,
                                        pair->record.apps[i].granted_bytes[side],
                                        pair_is_hot(pair, (int) i)      ? pair_holder(pair, side_other(side))
                                        : pair_is_memory(pair, (int) i) ? vm
                                                                        : HOLDER_MONITOR);
        for (size_t i = 0; r >= 0 && i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].rehearsed && pair->record.rehearsal_side == side &&
                    pair->record.apps[i].granted_bytes[side])
                        r = table_carve_rehearsal(table, vm, member->base_bytes, (int) i,
                                                  pair->policy->applications[i].name,
                                                  pair->record.apps[i].granted_bytes[side]);
        return r;
}

/* What the table counts beside what VMs were given: it is planned for, and not handed out. */
struct planned {
        uint64_t monitor_bytes, reserve_bytes;
        uint64_t overhead_bytes; /* of each VM of a pair */
};

static void give_way(uint64_t *planned_bytes, uint64_t *short_bytes) {
        uint64_t less = *planned_bytes < *short_bytes ? *planned_bytes : *short_bytes;

        *planned_bytes -= less;
        *short_bytes -= less;
}

/* Where the pool is too small for the promises of a policy that is in force (an upgrade counts what was not counted
 * before), that is for the plans to bear, and not for pairs that worked: first what is counted for failoverd, memory
 * servers and VMs that stand alone, which have their memory whatever is counted for them; then the reserve; then QEMU's
 * overhead. Of those the first also where at a start the rest does not cover what VMs were given. */
static struct planned plan_bytes(const struct engine *engine, const struct policy *policy, struct pair **pairs,
                                 int n_pairs, bool to_given) {
        struct planned planned = { policy_monitor_bytes(policy), policy->reserve_bytes, policy->overhead_bytes };
        uint64_t needed = engine->lost_bytes, n_vms = 0, lacking = policy_short_bytes(policy), each, more;

        give_way(&planned.reserve_bytes, &(uint64_t) { engine->reserve_used_bytes });
        for (int i = 0; i < n_pairs; i++)
                for (enum side side = 0; pairs[i] && side < SIDE_MAX; side++, n_vms++)
                        needed += pairs[i]->policy->members[side].base_bytes + held_bytes(pairs[i], side);
        give_way(&planned.monitor_bytes, &lacking);
        give_way(&planned.reserve_bytes, &lacking);
        each = n_vms ? (lacking + n_vms - 1) / n_vms : 0;
        give_way(&planned.overhead_bytes, &each);
        needed += planned.monitor_bytes + planned.reserve_bytes + planned.overhead_bytes * n_vms;
        more = to_given && needed > policy->pool_bytes ? needed - policy->pool_bytes : 0;
        give_way(&planned.monitor_bytes, &more);
        return planned;
}

int engine_build_table(struct engine *engine, const struct policy *policy, struct pair **pairs, int n_pairs,
                       bool to_given, struct table *ret) {
        struct planned planned = plan_bytes(engine, policy, pairs, n_pairs, to_given);
        struct table table = { 0 };
        int r;

        if (policy->pool_bytes < engine->lost_bytes)
                return -ENOSPC;
        r = table_init(&table, policy->pool_bytes - engine->lost_bytes, planned.monitor_bytes, planned.reserve_bytes);
        for (int i = 0; r >= 0 && i < n_pairs; i++)
                for (enum side side = 0; r >= 0 && pairs[i] && side < SIDE_MAX; side++)
                        r = add_member(engine, &table, planned.overhead_bytes, pairs[i], side);
        if (r < 0) {
                table_deinit(&table);
                return r;
        }
        *ret = table;
        return 0;
}

/* ---- policy ---------------------------------------------------------------------------------------------- */

/* What an active VM holds above its base before applications start (H: state A), spread over its applications'
 * devices in order. */
void pair_hold_initial(struct pair *pair) {
        const struct member *member = &pair->policy->members[SIDE_A];
        uint64_t left = member->memory_bytes - member->base_bytes;

        for (size_t i = 0; i < pair->policy->n_applications && left > 0; i++) {
                uint64_t take = pair_is_memory(pair, (int) i) ? 0 : pair->policy->applications[i].memory_bytes;

                if (take > left)
                        take = left;
                pair->record.apps[i].granted_bytes[SIDE_A] = take;
                left -= take;
        }
}

/* Its size or its place in the policy has changed. A full region that grows does so at once, where the pool covers
 * it; an application that was taken out is stopped and gives its region back. */
static void renew_region(struct pair *pair, int app, const struct application *old) {
        const struct application *policy = &pair->policy->applications[app];
        struct record_app *record = &pair->record.apps[app];

        for (enum side side = 0; side < SIDE_MAX; side++)
                if (record->granted_bytes[side] == old->memory_bytes && policy->memory_bytes > old->memory_bytes &&
                    !record->releasing[side] && policy->kind != APPLICATION_MEMORY)
                        record->granted_bytes[side] = policy->memory_bytes;
        if (policy->retired && !old->retired) {
                record->ended = true;
                record->stopped = false; /* that is to be seen */
        } else if (!policy->retired && old->retired)
                record->ended = false; /* it has come back */
}

/* A pair goes on under a changed policy: what is known of its applications follows their names. */
static struct pair *pair_renew(const struct pair *old, const struct pair_policy *policy) {
        struct pair *pair = malloc(sizeof(*pair));

        if (!pair)
                return NULL;
        *pair = *old;
        pair->policy = policy;
        pair->record.n_apps = (unsigned) policy->n_applications;
        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                int from = -1;

                pair->record.apps[i] = (struct record_app) { 0 };
                pair->apps[i] = (struct app_state) { 0 };
                if (i >= policy->n_applications)
                        continue;
                from = pair_policy_find_application(old->policy, policy->applications[i].name);
                if (from >= 0) {
                        pair->record.apps[i] = old->record.apps[from];
                        pair->apps[i] = old->apps[from];
                        pair->apps[i].handover = NULL; /* the old pair's; who uses what is seen anew */
                        request_reset(&pair->apps[i].page_out);
                        renew_region(pair, (int) i, &old->policy->applications[from]);
                        app_state_renew(pair, (int) i, &old->policy->applications[from]);
                } else {
                        snprintf(pair->record.apps[i].name, NAME_LEN, "%s", policy->applications[i].name);
                        pair->record.apps[i].owner = pair_active(old);
                        pair->record.apps[i].token = 1;
                        pair->record.apps[i].kind = policy->applications[i].kind;
                }
                for (enum side side = 0; side < SIDE_MAX; side++) {
                        struct member_state *member = &pair->members[side];

                        request_reset(&pair->apps[i].attach[side]);
                        request_reset(&pair->apps[i].start[side]);
                        request_reset(&pair->apps[i].stop[side]);
                        request_reset(&pair->apps[i].check[side]);
                        request_reset(&pair->apps[i].disk);
                        request_reset(&pair->apps[i].touch);
                        request_reset(&pair->apps[i].canary);
                        app_disks_forget(&pair->apps[i]);
                        pair->apps[i].checked[side] = false;
                        pair->apps[i].checked_usec[side] = 0;
                        pair->apps[i].refused = false;
                        request_reset(&member->resize[i]);
                        member->plugged_bytes[i] = from >= 0 ? old->members[side].plugged_bytes[from] : 0;
                        member->plugged_usec[i] = from >= 0 ? old->members[side].plugged_usec[from] : 0;
                        member->requested_known[i] = false;
                }
        }
        for (enum side side = 0; side < SIDE_MAX; side++) {
                struct member_state *member = &pair->members[side];

                member->configured = false;
                member->preflight_usec = 0;
                request_reset(&member->look);
                member->detector.beat_usec = policy->beat_usec;
                member->detector.beats_missed = policy->beats_missed;
                member->detector.confirm_usec = policy->confirm_usec;
        }
        if (pair_policy_find_memory(policy) < 0)
                memset(pair->record.assigned, 0, sizeof(pair->record.assigned));
        pair_owner_dirty(pair); /* who owns what is new in it is safe on disk before that is started */
        return pair;
}

static bool same_domains(const struct pair_policy *a, const struct pair_policy *b) {
        return strcmp(a->members[SIDE_A].domain, b->members[SIDE_A].domain) == 0 &&
               strcmp(a->members[SIDE_B].domain, b->members[SIDE_B].domain) == 0;
}

static const struct pair_policy *find_policy(const struct policy *policy, const char *name) {
        int i = policy_find_pair(policy, name);

        return i < 0 ? NULL : &policy->pairs[i];
}

/* The new policy says the same of it: it goes on untouched, a flow under way included. */
static bool pair_unchanged(const struct engine *engine, const struct pair *pair, const struct policy *policy) {
        const struct pair_policy *next = find_policy(policy, pair->policy->name);

        return next && engine->policy->extent_bytes == policy->extent_bytes && pair_policy_same(pair->policy, next);
}

/* Would a running pair be hurt by the change? */
static bool pair_change_refused(const struct pair *pair, const struct pair_policy *policy, char *why, size_t size) {
        if (!policy && (pair->record.fence_wanted[SIDE_A] || pair->record.fence_wanted[SIDE_B])) {
                snprintf(why, size, "%s: a VM of it is being fenced and rebuilt; apply again when that is over",
                         pair->policy->name);
                return true;
        }
        if (pair_flow_active(pair)) {
                snprintf(why, size, "%s: a %s is under way; apply again when it is over", pair->policy->name,
                         flow_kind_to_string(pair->record.flow.kind));
                return true;
        }
        if (rehearsal_busy(pair)) {
                snprintf(why, size, "%s: a rehearsal is under way; apply again when it is over", pair->policy->name);
                return true;
        }
        if (!policy)
                return false;
        if (!same_domains(pair->policy, policy)) {
                snprintf(why, size,
                         "%s: its domains cannot change while it is governed; remove the pair, apply, then add it anew",
                         pair->policy->name);
                return true;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct application *old = &pair->policy->applications[i];
                int memory = pair_policy_find_memory(policy);
                int now = pair_policy_find_application(policy, old->name);
                const uint64_t *has = pair->record.apps[i].granted_bytes;
                bool by_hand = old->kind == APPLICATION_MEMORY;
                uint64_t granted = by_hand ? assigned_most(pair, (int) i) : has[SIDE_A] + has[SIDE_B];

                if (by_hand && memory >= 0 && memory != now && has[SIDE_A] + has[SIDE_B] > 0) {
                        snprintf(why, size, "%s: %s still has memory; %s can take its place when that is released",
                                 pair->policy->name, old->name, policy->applications[memory].name);
                        return true;
                }
                if (by_hand && memory >= 0 && memory != now && policy->applications[memory].memory_bytes < granted) {
                        snprintf(why, size, "%s: up to %" PRIu64 " MiB of %s are assigned by hand, and %s would hold "
                                 "less; release some first (failoverctl memory release)", pair->policy->name,
                                 granted / MIB, old->name, policy->applications[memory].name);
                        return true;
                }
                if (now < 0)
                        continue;
                if (by_hand != (policy->applications[now].kind == APPLICATION_MEMORY) &&
                    !policy->applications[now].retired && has[SIDE_A] + has[SIDE_B] > 0) {
                        snprintf(why, size, "%s: %s still has memory; it becomes or ceases to be of kind memory when "
                                 "that is released", pair->policy->name, old->name);
                        return true;
                }
                if (pair->apps[i].handover && policy->applications[now].memory_bytes != old->memory_bytes) {
                        snprintf(why, size,
                                 "%s: the region of %s is being handed over; change its size when that is over",
                                 pair->policy->name, old->name);
                        return true;
                }
                /* What is in force says the same, or less: found so at a start, and not to be made worse. */
                if (policy->applications[now].memory_bytes >= granted ||
                    policy->applications[now].memory_bytes >= old->memory_bytes)
                        continue;
                snprintf(why, size, "%s: %s still has %" PRIu64 " MiB; its region cannot shrink while it is in use",
                         pair->policy->name, old->name, granted / MIB);
                return true;
        }
        return false;
}

struct plan {
        struct pair **pairs; /* new ones, and those of the engine that stay as they are */
        int n_pairs;
        struct table table;
};

static void plan_deinit(struct engine *engine, struct plan *plan) {
        for (int i = 0; i < plan->n_pairs; i++)
                if (i >= engine->n_pairs || plan->pairs[i] != engine->pairs[i])
                        pair_free(plan->pairs[i]);
        free(plan->pairs);
        table_deinit(&plan->table);
        *plan = (struct plan) { 0 };
}

/* Makes everything that a policy would put in place of the present, and touches nothing that is. */
static int plan_policy(struct engine *engine, struct policy *policy, struct plan *ret, char *why, size_t size) {
        struct plan plan = { 0 };
        int r, n = engine->n_pairs;

        if (assigned_refuses_policy(engine, policy, why, size))
                return -EBUSY;
        if (retired_stands_alone(engine->policy, policy, why, size))
                return -EBUSY;
        r = retired_keep(engine, policy);
        if (r >= 0 && retired_has_domain(policy, why, size))
                return -EBUSY;
        if (r < 0) {
                snprintf(why, size,
                         "applications that were taken out still hold memory and there is no room to keep them; apply "
                         "again in a moment");
                return r;
        }

        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && !pair_unchanged(engine, engine->pairs[i], policy) &&
                    pair_change_refused(engine->pairs[i], find_policy(policy, engine->pairs[i]->policy->name), why,
                                        size))
                        return -EBUSY;

        plan.pairs = calloc((size_t) n + policy->n_pairs + 1, sizeof(*plan.pairs));
        if (!plan.pairs)
                return -ENOMEM;
        for (int i = 0; i < n; i++) {
                const struct pair_policy *next =
                        engine->pairs[i] ? find_policy(policy, engine->pairs[i]->policy->name) : NULL;

                if (next && pair_unchanged(engine, engine->pairs[i], policy))
                        plan.pairs[i] = engine->pairs[i];
                else if (next && !(plan.pairs[i] = pair_renew(engine->pairs[i], next)))
                        goto no_memory;
        }
        plan.n_pairs = n;
        for (size_t i = 0; i < policy->n_pairs; i++) {
                int slot = 0;

                if (engine_find_pair(engine, policy->pairs[i].name) >= 0)
                        continue;
                while (slot < plan.n_pairs && (plan.pairs[slot] || (slot < n && engine->pairs[slot])))
                        slot++; /* a slot freed by this change is not given out again by the same one */
                plan.pairs[slot] = pair_new(slot, &policy->pairs[i]);
                if (!plan.pairs[slot])
                        goto no_memory;
                if (slot >= plan.n_pairs)
                        plan.n_pairs = slot + 1;
                if (engine->ready) {
                        for (size_t k = 0; k < policy->pairs[i].n_applications; k++)
                                plan.pairs[slot]->record.apps[k].token = 1;
                        /* The store may still have a record of an earlier pair of that name, and must not prefer it. */
                        plan.pairs[slot]->record.seq = engine->real_usec;
                        pair_hold_initial(plan.pairs[slot]);
                        plan.pairs[slot]->unsettled = true;
                        pair_owner_dirty(plan.pairs[slot]);
                }
        }
        r = engine_build_table(engine, policy, plan.pairs, plan.n_pairs, false, &plan.table);
        if (r == -ENOMEM)
                goto no_memory;
        if (r < 0) {
                snprintf(why, size,
                         "the pool of %" PRIu64
                         " MiB does not cover what is granted already; release memory or leave pool.memory as it is",
                         policy->pool_bytes / MIB);
                plan_deinit(engine, &plan);
                return r;
        }
        *ret = plan;
        return 0;
no_memory:
        plan_deinit(engine, &plan);
        return -ENOMEM;
}

int engine_try_policy(struct engine *engine, const struct policy *policy, char *why, size_t size) {
        struct policy *copy = policy_copy(policy);
        struct plan plan;
        int r = -ENOMEM;

        snprintf(why, size, "out of memory");
        if (copy)
                r = plan_policy(engine, copy, &plan, why, size);
        if (r >= 0)
                plan_deinit(engine, &plan);
        policy_free(copy);
        return r;
}

void engine_apply_policy(struct engine *engine, const struct event *event, struct update *update) {
        struct policy *copy = policy_copy(event->policy);
        char why[EVENT_TEXT_LEN] = "out of memory";
        struct step step = step_begin(engine, NULL, update);
        struct plan plan;

        /* A guest's request holds up no policy; one that is refused ends no request. */
        if (engine->assigning.plan.running && engine_try_policy(engine, event->policy, why, sizeof(why)) >= 0)
                engine_end_guests_request(engine, update);
        if (!copy || plan_policy(engine, copy, &plan, why, sizeof(why)) < 0) {
                step_say(&step, RECORD_REFUSED, SIDE_INVALID, "policy not applied: %s", why);
                policy_free(copy);
                return;
        }
        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *old = engine->pairs[i];

                if (!old)
                        continue;
                if (plan.pairs[i] == old) {
                        old->policy = find_policy(copy, old->policy->name);
                        continue;
                }
                if (!plan.pairs[i]) {
                        step.pair = old;
                        member_leave(&step, SIDE_A);
                        member_leave(&step, SIDE_B);
                        if (old->drill_usec)
                                command_reply(&step, old->drill_command_id, -ECANCELED,
                                              "%s was taken out of the policy in the middle of the drill",
                                              old->policy->name);
                        update_add(update, ACTION_WAKE, i, SIDE_INVALID, NO_APP)->due_usec = USEC_INFINITY;
                        update_add(update, ACTION_CHANGED, i, SIDE_INVALID, NO_APP);
                }
                for (int app = 0; app < POLICY_APPLICATIONS_MAX; app++)
                        if (old->apps[app].handover) /* followed anew, and perhaps in another place */
                                update_add(update, ACTION_FOLLOW, i, old->apps[app].handover->from, app)->count = 0;
                pair_free(old);
        }
        free(engine->pairs);
        table_deinit(&engine->table);
        policy_free(engine->policy);
        engine->policy = copy;
        engine->pairs = plan.pairs;
        engine->n_pairs = plan.n_pairs;
        engine->table = plan.table;
        engine->pool_short = false;
}
