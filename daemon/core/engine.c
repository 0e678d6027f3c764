/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/engine.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

/* The engine asks to be woken this often and looks whether it was: whoever comes late has not been looking. */
#define TICK_USEC (250 * USEC_PER_MSEC)
#define LATE_USEC (250 * USEC_PER_MSEC)
/* From this share of stalled time on (parts per million) a silent guest may just be waiting for the host. */
#define STALLED_PPM 500000

struct engine *engine_new(void) {
        return calloc(1, sizeof(struct engine));
}

struct engine *engine_free(struct engine *engine) {
        if (!engine)
                return NULL;
        for (int i = 0; i < engine->n_pairs; i++)
                pair_free(engine->pairs[i]);
        free(engine->pairs);
        table_deinit(&engine->table);
        policy_free(engine->policy);
        free(engine);
        return NULL;
}

int engine_find_pair(const struct engine *engine, const char *name) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] && strcmp(engine->pairs[i]->policy->name, name) == 0)
                        return i;
        return -ENOENT;
}

void engine_check(const struct engine *engine) {
        assert(engine->n_suspected <= engine->n_watched);
        assert(engine->table.rows == NULL || engine->policy);
}

static struct step step_begin(struct engine *engine, struct pair *pair, struct update *update) {
        return (struct step) {
                .engine = engine, .pair = pair, .update = update, .now = engine->now_usec, .wake = USEC_INFINITY,
        };
}

/* ---- the table, from policy and records ------------------------------------------------------------------ */

static uint64_t held_bytes(const struct pair *pair, enum side side) {
        uint64_t sum = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                sum += pair->record.apps[i].granted_bytes[side];
        return sum;
}

