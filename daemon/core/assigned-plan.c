/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request to assign memory, read and compared with the table; nothing is changed here. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/assigned-internal.h"
#include "daemon/core/choice.h"

/* ---- who may be named ---------------------------------------------------------------------------------- */

/* Failed, or not allowed to go on. */
bool assigned_is_fenced(const struct pair *pair, enum side side) {
        return pair->record.fence_wanted[side] || pair->members[side].failure[0] || member_fenced(pair, side);
}

static size_t list_vms(const struct engine *engine, struct assignment_vm *ret) {
        size_t n = 0;

        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];

                if (!pair || pair_policy_find_memory(pair->policy) < 0)
                        continue;
                for (enum side side = 0; side < SIDE_MAX; side++) {
                        ret[n] = (struct assignment_vm) { .holder = pair_holder(pair, side),
                                                          .fenced = assigned_is_fenced(pair, side) };
                        snprintf(ret[n++].name, NAME_LEN, "%s", pair_domain(pair, side));
                }
        }
        return n;
}

/* A VM that there is, and that has no region for what is assigned by hand. */
static bool lacks_region(const struct engine *engine, const char *name) {
        for (int i = 0; i < engine->n_pairs; i++)
                for (enum side side = 0; engine->pairs[i] && side < SIDE_MAX; side++)
                        if (strcmp(pair_domain(engine->pairs[i], side), name) == 0)
                                return pair_policy_find_memory(engine->pairs[i]->policy) < 0;
        return false;
}

/* Of a VM that a request names; it has one. */
const struct pair *assigned_pair_of(const struct engine *engine, struct holder vm) {
        const struct pair *pair = engine->pairs[vm.pair];

        assert(pair);
        return pair;
}

/* ---- management ------------------------------------------------------------------------------------------ */

/* Takes `bytes` away from a VM, at the highest places that it manages. */
static int take_top(struct rights *map, struct holder vm, uint64_t bytes) {
        int r = 0;

        for (size_t i = map->n_ranges; r >= 0 && i > 0 && bytes > 0; i--) {
                struct span span = map->ranges[i - 1].span;

                if (!holder_equal(map->ranges[i - 1].manager, vm))
                        continue;
                if (span_bytes(span) > bytes)
                        span.start = span.end - bytes;
                bytes -= span_bytes(span);
                r = rights_assign(map, span, HOLDER_NONE, 0); /* what lies below keeps its index */
        }
        return r;
}

/* Gives a VM `bytes` that nobody manages. */
static int give(struct rights *map, struct holder vm, uint64_t bytes, enum assignment_choice choose,
                bool best_effort) {
        static const enum choice_rule rules[ASSIGNMENT_CHOICE_MAX][2] = {
                [ASSIGN_NEAREST] = { CHOICE_NEAREST, CHOICE_CLOSEST_FIT },
                [ASSIGN_CLOSEST_FIT] = { CHOICE_CLOSEST_FIT, CHOICE_NEAREST },
                [ASSIGN_LARGEST] = { CHOICE_LARGEST, CHOICE_NEAREST },
                [ASSIGN_SMALLEST] = { CHOICE_SMALLEST, CHOICE_NEAREST },
        };
        const struct choice choice = { .from = CHOICE_ANY_UNMANAGED, .rules = { rules[choose][0], rules[choose][1] },
                                       .n_rules = 2, .best_effort = best_effort };
        struct chosen chosen;
        int r;

        r = choice_make(&choice, map, vm, bytes, &chosen);
        if (r < 0)
                return r;
        for (size_t i = 0; r >= 0 && i < chosen.n_spans; i++)
                r = rights_assign(map, chosen.spans[i], vm, 0);
        chosen_deinit(&chosen);
        return r;
}

