/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request to assign memory: read, compared with the table, granted all at once; then its usage is followed, VM by
 * VM, to its end. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/choice.h"
#include "daemon/core/pair-internal.h"

#define WRITE_USEC (2 * USEC_PER_SEC)
#define PIECE_PATIENCES 10 /* a VM may take so much of the policy's patience for a piece */

/* ---- who may be named ---------------------------------------------------------------------------------- */

static bool is_fenced(const struct pair *pair, enum side side) {
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
                                                          .fenced = is_fenced(pair, side) };
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

static const struct pair *pair_of(const struct engine *engine, struct holder vm) {
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

/* Gives a VM `bytes` that nobody manages: next to its own, and what fits best. */
static int give(struct rights *map, struct holder vm, uint64_t bytes, bool best_effort) {
        const struct choice choice = { .from = CHOICE_ANY_UNMANAGED, .rules = { CHOICE_NEAREST, CHOICE_CLOSEST_FIT },
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
static int move_management(const struct assignment *plan, struct rights *map) {
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
                        r = give(map, plan->vms[plan->parts[i].to].holder, plan->parts[i].bytes, false);
        return r;
}

/* What a VM manages in the map. -E2BIG where that is in more stretches than a record holds. */
static int collect(const struct rights *map, struct holder vm, struct assigned *ret) {
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

/* ---- the plan -------------------------------------------------------------------------------------------- */

/* Does each VM's region hold what it would manage? */
static int check_vms(const struct engine *engine, const struct assignment *plan, const struct rights *map, char *why,
                     size_t size) {
        for (size_t i = 0; i < plan->n_vms; i++) {
                struct holder vm = plan->vms[i].holder;
                const struct pair *pair = pair_of(engine, vm);
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
                if (collect(map, vm, &assigned) < 0) {
                        snprintf(why, size, "what %s manages would lie in more than %d places; ask for an amount, or "
                                 "for ranges next to its own (failoverctl memory)", plan->vms[i].name,
                                 ASSIGNED_SPANS_MAX);
                        return -E2BIG;
                }
        }
        return 0;
}

/* Does the pool have what is asked for beyond what is given back for it? */
static int check_pool(const struct engine *engine, const struct assignment *plan, char *why, size_t size) {
        uint64_t in = 0, out = 0, available = assigned_available(engine);
        char x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];

        for (size_t i = 0; i < plan->n_parts; i++) {
                in += plan->parts[i].to >= 0 ? plan->parts[i].bytes : 0;
                out += plan->parts[i].from >= 0 ? plan->parts[i].bytes : 0;
        }
        if (in <= out || in - out <= available)
                return 0;
        snprintf(why, size, "it needs %s more than it gives back, and the pool has %s unused beside what is promised "
                 "to hot-standby applications; ask for less, release more, or grow the pool (policy: pool.memory)",
                 size_format(x, in - out), size_format(y, available));
        return -ENOSPC;
}

static int plan_request(const struct engine *engine, const char *text, const struct assignment_vm *vms, size_t n_vms,
                        struct assignment *plan, struct rights *map, char *why, size_t size) {
        const struct assign_keys *keys = &engine->policy->assign;
        uint64_t extent = engine->policy->extent_bytes;
        uint64_t piece = keys->piece_bytes > 0 && keys->piece_bytes < extent ? extent : keys->piece_bytes;
        const struct assignment_policy policy = {
                .order = keys->order, .overlap = keys->overlap, .piece_bytes = piece / extent * extent,
        };
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
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
        if (r < 0)
                return r;
        r = check_pool(engine, plan, why, size);
        if (r < 0)
                return r;
        r = move_management(plan, map);
        if (r < 0) {
                snprintf(why, size, "%s", r == -ENOMEM ? "out of memory" : "there are not enough places in the pool");
                return r;
        }
        return check_vms(engine, plan, map, why, size);
}

int assigned_plan(const struct engine *engine, const char *text, struct assignment *ret_plan, struct rights *ret_map,
                  char *why, size_t size) {
        struct assignment_vm *vms = NULL;
        struct assignment *plan = NULL;
        struct rights map;
        int r;

        if (!engine->ready || !engine->policy || engine->pool_short) {
                snprintf(why, size, "%s", engine->pool_short ? "the pool in the policy is smaller than what is granted "
                                                               "already; make pool.memory larger first"
                                                             : "failoverd is still starting; try again in a moment");
                return engine->pool_short ? -ENOSPC : -EAGAIN;
        }
        if (engine->assigning.plan.running) {
                char item[ASSIGNMENT_ITEM_LEN];

                snprintf(why, size, "a request of %s is under way, from \"%s\" on; wait for its end (failoverctl "
                         "memory assign --wait), or end it (--cancel)", engine->assigning.who,
                         assignment_item_format(&engine->assigning.plan.items[0], item));
                return -EBUSY;
        }
        r = assigned_map(engine, &map);
        if (r < 0) {
                snprintf(why, size, "%s", r == -E2BIG ? "the pool has too many extents for places; make pool.extent "
                                                        "larger"
                                                      : strerror(-r));
                return r;
        }
        vms = calloc((size_t) engine->n_pairs * SIDE_MAX + 1, sizeof(*vms));
        plan = calloc(1, sizeof(*plan));
        if (vms && plan) {
                plan->next_id = engine->assigning.plan.next_id;
                r = plan_request(engine, text, vms, list_vms(engine, vms), plan, &map, why, size);
        } else {
                snprintf(why, size, "out of memory");
                r = -ENOMEM;
        }
        if (r < 0)
                rights_deinit(&map);
        else {
                *ret_plan = *plan;
                *ret_map = map;
        }
        free(vms);
        free(plan);
        return r;
}

/* ---- granted --------------------------------------------------------------------------------------------- */

static void advance_pair(struct engine *engine, int slot, struct update *update) {
        struct step step = step_begin(engine, engine->pairs[slot], update);

        if (step.pair)
                pair_advance(&step);
}

static bool same(const struct assigned *a, const struct assigned *b) {
        bool equal = a->n_spans == b->n_spans;

        for (unsigned i = 0; equal && i < a->n_spans; i++)
                equal = a->spans[i].start == b->spans[i].start && a->spans[i].end == b->spans[i].end;
        return equal;
}

/* Writes into the records what the map says; who is concerned goes on from there. */
static void commit(struct engine *engine, const struct rights *map, struct update *update) {
        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *pair = engine->pairs[i];
                bool changed = false;

                for (enum side side = 0; pair && side < SIDE_MAX; side++) {
                        struct assigned assigned;

                        if (collect(map, pair_holder(pair, side), &assigned) < 0 ||
                            same(&assigned, &pair->record.assigned[side]))
                                continue;
                        pair->record.assigned[side] = assigned;
                        changed = true;
                }
                if (!changed)
                        continue;
                pair_owner_dirty(pair);
                advance_pair(engine, i, update);
        }
}

__attribute__((format(printf, 5, 6)))
static void reply(struct engine *engine, const struct asker *asker, int result, struct update *update,
                  const char *format, ...) {
        bool to_guest = asker->message_id && asker->guest.pair < engine->n_pairs && engine->pairs[asker->guest.pair];
        struct step step = step_begin(engine, to_guest ? engine->pairs[asker->guest.pair] : NULL, update);
        char text[EVENT_TEXT_LEN];
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (to_guest)
                guest_answer(&step, asker->guest.side, asker->message_id, result, "%s", text);
        else
                command_reply(&step, asker->command_id, result, "%s", text);
}

/* Says that the request is granted, or ended, once that is written down; or the writing is late, which is said
 * elsewhere. */
static void answer(struct engine *engine, bool at_once, struct update *update) {
        struct assigning *assigning = &engine->assigning;
        char text[ASSIGNMENT_TEXT_MAX] = "", item[ASSIGNMENT_ITEM_LEN];
        size_t used = 0;

        if (assigning->asker.command_id == 0 && assigning->asker.message_id == 0)
                return;
        for (size_t i = 0; !at_once && i < assigning->plan.n_vms; i++) {
                const struct pair *pair = engine->pairs[assigning->plan.vms[i].holder.pair];

                if (pair && !pair_step_safe(pair) && engine->now_usec < assigning->asked_usec + WRITE_USEC)
                        return; /* where it is over, its pair may be no more */
        }
        for (size_t i = 0; i < assigning->plan.n_items; i++)
                used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%s", used ? " " : "",
                                          assignment_item_format(&assigning->plan.items[i], item));
        if (assigning->plan.cancelled)
                reply(engine, &assigning->asker, 0, update, "ended: each VM of it manages what it has now");
        else
                reply(engine, &assigning->asker, 0, update, "granted: %.180s; usage follows", text);
        assigning->asker = (struct asker) { 0 };
}

static void stop(struct engine *engine);

/* A guest is not told of other VMs; history has the whole reason. */
static void refuse_guest(struct engine *engine, const struct asker *asker, int result, const char *why,
                         struct update *update) {
        struct step step = step_begin(engine, engine->pairs[asker->guest.pair], update);

        member_say(&step, RECORD_REFUSED, asker->guest.side, "%s: its guest is refused memory: %.180s",
                   pair_domain(step.pair, asker->guest.side), why);
        guest_answer(&step, asker->guest.side, asker->message_id, result, "%s",
                     result == -ENOSPC  ? "there is not so much, or this VM's region does not hold it"
                     : result == -EBUSY ? "another request is under way; ask again later"
                                        : "it cannot be had now; the host's history says why");
}

static void begin(struct engine *engine, const char *request, const char *who, const struct asker *asker,
                  struct update *update) {
        struct assigning *assigning = &engine->assigning;
        struct step step = step_begin(engine, NULL, update);
        char why[EVENT_TEXT_LEN];
        struct rights map;
        int r;

        if (assigning->plan.running && assigning->of_guest && !asker->message_id) {
                stop(engine); /* what it was granted it has, or gets when it is there */
                engine_advance_assignment(engine, NULL, update);
        }
        if (!assigning->plan.running)
                answer(engine, true, update); /* the last one's, whose writing is late */
        r = assigned_plan(engine, request, &assigning->plan, &map, why, sizeof(why));
        if (r < 0 && asker->message_id)
                refuse_guest(engine, asker, r, why, update);
        else if (r < 0)
                reply(engine, asker, r, update, "%s", why);
        if (r < 0)
                return;
        memset(assigning->vms, 0, sizeof(assigning->vms));
        snprintf(assigning->who, sizeof(assigning->who), "%s", who);
        assigning->of_guest = asker->message_id != 0;
        assigning->begun_usec = engine->now_usec;
        assigning->ended_usec = 0;
        for (size_t i = 0; i < assigning->plan.n_vms; i++) {
                struct holder vm = assigning->plan.vms[i].holder;

                assigning->vms[i].target_bytes = assigned_bytes(pair_of(engine, vm), vm.side);
        }
        step_say(&step, RECORD_GRANTED, SIDE_INVALID, "memory assigned by %s: %.180s", who, request);
        assigning->asker = *asker;
        assigning->asked_usec = engine->now_usec;
        commit(engine, &map, update);
        rights_deinit(&map);
}

/* ---- given up -------------------------------------------------------------------------------------------- */

/* What a VM of the request has now. One that is away for a while (off, fenced, booting) has nothing granted, and keeps
 * what it managed before and what the request had done for it. */
static uint64_t has_now(const struct engine *engine, size_t i, uint64_t extent) {
        const struct assignment *plan = &engine->assigning.plan;
        struct holder vm = plan->vms[i].holder;
        const struct pair *pair = pair_of(engine, vm);
        const struct record_app *app = &pair->record.apps[pair_policy_find_memory(pair->policy)];
        uint64_t now = assigned_bytes(pair, vm.side), undone = assignment_unextended(plan, i);
        uint64_t granted = is_fenced(pair, vm.side) ? 0 : (app->granted_bytes[vm.side] + extent - 1) / extent * extent;
        uint64_t done = now > undone ? now - undone : 0;

        return granted > done ? granted : done;
}

/* Each VM of the request manages what it has. */
static int keep_what_is_there(const struct engine *engine, struct rights *map) {
        const struct assignment *plan = &engine->assigning.plan;
        int r = 0;

        for (int round = 0; round < 2; round++)
                for (size_t i = 0; r >= 0 && i < plan->n_vms; i++) {
                        struct holder vm = plan->vms[i].holder;
                        uint64_t now = assigned_bytes(pair_of(engine, vm), vm.side);
                        uint64_t has = has_now(engine, i, map->extent_bytes);

                        if (round == 0 && now > has)
                                r = take_top(map, vm, now - has);
                        else if (round == 1 && now < has)
                                r = give(map, vm, has - now, true);
                }
        return r;
}

/* How much of what a VM is asked for is done. */
static uint64_t moved(const struct pair *pair, enum side side, const struct assigning_vm *vm) {
        int app = pair_policy_find_memory(pair->policy);
        uint64_t granted = pair->record.apps[app].granted_bytes[side], plugged = pair->members[side].plugged_bytes[app];
        uint64_t has = vm->extend && plugged < granted ? plugged : granted, bytes;

        if (vm->extend)
                bytes = has > vm->before_bytes ? has - vm->before_bytes : 0;
        else
                bytes = has < vm->before_bytes ? vm->before_bytes - has : 0;
        return bytes < vm->bytes ? bytes : vm->bytes;
}

static void stop(struct engine *engine) {
        struct assigning *assigning = &engine->assigning;

        assignment_cancel(&assigning->plan);
        for (size_t i = 0; i < assigning->plan.n_vms; i++) {
                const struct assigning_vm *vm = &assigning->vms[i];
                struct holder holder = assigning->plan.vms[i].holder;

                if (vm->request_id)
                        assignment_done(&assigning->plan, vm->request_id, ASSIGN_DONE,
                                        moved(pair_of(engine, holder), holder.side, vm), "cancelled");
        }
}

/* What is called back has nobody at present: it stays as it was granted. */
static void cancel(struct engine *engine, const struct operator_command *command, struct update *update) {
        struct step step = step_begin(engine, NULL, update);
        bool keeps = !assigned_called_back(engine);
        struct rights map;
        int r;

        if (!engine->ready || !engine->assigning.plan.running) {
                command_reply(&step, command->id, 0, "nothing to do: no request to assign memory is under way");
                return;
        }
        r = assigned_map(engine, &map);
        if (r >= 0 && keeps)
                r = keep_what_is_there(engine, &map);
        if (r < 0) {
                command_reply(&step, command->id, r, "it cannot be ended now: %s", strerror(-r));
                return;
        }
        answer(engine, true, update); /* the request's own, whose writing is late */
        stop(engine);
        step_say(&step, RECORD_GRANTED, SIDE_INVALID, "memory: the request of %s was ended by %s; each VM of it "
                 "manages what it %s", engine->assigning.who, command->who, keeps ? "has" : "was granted");
        if (keeps) {
                engine->assigning.asker = (struct asker) { .command_id = command->id };
                engine->assigning.asked_usec = engine->now_usec;
        } else
                command_reply(&step, command->id, 0, "ended: what is assigned by hand is called back for a hot-standby "
                              "application, and each VM of it has what it was granted when that is over");
        commit(engine, &map, update);
        rights_deinit(&map);
        engine_advance_assignment(engine, NULL, update);
}

void engine_assign(struct engine *engine, const struct operator_command *command, struct update *update) {
        if (command->verb == COMMAND_ASSIGN)
                begin(engine, command->request, command->who, &(struct asker) { .command_id = command->id }, update);
        else
                cancel(engine, command, update);
}

void engine_assign_for_guest(struct engine *engine, struct pair *pair, enum side side, const char *request,
                             uint64_t message_id, struct update *update) {
        const struct asker asker = { .guest = pair_holder(pair, side), .message_id = message_id };
        char who[NAME_LEN];

        snprintf(who, sizeof(who), "the guest of %.45s", pair_domain(pair, side));
        begin(engine, request, who, &asker, update);
}

/* ---- usage follows --------------------------------------------------------------------------------------- */

/* Looks how far a VM has come; its request may have ended. True where less is asked of it now. */
static bool look(struct engine *engine, size_t i) {
        struct assigning *assigning = &engine->assigning;
        struct assigning_vm *vm = &assigning->vms[i];
        struct holder holder = assigning->plan.vms[i].holder;
        const struct pair *pair = pair_of(engine, holder);
        enum assignment_outcome outcome = ASSIGN_DONE;
        char why[ASSIGNMENT_WHY_LEN] = "", time[UNITS_TEXT_MAX];
        usec_t patience = engine->policy->assign.patience_usec;
        uint64_t bytes;

        if (vm->request_id == 0)
                return false;
        bytes = moved(pair, holder.side, vm);
        if (bytes > vm->seen_bytes) {
                vm->seen_bytes = bytes;
                vm->seen_usec = engine->now_usec;
        }
        if (is_fenced(pair, holder.side)) {
                outcome = ASSIGN_FAILED;
                snprintf(why, sizeof(why), "%s has failed; what it manages is given to it again when it is back",
                         pair_domain(pair, holder.side));
        } else if (bytes < vm->bytes && engine->now_usec < vm->seen_usec + patience &&
                   engine->now_usec < vm->issued_usec + PIECE_PATIENCES * patience)
                return false;
        else if (bytes < vm->bytes && engine->now_usec < vm->seen_usec + patience)
                snprintf(why, sizeof(why), vm->extend ? "%s has not taken all of it in %s; it gets the rest when it is "
                                                        "there"
                                                      : "the guest of %s has not let all of it go in %s; it is still "
                                                        "asked to",
                         pair_domain(pair, holder.side), duration_format(time, PIECE_PATIENCES * patience));
        else if (bytes < vm->bytes)
                snprintf(why, sizeof(why), vm->extend ? "no memory has become free for %s, or its guest has not taken "
                                                        "it, for %s; it gets it when it is there"
                                                      : "the guest of %s has let nothing go for %s; it is still asked "
                                                        "to",
                         pair_domain(pair, holder.side), duration_format(time, patience));
        assignment_done(&assigning->plan, vm->request_id, outcome, bytes, why);
        vm->request_id = 0;
        if (vm->extend && bytes < vm->bytes) { /* the rest may be asked for once more */
                uint64_t extent = engine->policy->extent_bytes;

                vm->target_bytes = vm->before_bytes + bytes / extent * extent;
                return true;
        }
        return false;
}

static size_t index_of(const struct assignment *plan, struct holder vm) {
        size_t i = 0;

        while (i < plan->n_vms && !holder_equal(plan->vms[i].holder, vm))
                i++;
        return i;
}

static void issue(struct engine *engine, const struct assignment_request *request, struct update *update) {
        struct assigning_vm *vm = &engine->assigning.vms[index_of(&engine->assigning.plan, request->vm)];

        vm->request_id = request->id;
        vm->extend = request->extend;
        vm->bytes = request->bytes;
        vm->before_bytes = vm->target_bytes;
        vm->target_bytes = request->extend ? vm->target_bytes + request->bytes : vm->target_bytes - request->bytes;
        vm->seen_bytes = 0;
        vm->seen_usec = vm->issued_usec = engine->now_usec;
        advance_pair(engine, request->vm.pair, update);
}

static void say_end(struct engine *engine, struct update *update) {
        struct assigning *assigning = &engine->assigning;
        struct step step = step_begin(engine, NULL, update);
        char line[ASSIGNMENT_LINE_LEN];

        assigning->ended_usec = engine->now_usec;
        for (size_t i = 0; i < assigning->plan.n_items; i++)
                step_say(&step, assignment_report(&assigning->plan, i).refused_bytes ? RECORD_REFUSED : RECORD_GRANTED,
                         SIDE_INVALID, "memory: %.240s", assignment_report_format(&assigning->plan, i, line));
        for (size_t i = 0; i < assigning->plan.n_vms; i++) /* whatever has not followed goes on */
                advance_pair(engine, assigning->plan.vms[i].holder.pair, update);
}

/* Memory that came back from one pair's VM may be what another's waits for. */
static void advance_waiting(struct engine *engine, struct update *update) {
        for (int i = 0; i < engine->n_pairs; i++) {
                const struct pair *pair = engine->pairs[i];
                int app = pair ? pair_policy_find_memory(pair->policy) : -1;

                for (enum side side = 0; app >= 0 && side < SIDE_MAX; side++)
                        if (pair->record.apps[app].granted_bytes[side] < assigned_target(engine, pair, app, side)) {
                                advance_pair(engine, i, update);
                                break;
                        }
        }
}

void engine_advance_assignment(struct engine *engine, const struct event *event, struct update *update) {
        struct assigning *assigning = &engine->assigning;
        struct assignment_request request;
        bool less[ASSIGNMENT_VMS_MAX];

        if (engine->ready && event && event->kind == EVENT_WAKE && event->pair < 0)
                advance_waiting(engine, update);
        answer(engine, false, update);
        if (!assigning->plan.running)
                return;
        for (size_t i = 0; i < assigning->plan.n_vms; i++)
                less[i] = look(engine, i);
        while (assignment_next(&assigning->plan, &request))
                issue(engine, &request, update);
        if (!assigning->plan.running)
                say_end(engine, update);
        for (size_t i = 0; assigning->plan.running && i < assigning->plan.n_vms; i++)
                if (less[i])
                        advance_pair(engine, assigning->plan.vms[i].holder.pair, update);
}
