/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request to assign memory is granted all at once (assigned-plan.c); then its usage is followed, VM by VM, to its
 * end. */

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/assigned-internal.h"

#define WRITE_USEC (2 * USEC_PER_SEC)
#define STILL_USEC (5 * USEC_PER_SEC) /* a guest's request that has not moved for so long holds up no other */
#define PIECE_PATIENCES 10 /* a VM may take so much of the policy's patience for a piece */

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

                        if (assigned_collect(map, pair_holder(pair, side), &assigned) < 0 ||
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
static void say_end(struct engine *engine, struct update *update);

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

/* May a request of this asker end the one under way? An operator's may end a guest's, and a guest's one that stands
 * still. */
static bool gives_way(const struct assigning *assigning, const struct asker *asker, usec_t now) {
        usec_t moved_usec = assigning->begun_usec;

        for (size_t i = 0; i < assigning->plan.n_vms; i++)
                if (assigning->vms[i].request_id && assigning->vms[i].seen_usec > moved_usec)
                        moved_usec = assigning->vms[i].seen_usec;
        return assigning->of_guest && (!asker->message_id || now >= moved_usec + STILL_USEC);
}

static int make_plan(const struct engine *engine, const char *request, const struct asker *asker,
                     struct assignment *ret_plan, struct rights *ret_map, char *why, size_t size) {
        if (!asker->message_id || !engine->assigning.plan.running)
                return assigned_plan(engine, request, ret_plan, ret_map, why, size);
        if (gives_way(&engine->assigning, asker, engine->now_usec))
                return assigned_plan_beside(engine, request, false, false, ret_plan, ret_map, why, size);
        snprintf(why, size, "a request of %s is under way", engine->assigning.who);
        return -EBUSY;
}

/* The request under way, if any, makes way for what was planned beside it. */
static void begin(struct engine *engine, const char *request, const char *who, const struct asker *asker,
                  struct update *update) {
        struct assigning *assigning = &engine->assigning;
        struct step step = step_begin(engine, NULL, update);
        struct assignment *plan = malloc(sizeof(*plan));
        char why[EVENT_TEXT_LEN] = "out of memory";
        struct holder before = HOLDER_NONE;
        struct assignment_request none;
        struct rights map;
        int r = -ENOMEM;

        if (plan)
                r = make_plan(engine, request, asker, plan, &map, why, sizeof(why));
        if (r < 0 && asker->message_id)
                refuse_guest(engine, asker, r, why, update);
        else if (r < 0)
                reply(engine, asker, r, update, "%s", why);
        if (r < 0) {
                free(plan);
                return;
        }
        if (assigning->plan.running)
                before = assigning->plan.vms[0].holder; /* a guest's: there is no other */
        if (holder_is_vm(before) && rights_sum(&map, before).managed_bytes <
                                            assigned_bytes(assigned_pair_of(engine, before), before.side))
                stop(engine); /* its asker is not told that it was granted */
        answer(engine, true, update); /* the last one's, whose writing is late */
        if (holder_is_vm(before)) {
                stop(engine);
                (void) assignment_next(&assigning->plan, &none);
                say_end(engine, update);
        }
        assigning->plan = *plan;
        free(plan);
        memset(assigning->vms, 0, sizeof(assigning->vms));
        snprintf(assigning->who, sizeof(assigning->who), "%s", who);
        assigning->of_guest = asker->message_id != 0;
        assigning->begun_usec = engine->now_usec;
        assigning->ended_usec = 0;
        for (size_t i = 0; i < assigning->plan.n_vms; i++) {
                struct holder vm = assigning->plan.vms[i].holder;

                assigning->vms[i].target_bytes = assigned_bytes(assigned_pair_of(engine, vm), vm.side);
        }
        step_say(&step, RECORD_GRANTED, SIDE_INVALID, "memory assigned by %s: %.180s", who, request);
        assigning->asker = *asker;
        assigning->asked_usec = engine->now_usec;
        commit(engine, &map, update);
        rights_deinit(&map);
        if (holder_is_vm(before)) /* whatever has not followed goes on */
                advance_pair(engine, before.pair, update);
}

void engine_end_guests_request(struct engine *engine, struct update *update) {
        if (!engine->assigning.plan.running || !engine->assigning.of_guest)
                return;
        answer(engine, true, update);
        stop(engine);
        engine_advance_assignment(engine, NULL, update);
}

/* ---- given up -------------------------------------------------------------------------------------------- */

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
                                        moved(assigned_pair_of(engine, holder), holder.side, vm), "cancelled");
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
                r = assigned_keep_what_is_there(engine, &map);
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
        const struct pair *pair = assigned_pair_of(engine, holder);
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
        if (assigned_is_fenced(pair, holder.side)) {
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
        if (!assigning->plan.running) {
                say_end(engine, update);
                for (size_t i = 0; i < assigning->plan.n_vms; i++) /* whatever has not followed goes on */
                        advance_pair(engine, assigning->plan.vms[i].holder.pair, update);
        }
        for (size_t i = 0; assigning->plan.running && i < assigning->plan.n_vms; i++)
                if (less[i])
                        advance_pair(engine, assigning->plan.vms[i].holder.pair, update);
}