/* Had this region a row of its own before? */
static bool was_carved(const struct engine *engine, const struct pair *pair, enum side side, int app) {
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

static int add_member(const struct engine *engine, struct table *table, const struct policy *policy,
                      const struct pair *pair, enum side side) {
        const struct member *member = &pair->policy->members[side];
        struct holder vm = pair_holder(pair, side);
        int r;

        r = table_add_vm(table, vm, member->domain, member->base_bytes + held_bytes(pair, side), policy->overhead_bytes);
        for (size_t i = 0; r >= 0 && i < pair->policy->n_applications; i++)
                if (was_carved(engine, pair, side, (int) i))
                        r = table_carve(table, vm, member->base_bytes, (int) i, pair->policy->applications[i].name,
                                        pair->record.apps[i].granted_bytes[side],
                                        pair_is_hot(pair, (int) i) ? pair_holder(pair, side_other(side)) : HOLDER_MONITOR);
        return r;
}

static int build_table(struct engine *engine, const struct policy *policy, struct pair **pairs, int n_pairs,
                       struct table *ret) {
        uint64_t reserve = policy->reserve_bytes > engine->reserve_used_bytes
                                   ? policy->reserve_bytes - engine->reserve_used_bytes : 0;
        struct table table = { 0 };
        int r;

        if (policy->pool_bytes < engine->lost_bytes)
                return -ENOSPC;
        r = table_init(&table, policy->pool_bytes - engine->lost_bytes, policy->monitor_bytes, reserve);
        for (int i = 0; r >= 0 && i < n_pairs; i++)
                for (enum side side = 0; r >= 0 && pairs[i] && side < SIDE_MAX; side++)
                        r = add_member(engine, &table, policy, pairs[i], side);
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
static void hold_initial(struct pair *pair) {
        const struct member *member = &pair->policy->members[SIDE_A];
        uint64_t left = member->memory_bytes - member->base_bytes;

        for (size_t i = 0; i < pair->policy->n_applications && left > 0; i++) {
                uint64_t take = pair->policy->applications[i].memory_bytes;

                if (take > left)
                        take = left;
                pair->record.apps[i].granted_bytes[SIDE_A] = take;
                left -= take;
        }
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
                } else {
                        snprintf(pair->record.apps[i].name, NAME_LEN, "%s", policy->applications[i].name);
                        pair->record.apps[i].owner = pair_active(old);
                        pair->record.apps[i].token = 1;
                        pair->apps[i].kind = policy->applications[i].kind;
                }
                for (enum side side = 0; side < SIDE_MAX; side++) {
                        struct member_state *member = &pair->members[side];

                        request_reset(&pair->apps[i].attach[side]);
                        request_reset(&pair->apps[i].start[side]);
                        request_reset(&pair->apps[i].stop[side]);
                        request_reset(&pair->apps[i].check[side]);
                        pair->apps[i].checked[side] = false;
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
        pair_dirty(pair);
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

/* Would a running pair be hurt by the change? */
static bool pair_change_refused(const struct pair *pair, const struct pair_policy *policy, char *why, size_t size) {
        if (pair_flow_active(pair)) {
                snprintf(why, size, "%s: a %s is under way; apply again when it is over", pair->policy->name,
                         flow_kind_to_string(pair->record.flow.kind));
                return true;
        }
        if (!policy)
                return false;
        if (!same_domains(pair->policy, policy)) {
                snprintf(why, size, "%s: its domains cannot change while it is governed; remove the pair, apply, then add it anew",
                         pair->policy->name);
                return true;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct application *old = &pair->policy->applications[i];
                int now = pair_policy_find_application(policy, old->name);
                uint64_t granted = pair->record.apps[i].granted_bytes[SIDE_A] + pair->record.apps[i].granted_bytes[SIDE_B];

                if (granted == 0 || (now >= 0 && policy->applications[now].memory_bytes >= granted))
                        continue;
                snprintf(why, size, "%s: %s still has %" PRIu64 " MiB; %s", pair->policy->name, old->name, granted / MIB,
                         now < 0 ? "make it plain and stop it in the guest before it is removed"
                                 : "its region cannot shrink while it is in use");
                return true;
        }
        return false;
}

struct plan {
        struct pair **pairs;
        int n_pairs;
        struct table table;
};

static void plan_deinit(struct engine *engine, struct plan *plan) {
        for (int i = 0; i < plan->n_pairs; i++)
                pair_free(plan->pairs[i]);
        free(plan->pairs);
        table_deinit(&plan->table);
        *plan = (struct plan) { 0 };
}

/* Makes everything that a policy would put in place of the present, and touches nothing that is. */
static int plan_policy(struct engine *engine, const struct policy *policy, struct plan *ret, char *why, size_t size) {
        struct plan plan = { 0 };
        int r, n = engine->n_pairs;

        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i] &&
                    pair_change_refused(engine->pairs[i], find_policy(policy, engine->pairs[i]->policy->name), why, size))
                        return -EBUSY;

        plan.pairs = calloc((size_t) n + policy->n_pairs + 1, sizeof(*plan.pairs));
        if (!plan.pairs)
                return -ENOMEM;
        for (int i = 0; i < n; i++) {
                const struct pair_policy *next = engine->pairs[i] ? find_policy(policy, engine->pairs[i]->policy->name) : NULL;

                if (next && !(plan.pairs[i] = pair_renew(engine->pairs[i], next)))
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
                        hold_initial(plan.pairs[slot]);
                        plan.pairs[slot]->unsettled = true;
                        pair_owner_dirty(plan.pairs[slot]);
                }
        }
        r = build_table(engine, policy, plan.pairs, plan.n_pairs, &plan.table);
        if (r < 0) {
                snprintf(why, size, "the pool of %" PRIu64 " MiB does not cover what is granted already; release memory or leave pool.memory as it is",
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
        struct plan plan;
        int r;

        snprintf(why, size, "out of memory");
        r = plan_policy(engine, policy, &plan, why, size);
        if (r >= 0)
                plan_deinit(engine, &plan);
        return r;
}

static void apply_policy(struct engine *engine, const struct event *event, struct update *update) {
        struct policy *copy = policy_copy(event->policy);
        char why[EVENT_TEXT_LEN] = "out of memory";
        struct step step = step_begin(engine, NULL, update);
        struct plan plan;

        if (!copy || plan_policy(engine, copy, &plan, why, sizeof(why)) < 0) {
                step_say(&step, RECORD_REFUSED, SIDE_INVALID, "policy not applied: %s", why);
                policy_free(copy);
                return;
        }
        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *old = engine->pairs[i];

                if (!old)
                        continue;
                if (!plan.pairs[i]) {
                        step.pair = old;
                        member_leave(&step, SIDE_A);
                        member_leave(&step, SIDE_B);
                        update_add(update, ACTION_WAKE, i, SIDE_INVALID, NO_APP)->due_usec = USEC_INFINITY;
                        update_add(update, ACTION_CHANGED, i, SIDE_INVALID, NO_APP);
                }
                pair_free(old);
        }
        free(engine->pairs);
        table_deinit(&engine->table);
        policy_free(engine->policy);
        engine->policy = copy;
        engine->pairs = plan.pairs;
        engine->n_pairs = plan.n_pairs;
        engine->table = plan.table;
}

/* ---- start-up -------------------------------------------------------------------------------------------- */

static void restore(struct engine *engine, const struct event *event) {
        struct pair *pair = engine->pairs[event->pair];
        const struct record *record = event->record;

        if (strcmp(record->pair, pair->policy->name) != 0)
                return;
        pair->record = *record;
        pair->restored = true;
        pair->record.flow.command_id = 0; /* who asked has been told that failoverd went away */
        pair->record.n_apps = (unsigned) pair->policy->n_applications;
        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++) {
                struct record_app app = { .token = 1, .owner = SIDE_A };

                if (i >= pair->policy->n_applications) {
                        pair->record.apps[i] = (struct record_app) { 0 };
                        continue;
                }
                for (unsigned k = 0; k < record->n_apps && k < POLICY_APPLICATIONS_MAX; k++)
                        if (strcmp(record->apps[k].name, pair->policy->applications[i].name) == 0)
                                app = record->apps[k];
                snprintf(app.name, sizeof(app.name), "%s", pair->policy->applications[i].name);
                pair->record.apps[i] = app;
        }
        pair->persist_seq[PERSIST_STEP] = pair->persist_seq[PERSIST_OWNER] = record->seq;
        pair->owner_seq = record->seq;
        /* What came from the run-time directory alone may not be on disk yet: write it again. */
        pair_owner_dirty(pair);
}