/* Moves in the map what the plan says: first what is released, then ranges, then amounts. */
static int move_management(const struct assignment *plan, enum assignment_choice choose, struct rights *map) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < plan->n_parts; i++) {
                const struct assignment_part *part = &plan->parts[i];

                if (part->is_range)
                        r = rights_assign(map, part->span,
                                          part->to < 0 ? HOLDER_NONE : plan->vms[part->to].holder, 0);
                else if (part->to < 0)
                        r = take_top(map, plan->vms[part->from].holder, part->bytes);
        }
        for (size_t i = 0; r >= 0 && i < plan->n_parts; i++)
                if (!plan->parts[i].is_range && plan->parts[i].to >= 0)
                        r = give(map, plan->vms[plan->parts[i].to].holder, plan->parts[i].bytes, choose, false);
        return r;
}

/* What a VM manages in the map. -E2BIG where that is in more stretches than a record holds. */
int assigned_collect(const struct rights *map, struct holder vm, struct assigned *ret) {
        struct assigned assigned = { 0 };

        for (size_t i = 0; i < map->n_ranges; i++) {
                const struct rights_range *range = &map->ranges[i];

                if (!holder_equal(range->manager, vm))
                        continue;
                if (assigned.n_spans == ASSIGNED_SPANS_MAX)
                        return -E2BIG;
                assigned.spans[assigned.n_spans++] = range->span; /* the map merges what lies side by side */
        }
        *ret = assigned;
        return 0;
}

/* ---- what is promised ------------------------------------------------------------------------------------- */

/* What a VM of the request has now. One that is away for a while (off, fenced, booting) has nothing granted, and keeps
 * what it managed before and what the request had done for it. */
static uint64_t has_now(const struct engine *engine, size_t i, uint64_t extent) {
        const struct assignment *plan = &engine->assigning.plan;
        struct holder vm = plan->vms[i].holder;
        const struct pair *pair = assigned_pair_of(engine, vm);
        const struct record_app *app = &pair->record.apps[pair_policy_find_memory(pair->policy)];
        uint64_t now = assigned_bytes(pair, vm.side), undone = assignment_unextended(plan, i);
        uint64_t granted = (app->granted_bytes[vm.side] + extent - 1) / extent * extent;
        uint64_t done = now > undone ? now - undone : 0;

        return granted > done && !assigned_is_fenced(pair, vm.side) ? granted : done;
}

/* Each VM of the request manages what it has. */
int assigned_keep_what_is_there(const struct engine *engine, struct rights *map) {
        const struct assignment *plan = &engine->assigning.plan;
        int r = 0;

        for (int round = 0; round < 2; round++)
                for (size_t i = 0; r >= 0 && i < plan->n_vms; i++) {
                        struct holder vm = plan->vms[i].holder;
                        uint64_t now = assigned_bytes(assigned_pair_of(engine, vm), vm.side);
                        uint64_t has = has_now(engine, i, map->extent_bytes);

                        if (round == 0 && now > has)
                                r = take_top(map, vm, now - has);
                        else if (round == 1 && now < has)
                                r = give(map, vm, has - now, engine->policy->assign.choose, true);
                }
        return r;
}

/* ---- the plan -------------------------------------------------------------------------------------------- */

/* Does each VM's region hold what it would manage? */
static int check_vms(const struct engine *engine, const struct assignment *plan, const struct rights *map, char *why,
                     size_t size) {
        for (size_t i = 0; i < plan->n_vms; i++) {
                struct holder vm = plan->vms[i].holder;
                const struct pair *pair = assigned_pair_of(engine, vm);
                const struct application *region =
                        &pair->policy->applications[pair_policy_find_memory(pair->policy)];
                uint64_t after = rights_sum(map, vm).managed_bytes, now = assigned_bytes(pair, vm.side);
                struct assigned assigned;
                char x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX], z[UNITS_TEXT_MAX];

                if (after > now && after > region->memory_bytes) {
                        snprintf(why, size, "%s would manage %s, and its region %s holds %s; extend it by at most %s, "
                                 "or make the region larger in the policy", plan->vms[i].name, size_format(x, after),
                                 region->name, size_format(y, region->memory_bytes),
                                 size_format(z, region->memory_bytes > now ? region->memory_bytes - now : 0));
                        return -ENOSPC;
                }
                if (assigned_collect(map, vm, &assigned) < 0) {
                        snprintf(why, size, "what %s manages would lie in more than %d places; ask for an amount, or "
                                 "for ranges next to its own (failoverctl memory)", plan->vms[i].name,
                                 ASSIGNED_SPANS_MAX);
                        return -E2BIG;
                }
        }
        return 0;
}

