/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A region that moved from a VM that lives on, before that VM had given it up (N: two rights; policy `handover:
 * lazy`). The new side manages it and may use it at once. What the old side still has of it is taken back in this
 * order: its guest is asked to release what it can spare of it, and what the new manager touches before that is paged
 * out of the old side's QEMU. The table knows managers only; `using_bytes` says how much an old user may still have.
 */

#include <inttypes.h>
#include <stdio.h>

#include "daemon/core/pair-internal.h"

/* One page-out covers so much at most: what the manager touches next should not have to wait for all of it. */
#define PAGE_OUT_BYTES (32 * MIB)
/* What leans leaves so much of the swap to the rest of the host, which takes it at any time. */
#define SWAP_SPARE_BYTES (128 * MIB)

/* What old users may still have of regions that moved: it may come to lie in swap. */
static uint64_t leant_bytes(const struct engine *engine) {
        uint64_t sum = 0;

        for (int i = 0; i < engine->n_pairs; i++)
                for (size_t k = 0; engine->pairs[i] && k < engine->pairs[i]->policy->n_applications; k++)
                        for (enum side side = 0; side < SIDE_MAX; side++)
                                sum += engine->pairs[i]->record.apps[k].using_bytes[side];
        return sum;
}

/* What is against an old user's keeping its region for a while. */
enum lean {
        LEAN_ALLOWED,
        LEAN_AGAINST_POOL,   /* VMs may have nothing beside it (policy), and the kernel does not hold them to it */
        LEAN_AGAINST_POLICY, /* more than pool.swap */
        LEAN_AGAINST_SWAP,   /* it could not be paged out: a hard limit would have the kernel kill, without one memory
                              * beside the pool would be taken */
};

static enum lean may_lean(const struct engine *engine, const struct pair *pair, int app, enum side from) {
        const struct policy *policy = engine->policy;
        uint64_t bytes = leant_bytes(engine) + pair->record.apps[app].granted_bytes[from];

        if (policy->overcommit == OVERCOMMIT_NONE && engine->pool_limit_bytes == 0)
                return LEAN_AGAINST_POOL;
        if (policy->overcommit == OVERCOMMIT_SWAP && policy->swap_bytes && bytes > policy->swap_bytes)
                return LEAN_AGAINST_POLICY;
        return bytes + SWAP_SPARE_BYTES > engine->swap_bytes ? LEAN_AGAINST_SWAP : LEAN_ALLOWED;
}

void handover_say_eager(struct step *step, int app, enum side from) {
        const struct pair *pair = step->pair;
        const struct policy *policy = step->engine->policy;
        char text[3][UNITS_TEXT_MAX], why[160] = "";

        if (pair->policy->handover != HANDOVER_LAZY)
                return;
        size_format(text[0], leant_bytes(step->engine) + pair->record.apps[app].granted_bytes[from]);
        switch (may_lean(step->engine, pair, app, from)) {
        case LEAN_ALLOWED:
                return;
        case LEAN_AGAINST_POOL:
                snprintf(why, sizeof(why), " (policy: pool.overcommit none%s)",
                         policy->pool_group[0] ? ", and the kernel does not hold the VMs to the pool" : "");
                break;
        case LEAN_AGAINST_POLICY:
                snprintf(why, sizeof(why), ": with it old VMs would have %s of what moved (policy: pool.swap %s)",
                         text[0], size_format(text[1], policy->swap_bytes));
                break;
        case LEAN_AGAINST_SWAP:
                if (!step->engine->reclaim_able)
                        return; /* which has been said */
                snprintf(why, sizeof(why), ": with it old VMs would have %s of what moved, and the swap takes %s, of "
                         "which %s are left to others; add swap (swapon)", text[0],
                         size_format(text[1], step->engine->swap_bytes), size_format(text[2], SWAP_SPARE_BYTES));
                break;
        }
        step_say(step, RECORD_RECLAIM, from, "the region of %s is given up before it is given out%s",
                 pair_app_name(pair, app), why);
}

bool handover_possible(const struct engine *engine, const struct pair *pair, int app, enum side from) {
        return pair->policy->handover == HANDOVER_LAZY && engine->reclaim_able &&
               may_lean(engine, pair, app, from) == LEAN_ALLOWED &&
               !pair->members[from].preflight.apps[app].huge_pages;
}