static void hold_lost(struct step *step) {
        struct pair *pair = step->pair;

        pair->record.held = true;
        snprintf(pair->record.held_reason, sizeof(pair->record.held_reason),
                 "the store was lost: who owns the data is not known; failoverctl adopt %s --active DOMAIN", pair->policy->name);
        step_say(step, RECORD_HELD, SIDE_INVALID, "%s: %s", pair->policy->name, pair->record.held_reason);
}

static void become_ready(struct engine *engine, struct update *update) {
        struct table table;

        engine->ready = true;
        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *pair = engine->pairs[i];
                struct step step = step_begin(engine, pair, update);

                if (!pair || pair->restored)
                        continue;
                for (size_t k = 0; k < pair->policy->n_applications; k++)
                        pair->record.apps[k].token = 1;
                if (engine->store_lost && engine->policy->on_store_lost == STORE_LOST_HOLD)
                        hold_lost(&step);
                else
                        hold_initial(pair);
                pair->unsettled = true;
                pair_owner_dirty(pair);
        }
        if (engine->policy && build_table(engine, engine->policy, engine->pairs, engine->n_pairs, &table) >= 0) {
                table_deinit(&engine->table);
                engine->table = table;
        } else if (engine->policy) {
                /* The pool was made smaller than what is granted, behind our back. Nothing can be given out, and
                 * nothing that runs is touched. */
                for (int i = 0; i < engine->n_pairs; i++) {
                        struct step step = step_begin(engine, engine->pairs[i], update);

                        if (!engine->pairs[i])
                                continue;
                        engine->pairs[i]->record.held = true;
                        snprintf(engine->pairs[i]->record.held_reason, RECORD_TEXT_LEN,
                                 "the pool in the policy is smaller than what is granted already; make pool.memory larger and restart failoverd");
                        step_say(&step, RECORD_HELD, SIDE_INVALID, "%s", engine->pairs[i]->record.held_reason);
                }
        }
}

/* ---- doubt ----------------------------------------------------------------------------------------------- */