/* What a plan takes of the pool beside what it gives back. */
static uint64_t net_bytes(const struct assignment *plan) {
        uint64_t in = 0, out = 0;

        for (size_t i = 0; i < plan->n_parts; i++) {
                in += plan->parts[i].to >= 0 ? plan->parts[i].bytes : 0;
                out += plan->parts[i].from >= 0 ? plan->parts[i].bytes : 0;
        }
        return in > out ? in - out : 0;
}

/* Cuts amounts that VMs are to be extended by, the last ones first, until the pool has what is left; where it has
 * nothing of one, that stays as it is, and the request is refused. */
static void cut(const struct assignment *whole, uint64_t available, struct assignment_item *items, size_t n,
                uint64_t cut_bytes[ASSIGNMENT_ITEMS_MAX]) {
        uint64_t net = net_bytes(whole), extent = whole->extent_bytes;
        uint64_t over = net > available ? (net - available + extent - 1) / extent * extent : 0;

        for (size_t i = n; i > 0 && over > 0; i--) {
                struct assignment_item *item = &items[i - 1];
                uint64_t most = item->kind == ASSIGN_EXTEND && item->bytes > extent ? item->bytes - extent : 0;

                cut_bytes[i - 1] = most < over ? most : over;
                item->bytes -= cut_bytes[i - 1];
                over -= cut_bytes[i - 1];
        }
}

/* Does the pool have what is asked for beyond what is given back for it? */
static int check_pool(const struct assignment *plan, uint64_t available, char *why, size_t size) {
        uint64_t net = net_bytes(plan);
        char x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];

        if (net <= available)
                return 0;
        snprintf(why, size, "it needs %s more than it gives back, and the pool has %s unused beside what is promised "
                 "to hot-standby applications; ask for less, release more, or grow the pool (policy: pool.memory)",
                 size_format(x, net), size_format(y, available));
        return -ENOSPC;
}

static int plan_request(const struct engine *engine, const char *text, const struct assignment_vm *vms, size_t n_vms,
                        bool partly, struct assignment *plan, struct rights *map, uint64_t available, char *why,
                        size_t size) {
        const struct assign_keys *keys = &engine->policy->assign;
        uint64_t extent = engine->policy->extent_bytes;
        uint64_t piece = keys->piece_bytes > 0 && keys->piece_bytes < extent ? extent : keys->piece_bytes;
        struct assignment_policy policy = {
                .order = keys->order, .overlap = keys->overlap, .piece_bytes = piece / extent * extent,
                .best_effort = partly, /* at first: to see what it comes to */
        };
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        uint64_t cut_bytes[ASSIGNMENT_ITEMS_MAX] = { 0 };
        size_t n;
        int r;

        r = assignment_parse(text, items, &n, why, size);
        for (size_t i = 0; r >= 0 && i < n; i++)
                if (lacks_region(engine, items[i].vm)) {
                        snprintf(why, size, "%s has no region to extend or release by hand; add an application of kind "
                                 "memory to its pair (failoverd-policy(5)), and the device to its domain", items[i].vm);
                        return -EOPNOTSUPP;
                }
        if (r >= 0 && n_vms == 0) {
                snprintf(why, size, "no VM has a region to extend or release by hand; add an application of kind "
                         "memory to a pair (failoverd-policy(5)), and the device to its domains");
                return -EOPNOTSUPP;
        }
        if (r >= 0)
                r = assignment_begin(plan, map, vms, n_vms, items, n, &policy, why, size);
        if (r >= 0 && partly) {
                cut(plan, available, items, n, cut_bytes);
                plan->running = policy.best_effort = false; /* anew, of what is left */
                r = assignment_begin(plan, map, vms, n_vms, items, n, &policy, why, size);
        }
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                if ((plan->cut_bytes[i] = cut_bytes[i]) > 0)
                        snprintf(plan->why[i], sizeof(plan->why[i]), "the pool has no more (policy: assign.short)");
        r = check_pool(plan, available, why, size);
        if (r < 0)
                return r;
        r = move_management(plan, keys->choose, map);
        if (r < 0) {
                snprintf(why, size, "%s", r == -ENOMEM ? "out of memory" : "there are not enough places in the pool");
                return r;
        }
        return check_vms(engine, plan, map, why, size);
}