void handover_tell_managed(struct step *step, int app, enum side side, uint64_t bytes) {
        struct message *message;

        if (step->pair->members[side].protocol < PROTOCOL_VERSION_MANAGES)
                return;
        message = step_send(step, side, MESSAGE_MANAGES, app);
        message->bytes = bytes;
        snprintf(message->text, sizeof(message->text), "%s", lost_memory_to_string(step->pair->policy->lost_memory));
}

void handover_tell_all(struct step *step, enum side side) {
        const struct pair *pair = step->pair;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].using_bytes[side] || handover_stood_in_for(step, (int) i, side))
                        handover_tell_managed(step, (int) i, side, 0);
                else if (pair_is_memory(pair, (int) i) && pair->record.apps[i].releasing[side])
                        handover_tell_managed(step, (int) i, side, assigned_bytes(pair, side));
}

void handover_begin(struct step *step, int app, enum side from, uint64_t bytes) {
        struct pair *pair = step->pair;

        pair->record.apps[app].using_bytes[from] = bytes;
        pair->record.apps[app].granted_bytes[from] = 0;
        handover_tell_managed(step, app, from, 0);
        pair_dirty(pair);
        step_say(step, RECORD_GRANTED, from,
                 "%s manages the region of %s at once; %s uses %" PRIu64 " MiB of it until they are needed",
                 pair_domain(pair, side_other(from)), pair_app_name(pair, app), pair_domain(pair, from), bytes / MIB);
        step->again = true;
}

static void follow(struct step *step, int app, enum side from, bool on) {
        update_add(step->update, ACTION_FOLLOW, step->pair->slot, from, app)->count = on;
}

static void forget(struct step *step, int app, enum side from) {
        struct app_state *a = &step->pair->apps[app];

        if (a->handover)
                follow(step, app, from, false);
        a->handover = handover_free(a->handover);
        request_reset(&a->page_out);
        step->pair->record.apps[app].using_bytes[from] = 0;
        pair_dirty(step->pair);
        step->changed = true;
}

void handover_ended(struct step *step, int app, enum side from) {
        struct pair *pair = step->pair;
        const struct handover *handover = pair->apps[app].handover;

        if (pair->record.apps[app].using_bytes[from] == 0)
                return;
        if (handover)
                step_say(step, RECORD_HANDED_OVER, from, "%s uses nothing of the region of %s any more, %" PRIu64
                         " ms after it moved; %" PRIu64 " MiB were paged out on the way, of %" PRIu64 " MiB",
                         pair_domain(pair, from), pair_app_name(pair, app),
                         (step->now - handover->begun_usec) / USEC_PER_MSEC, handover->paged_bytes / MIB,
                         handover->begun_bytes / MIB);
        forget(step, app, from);
}

void handover_undone(struct step *step, int app, enum side from) {
        struct pair *pair = step->pair;

        if (pair->record.apps[app].using_bytes[from] == 0)
                return;
        step_say(step, RECORD_HANDED_OVER, from,
                 "%s manages the region of %s again; what it still uses of it is its own", pair_domain(pair, from),
                 pair_app_name(pair, app));
        handover_tell_managed(step, app, from, pair->policy->applications[app].memory_bytes);
        forget(step, app, from);
}

uint64_t handover_left(const struct pair *pair, int app, enum side from, uint64_t had) {
        const struct member_state *member = &pair->members[from];
        uint64_t left = member->plugged_bytes[app];

        if (member->plugged_usec[app] == 0 || member->plugged_usec[app] < pair->apps[app].release_usec || left == 0 ||
            !member->requested_known[app] || member->resize[app].id != 0)
                return had;
        if (member->requested_bytes[app] > left)
                left = member->requested_bytes[app]; /* it has been asked for less meanwhile, and takes it back */
        return left < had ? left : had;
}

/* How much the old user may still have. */
static void shrink(struct step *step, int app, enum side from) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        uint64_t left;

        if (member_is_gone(&pair->members[from]) || app_released(pair, app, from)) {
                handover_ended(step, app, from);
                return;
        }
        left = handover_left(pair, app, from, record->using_bytes[from]);
        if (left == record->using_bytes[from])
                return;
        record->using_bytes[from] = left;
        pair_dirty(pair);
        step->changed = true;
}