/* Was nobody looking for a while? Then the silence of that while says nothing about guests. */
static void doubt_late(struct engine *engine, struct update *update) {
        struct step step = step_begin(engine, NULL, update);
        usec_t late;

        if (engine->wake_usec == 0 || engine->now_usec <= engine->wake_usec + LATE_USEC)
                return;
        late = engine->now_usec - engine->wake_usec;
        engine->void_usec = engine->now_usec;
        engine->wake_usec = engine->now_usec; /* said once for each time */
        step_say(&step, RECORD_DOUBT, SIDE_INVALID,
                 "failoverd itself was away for %" PRIu64 " ms (stopped, starved or suspended); silence in that time does not count",
                 late / USEC_PER_MSEC);
}

static void doubt_pressure(struct engine *engine, const struct event *event, struct update *update) {
        struct step step = step_begin(engine, NULL, update);
        bool before = engine->pressure_usec && engine->now_usec - engine->pressure_usec < 5 * USEC_PER_SEC;

        if (event->bytes < STALLED_PPM)
                return;
        engine->pressure_usec = engine->void_usec = engine->now_usec;
        if (!before)
                step_say(&step, RECORD_DOUBT, SIDE_INVALID,
                         "the host is starved (tasks stalled %" PRIu64 " %% of the last second); silence in that time does not count",
                         event->bytes / 10000);
}

static void tick(struct engine *engine, struct update *update) {
        if (engine->wake_usec > engine->now_usec)
                return;
        engine->wake_usec = engine->now_usec + TICK_USEC;
        update_add(update, ACTION_WAKE, NO_PAIR, SIDE_INVALID, NO_APP)->due_usec = engine->wake_usec;
}

/* ---- step ------------------------------------------------------------------------------------------------ */

static void advance(struct engine *engine, struct pair *pair, const struct event *event, struct update *update) {
        struct step step = step_begin(engine, pair, update);

        if (event)
                pair_event(&step, event);
        pair_advance(&step);
}

static void advance_all(struct engine *engine, struct update *update) {
        for (int i = 0; i < engine->n_pairs; i++)
                if (engine->pairs[i])
                        advance(engine, engine->pairs[i], NULL, update);
}

static void hypervisor_changed(struct engine *engine, const struct event *event) {
        engine->hypervisor_up = event->up;
        engine->hypervisor_usec = engine->now_usec;
        for (int i = 0; event->up && i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++) {
                        /* The truth may have moved on while nobody told: read it again. */
                        engine->pairs[i]->members[side].domain_usec = 0;
                        engine->pairs[i]->members[side].inspect.retry_usec = 0;
                }
}

static void pair_or_all(struct engine *engine, const struct event *event, struct update *update) {
        bool one = event->pair >= 0;

        if (one && (event->pair >= engine->n_pairs || !engine->pairs[event->pair]))
                return; /* an answer for a pair that is no more */
        for (int i = one ? event->pair : 0; i < (one ? event->pair + 1 : engine->n_pairs); i++)
                if (engine->pairs[i])
                        advance(engine, engine->pairs[i], event, update);
}

void engine_step(struct engine *engine, const struct event *event, struct update *update) {
        update_clear(update);
        assert(event->time_usec >= engine->now_usec);
        engine->now_usec = event->time_usec;
        engine->real_usec = event->real_usec;
        doubt_late(engine, update);

        switch (event->kind) {
        case EVENT_POLICY:
                apply_policy(engine, event, update);
                advance_all(engine, update);
                break;
        case EVENT_RESTORED:
                if (event->pair >= 0 && event->pair < engine->n_pairs && engine->pairs[event->pair] && !engine->ready)
                        restore(engine, event);
                break;
        case EVENT_STORE_LOST:
                engine->store_lost = true;
                break;
        case EVENT_READY:
                become_ready(engine, update);
                advance_all(engine, update);
                break;
        case EVENT_HYPERVISOR:
                hypervisor_changed(engine, event);
                advance_all(engine, update);
                break;
        case EVENT_PRESSURE:
                doubt_pressure(engine, event, update);
                break;
        case EVENT_WAKE:
                if (event->pair >= 0)
                        pair_or_all(engine, event, update);
                break;
        default:
                pair_or_all(engine, event, update);
                break;
        }
        tick(engine, update);
        engine_check(engine);
}