static int plan_on(const struct engine *engine, const char *text, bool partly, uint64_t available,
                   struct assignment *ret_plan, struct rights *map, char *why, size_t size) {
        struct assignment_vm *vms = calloc((size_t) engine->n_pairs * SIDE_MAX + 1, sizeof(*vms));
        struct assignment *plan = calloc(1, sizeof(*plan));
        int r = -ENOMEM;

        if (vms && plan) {
                plan->next_id = engine->assigning.plan.next_id;
                r = plan_request(engine, text, vms, list_vms(engine, vms), partly, plan, map, available, why,
                                 size);
        } else
                snprintf(why, size, "out of memory");
        if (r >= 0)
                *ret_plan = *plan;
        free(vms);
        free(plan);
        return r;
}

/* What the pool could assign once the VMs of the request under way manage what the map says. */
static uint64_t available_after(const struct engine *engine, const struct rights *map) {
        const struct assignment *plan = &engine->assigning.plan;
        uint64_t more = assigned_available(engine), less = 0;

        for (size_t i = 0; i < plan->n_vms; i++) {
                struct holder vm = plan->vms[i].holder;

                more += assigned_bytes(assigned_pair_of(engine, vm), vm.side);
                less += rights_sum(map, vm).managed_bytes;
        }
        return more > less ? more - less : 0;
}

int assigned_plan_beside(const struct engine *engine, const char *text, bool without_promise, bool partly,
                         struct assignment *ret_plan, struct rights *ret_map, char *why, size_t size) {
        uint64_t available = assigned_available(engine);
        struct rights map;
        int r = assigned_map(engine, &map);

        if (r < 0) {
                snprintf(why, size, "%s", r == -E2BIG ? "the pool has too many extents for places; make pool.extent "
                                                        "larger"
                                                      : strerror(-r));
                return r;
        }
        if (without_promise) {
                r = assigned_keep_what_is_there(engine, &map);
                if (r < 0)
                        snprintf(why, size, "%s", strerror(-r));
                available = available_after(engine, &map);
        }
        if (r >= 0)
                r = plan_on(engine, text, partly, available, ret_plan, &map, why, size);
        if (r < 0)
                rights_deinit(&map);
        else
                *ret_map = map;
        return r;
}

int assigned_plan(const struct engine *engine, const char *text, struct assignment *ret_plan, struct rights *ret_map,
                  char *why, size_t size) {
        const struct assigning *assigning = &engine->assigning;
        int r;

        if (!engine->ready || !engine->policy || engine->pool_short) {
                snprintf(why, size, "%s", engine->pool_short ? "the pool in the policy is smaller than what is granted "
                                                               "already; make pool.memory larger first"
                                                             : "failoverd is still starting; try again in a moment");
                return engine->pool_short ? -ENOSPC : -EAGAIN;
        }
        if (assigning->plan.running && !assigning->of_guest) {
                char item[ASSIGNMENT_ITEM_LEN];

                snprintf(why, size, "a request of %s is under way, from \"%s\" on; wait for its end (failoverctl "
                         "memory assign --wait), or end it (--cancel)", assigning->who,
                         assignment_item_format(&assigning->plan.items[0], item));
                return -EBUSY;
        }
        r = assigned_plan_beside(engine, text, false, false, ret_plan, ret_map, why, size);
        if (r == -ENOSPC && assigning->plan.running)
                r = assigned_plan_beside(engine, text, true, false, ret_plan, ret_map, why, size);
        if (r == -ENOSPC && engine->policy->assign.on_short == ASSIGN_PARTLY)
                r = assigned_plan_beside(engine, text, assigning->plan.running, true, ret_plan, ret_map, why, size);
        return r;
}