/* ---- asking the old user's guest ------------------------------------------------------------------------- */

/* So much of a node nobody holds on purpose: lists of the kernel's, a file that was read there once. It finds room
 * elsewhere in any guest. */
#define NEEDED_LITTLE_BYTES (16 * MIB)
#define ASK_EVERY_USEC (500 * USEC_PER_MSEC)
#define ASK_STEP_BYTES (16 * MIB) /* what is asked for piece by piece is asked for in pieces of some size */

/* Of what others need of the region, the guest has room for so much elsewhere: what is available but for a quarter. Its
 * agent counts nothing there that the VM manages no more. */
static uint64_t room_elsewhere(const struct pair *pair, int app, enum side from) {
        const struct member_state *member = &pair->members[from];

        if (pair->record.apps[app].using_bytes[from] || member->protocol < PROTOCOL_VERSION_MANAGES ||
            member->available_usec <= pair->apps[app].release_usec)
                return 0;
        return member->available_bytes - member->available_bytes / 4;
}

/* In whole blocks of the device: what runs there, and some room for its kernel, which else looks for it elsewhere.
 * What the guest says can only keep memory there, as not giving it up would. */
static uint64_t kept_bytes(const struct pair *pair, int app, enum side from, uint64_t plugged) {
        uint64_t needed = pair->apps[app].needed_bytes[from], room = room_elsewhere(pair, app, from), kept;
        uint64_t block = pair->members[from].preflight.apps[app].block_bytes;

        if (needed <= NEEDED_LITTLE_BYTES || needed <= room)
                return 0;
        needed -= room;
        if (needed >= plugged)
                return plugged;
        kept = needed + needed / 16 + NEEDED_LITTLE_BYTES / 2;
        if (block)
                kept = (kept + block - 1) / block * block;
        return kept < plugged ? kept : plugged;
}

/* Node 0 is the base system's, and pages of a node that has another region, too, cannot be told apart. */
static bool has_node_of_its_own(const struct pair *pair, enum side side, int app) {
        const struct preflight *preflight = &pair->members[side].preflight;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if ((int) i != app && preflight->apps[i].present &&
                    preflight->apps[i].node == preflight->apps[app].node)
                        return false;
        return preflight->apps[app].node > 0;
}

/* Whose guest has to give everything up, whatever it needs: what it keeps could not be taken back any more, or nobody
 * would, or nobody knows what it needs. What unused memory stands in for is not paged out either, but nobody waits for
 * it, while the pool has what it promised. */
static bool has_to_give_all(const struct step *step, int app, enum side from) {
        const struct pair *pair = step->pair;
        const struct app_state *a = &pair->apps[app];
        bool told = a->needed_usec[from] > a->release_usec;

        if (pair->record.apps[app].ended || !has_node_of_its_own(pair, from, app))
                return true;
        if (pair->record.apps[app].using_bytes[from])
                return !step->engine->reclaim_able && told;
        return pair->policy->handover == HANDOVER_EAGER ||
               table_unused(&step->engine->table) < engine_promised_bytes(step->engine) ||
               (!told && step->now >= a->release_usec + pair->policy->act_timeout_usec);
}

bool handover_stood_in_for(const struct step *step, int app, enum side from) {
        const struct pair *pair = step->pair;
        const struct record_app *record = &pair->record.apps[app];

        return record->releasing[from] && record->using_bytes[from] == 0 && record->granted_bytes[from] > 0 &&
               !record->rehearsed && pair_is_hot(pair, app) &&
               (record->owner != from || (record->moving && pair->record.flow.from == from)) &&
               !table_find_application(&step->engine->table, pair_holder(pair, from), app);
}

/* A guest that has to give up more than it can spare migrates what runs there until it is out of memory, and kills.
 * So it is asked for what it can spare, again as that becomes more, and for all of it once nobody else needs any; the
 * rest is paged out as it is needed; or, where unused memory stands in for it, is left there until the guest has room
 * for it elsewhere, or the pool lacks it. Where it comes to need more meanwhile it is asked for less, and never for so
 * little that it could have more than `using_bytes`, or than the table counts there. */
bool handover_wanted(const struct step *step, int app, enum side from, uint64_t *ret_bytes) {
        const struct pair *pair = step->pair;
        const struct member_state *member = &pair->members[from];
        const struct app_state *a = &pair->apps[app];
        const struct record_app *record = &pair->record.apps[app];
        uint64_t most = record->using_bytes[from] ? record->using_bytes[from] : record->granted_bytes[from];
        uint64_t plugged = member->plugged_bytes[app] < most ? member->plugged_bytes[app] : most;
        uint64_t asked = member->requested_bytes[app], kept;

        if (has_to_give_all(step, app, from)) {
                *ret_bytes = 0;
                return true;
        }
        if (member->plugged_usec[app] == 0)
                return false;
        if (a->needed_usec[from] <= a->release_usec) { /* not told yet, and what is being plugged has to stop */
                *ret_bytes = plugged;
                return plugged == 0 || asked > plugged || (!member->requested_known[app] && asked != plugged);
        }
        kept = plugged ? kept_bytes(pair, app, from, plugged) : 0;
        *ret_bytes = kept;
        if (!member->requested_known[app])
                return kept == 0 || kept < plugged || asked != plugged;
        if (step->now - member->resize[app].sent_usec < ASK_EVERY_USEC)
                return false;
        if (kept > asked)
                return plugged > asked; /* it is still giving up what it meanwhile needs */
        return kept == 0 || kept + ASK_STEP_BYTES <= asked;
}

/* ---- paging out ----------------------------------------------------------------------------------------- */

static void page_out(struct step *step, int app, enum side from) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        struct span span = handover_next_page_out(a->handover, pair_holder(pair, from), PAGE_OUT_BYTES);
        struct action *action;

        if (span.start == span.end || !step->engine->reclaim_able || !request_free(step, &a->page_out))
                return;
        action = step_act(step, ACTION_PAGE_OUT, from, app, &a->page_out, pair->policy->act_timeout_usec);
        action->offset = span.start;
        action->bytes = span_bytes(span);
        a->handover->paging = span;
}

/* Also after a start of failoverd: who used what is seen anew. */
static void watch(struct step *step, int app, enum side from) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];

        if (a->handover || !pair->members[from].process_alive || !pair->members[side_other(from)].process_alive)
                return;
        a->handover = handover_new(pair->policy->applications[app].memory_bytes, pair_holder(pair, from),
                                   pair_holder(pair, side_other(from)), step->now);
        if (!a->handover) {
                step->update->failed = true;
                return;
        }
        a->handover->begun_bytes = pair->record.apps[app].using_bytes[from];
        follow(step, app, from, true);
        step->changed = true;
}

void advance_handover(struct step *step, int app) {
        struct pair *pair = step->pair;

        for (enum side side = 0; side < SIDE_MAX; side++) {
                if (pair->record.apps[app].using_bytes[side])
                        shrink(step, app, side);
                if (pair->record.apps[app].using_bytes[side] == 0)
                        continue;
                watch(step, app, side);
                if (pair->apps[app].handover)
                        page_out(step, app, side);
        }
}

void handover_usage(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;
        struct handover *handover = event->app >= 0 ? pair->apps[event->app].handover : NULL;

        if (!handover)
                return; /* seen before it ended */
        if (handover_see(handover, pair_holder(pair, handover->from), pair_holder(pair, side_other(handover->from)),
                         event->usage, step->now) < 0)
                return;
        (void) handover_take_back_early(handover, &pair->policy->early_release, step->now);
        step->again = true;
}

/* Whether it has had its effect is seen by the next look. */
void handover_paged_out(struct step *step, const struct event *event) {
        struct app_state *a = &step->pair->apps[event->app];

        if (event->action_id != a->page_out.id || event->action_id == 0)
                return;
        request_end(step, &a->page_out, event->result >= 0);
        if (a->handover && event->result >= 0)
                handover_paged(a->handover);
        if (event->result < 0 && a->page_out.failures == 1)
                step_say(step, RECORD_TABLE_MISMATCH, event->side,
                         "%s: memory of %s cannot be paged out, trying again: %.150s",
                         pair_domain(step->pair, event->side), pair_app_name(step->pair, event->app), event->text);
        step->again = true;
}
