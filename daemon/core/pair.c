/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/core/pair-internal.h"

/* Comparing facts with goals settles within a few rounds; more is a fault in the machine. */
#define ROUNDS_MAX 16

/* Tokens from outside that are higher than known, by the grants of a store that was lost, by a clock that was wrong. */
#define TOKEN_JUMP (UINT64_C(1) << 32)
#define TOKEN_MAX (UINT64_C(1) << 62) /* of what is believed: it can rise from there, in SQLite and JSON too */

/* A write of who owns the data that takes longer than this no longer holds a failover back: the copy in the
 * run-time directory carries it over a crash of failoverd, and status says what a power loss would cost. */
#define OWNER_WRITE_USEC (2 * USEC_PER_SEC)
/* An agent that runs has greeted so long after failoverd's start. */
#define FIRST_WORD_USEC (3 * USEC_PER_SEC)
#define STEP_WRITE_USEC (1 * USEC_PER_SEC)
/* What waits for a write in the run-time directory goes ahead after this: it takes well under a millisecond unless
 * something is very wrong. */
#define INTENT_WAIT_USEC (50 * USEC_PER_MSEC)

struct pair *pair_new(int slot, const struct pair_policy *policy) {
        struct pair *pair = calloc(1, sizeof(*pair));

        if (!pair)
                return NULL;
        pair->slot = slot;
        pair->policy = policy;
        pair->state = PAIR_UNKNOWN;
        pair->readiness = READINESS_UNCOVERED;
        snprintf(pair->record.pair, sizeof(pair->record.pair), "%s", policy->name);
        pair->record.paused_until_usec = USEC_INFINITY;
        for (enum side side = 0; side < SIDE_MAX; side++)
                detector_init(&pair->members[side].detector, policy);
        for (size_t i = 0; i < policy->n_applications; i++) {
                snprintf(pair->record.apps[i].name, sizeof(pair->record.apps[i].name), "%s",
                         policy->applications[i].name);
                pair->record.apps[i].kind = policy->applications[i].kind;
        }
        pair->record.n_apps = (unsigned) policy->n_applications;
        return pair;
}

struct pair *pair_free(struct pair *pair) {
        if (!pair)
                return NULL;
        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                handover_free(pair->apps[i].handover);
        free(pair);
        return NULL;
}

void pair_dirty(struct pair *pair) {
        pair->record_dirty = true;
}

void pair_owner_dirty(struct pair *pair) {
        pair->record_dirty = true;
        pair->owner_dirty = true;
}

bool pair_owner_safe(const struct pair *pair) {
        if (pair->owner_dirty)
                return false;
        return pair->persist_seq[PERSIST_OWNER] >= pair->owner_seq ||
               (pair->store_late && pair->persist_seq[PERSIST_STEP] >= pair->owner_seq);
}

bool pair_step_safe(const struct pair *pair) {
        return !pair->record_dirty && pair->persist_seq[PERSIST_STEP] >= pair->record.seq;
}

static bool step_late(struct step *step) {
        const struct request *request = &step->pair->persist[PERSIST_STEP];

        if (request->failures > 0)
                return true;
        if (request->id == 0)
                return false; /* asked for at the end of this step; its answer comes */
        step_wake(step, request->sent_usec + INTENT_WAIT_USEC);
        return step->now >= request->sent_usec + INTENT_WAIT_USEC;
}

bool pair_step_written(struct step *step) {
        return pair_step_safe(step->pair) || step_late(step);
}

bool pair_flow_written(struct step *step) {
        const struct pair *pair = step->pair;

        return (!pair->flow_dirty && pair->persist_seq[PERSIST_STEP] >= pair->flow_seq) || step_late(step);
}

struct holder pair_holder(const struct pair *pair, enum side side) {
        return (struct holder) { .pair = pair->slot, .side = side };
}

const char *pair_domain(const struct pair *pair, enum side side) {
        return pair->policy->members[side].domain;
}

enum application_kind pair_application_kind(const struct pair *pair, int app) {
        enum application_kind kind = pair->policy->applications[app].kind;

        if (kind == APPLICATION_MEMORY)
                return kind;
        if (kind == APPLICATION_AUTO)
                kind = pair->record.apps[app].kind;
        return kind == APPLICATION_HOT_STANDBY ? APPLICATION_HOT_STANDBY : APPLICATION_PLAIN;
}

bool pair_is_memory(const struct pair *pair, int app) {
        return pair->policy->applications[app].kind == APPLICATION_MEMORY;
}

bool pair_is_hot(const struct pair *pair, int app) {
        return pair_application_kind(pair, app) == APPLICATION_HOT_STANDBY;
}

static unsigned count_hot(const struct pair *pair, enum side owner) {
        unsigned n = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                n += pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == owner;
        return n;
}

bool pair_owns_hot(const struct pair *pair, enum side side) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == side)
                        return true;
        return false;
}

bool pair_split(const struct pair *pair) {
        return count_hot(pair, SIDE_A) > 0 && count_hot(pair, SIDE_B) > 0;
}

enum side pair_active(const struct pair *pair) {
        return count_hot(pair, SIDE_B) > 0 && count_hot(pair, SIDE_A) == 0 ? SIDE_B : SIDE_A;
}

bool pair_flow_active(const struct pair *pair) {
        return pair->record.flow.kind != FLOW_NONE;
}

const char *flow_id(const struct pair_policy *policy, const struct flow *flow, char buffer[FAILOVER_ID_LEN]) {
        snprintf(buffer, FAILOVER_ID_LEN, "%.63s-%" PRIu64, policy->name, flow->number % 10000000000);
        return buffer;
}

bool member_usable(const struct pair *pair, enum side side) {
        const struct member_state *member = &pair->members[side];

        return member->domain == DOMAIN_RUNNING && member->configured && member->failure[0] == 0 &&
               member->fence == FENCE_NONE && !pair->record.fence_wanted[side] && !member->operator_hold &&
               member->going_usec == 0 && member->detector.verdict == VERDICT_ALIVE;
}

bool pair_too_early(struct step *step, enum side to) {
        const struct member_state *member = &step->pair->members[to];
        usec_t until = step->engine->ready_usec + FIRST_WORD_USEC;

        if (step->now >= until || member->configured || member->failure[0] || member->operator_hold ||
            member->domain == DOMAIN_SHUTOFF || member->domain == DOMAIN_UNDEFINED)
                return false;
        step_wake(step, until);
        return true;
}

bool member_is_gone(const struct member_state *member) {
        return member->process_known && !member->process_alive;
}

const char *pair_app_name(const struct pair *pair, int app) {
        return pair->policy->applications[app].name;
}

bool member_fenced(const struct pair *pair, enum side side) {
        const struct member_state *member = &pair->members[side];

        return member->fence == FENCE_FROZEN || member->fence == FENCE_GONE;
}

/* ---- persisting ----------------------------------------------------------------------------------------- */

static void persist_level(struct step *step, enum persist_level level) {
        struct pair *pair = step->pair;
        struct action *action;

        if (!request_free(step, &pair->persist[level]))
                return;
        action = step_act(step, ACTION_PERSIST, SIDE_INVALID, NO_APP, &pair->persist[level],
                          level == PERSIST_OWNER ? OWNER_WRITE_USEC : STEP_WRITE_USEC);
        action->level = level;
        action->record = malloc(sizeof(*action->record));
        if (!action->record) {
                step->update->failed = true;
                return;
        }
        *action->record = pair->record;
        pair->persist_sent[level] = pair->record.seq;
}

/* A changed record goes to the run-time directory at once and, where an owner changed, to disk. */
static void persist(struct step *step) {
        struct pair *pair = step->pair;

        if (pair->record_dirty) {
                pair->record.seq++;
                pair->record.known = !pair->unsettled;
                if (pair->owner_dirty)
                        pair->owner_seq = pair->record.seq;
                if (pair->flow_dirty)
                        pair->flow_seq = pair->record.seq;
                pair->record_dirty = pair->owner_dirty = pair->flow_dirty = false;
        }
        if (pair->persist_seq[PERSIST_STEP] < pair->record.seq)
                persist_level(step, PERSIST_STEP);
        if (pair->persist_seq[PERSIST_OWNER] < pair->owner_seq)
                persist_level(step, PERSIST_OWNER);
}

/* ---- advance -------------------------------------------------------------------------------------------- */

static void expire_pause(struct step *step) {
        struct record *record = &step->pair->record;

        if (!record->paused || record->paused_until_usec == USEC_INFINITY)
                return;
        if (step->engine->real_usec < record->paused_until_usec) {
                step_wake(step, step->now + (record->paused_until_usec - step->engine->real_usec));
                return;
        }
        record->paused = false;
        record->pause_reason[0] = 0;
        pair_dirty(step->pair);
        step_say(step, RECORD_RESUMED, SIDE_INVALID, "the pause of %s has ended as asked", step->pair->policy->name);
}

bool pair_side_known(const struct pair *pair, enum side side) {
        const struct member_state *member = &pair->members[side];

        return member->configured || member->domain == DOMAIN_SHUTOFF || member->domain == DOMAIN_UNDEFINED;
}

/* Is it all known which grants there were? An agent tells of the last that it has heard of; of what a lost store has
 * granted nobody may have heard yet. */
static bool grants_known(const struct step *step, int app) {
        const struct pair *pair = step->pair;
        bool known = !step->engine->store_lost && !pair->record.held;

        for (enum side side = 0; side < SIDE_MAX; side++)
                known = known && pair_side_known(pair, side) && (pair->apps[app].state[side] == APPLICATION_STOPPED ||
                                                                 pair->apps[app].state[side] == APPLICATION_FAILED);
        return known;
}

bool pair_token_likely(const struct step *step, int app, uint64_t token) {
        uint64_t known = step->pair->record.apps[app].token, seconds = step->engine->real_usec / USEC_PER_SEC;

        return token < TOKEN_MAX && token <= (known > seconds ? known : seconds) + TOKEN_JUMP;
}

/* Where not all grants are known the token is the time: no count of grants comes up to that. */
void pair_renew_token(struct step *step, int app) {
        uint64_t *token = &step->pair->record.apps[app].token, seconds = step->engine->real_usec / USEC_PER_SEC;
        bool known = grants_known(step, app);

        if (!known || *token > 1)
                (*token)++;
        if (!known && *token < seconds)
                *token = seconds;
}

/* It is owned there, and the table learns what memory it has there. */
void pair_adopt(struct step *step, int app, enum side side) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        uint64_t plugged = pair->members[side].plugged_bytes[app];

        record->owner = side;
        if (plugged <= record->granted_bytes[side])
                return;
        if (table_grant_application(&step->engine->table, pair_holder(pair, side), app,
                                    plugged - record->granted_bytes[side]) < 0) {
                step_say(step, RECORD_TABLE_MISMATCH, side, "%s has memory on %s that the pool does not cover",
                         record->name, pair_domain(pair, side));
                return;
        }
        record->granted_bytes[side] = plugged;
        app_uses(step, app, side, plugged);
}

/* A pair without a record (its first start, or a lost store with `trust-running`): each application is owned where
 * it is found running, else at home. Found on both sides, only a person can say which one is right. */
static void settle(struct step *step) {
        struct pair *pair = step->pair;

        if (!pair->unsettled || pair->record.held || !pair_side_known(pair, SIDE_A) || !pair_side_known(pair, SIDE_B))
                return;
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                bool at[SIDE_MAX];

                for (enum side side = 0; side < SIDE_MAX; side++) {
                        enum application_state state = pair->apps[i].state[side];

                        if (state == APPLICATION_STOPPING)
                                return; /* that ends, and is told */
                        at[side] = state != APPLICATION_STOPPED && state != APPLICATION_FAILED;
                }
                if (at[SIDE_A] && at[SIDE_B]) {
                        pair->record.held = true;
                        snprintf(pair->record.held_reason, sizeof(pair->record.held_reason),
                                 "%s runs on both sides and nothing is recorded; stop the wrong one, then failoverctl "
                                 "adopt %s --active DOMAIN",
                                 pair->policy->applications[i].name, pair->policy->name);
                        step_say(step, RECORD_HELD, SIDE_INVALID, "%s: %s", pair->policy->name,
                                 pair->record.held_reason);
                        pair_dirty(pair);
                        return;
                }
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (at[side])
                                pair_adopt(step, (int) i, side);
                if (step->engine->store_lost || at[SIDE_A] || at[SIDE_B] || pair->record.apps[i].token > 1)
                        app_state_trust(pair, (int) i);
                if (!at[SIDE_A] && !at[SIDE_B])
                        pair_renew_token(step, (int) i);
        }
        pair->unsettled = false;
        pair_owner_dirty(pair);
        step->again = true;
}

static void advance_round(struct step *step) {
        struct pair *pair = step->pair;

        settle(step);
        expire_pause(step);
        for (enum side side = 0; side < SIDE_MAX; side++)
                advance_watch(step, side);
        advance_failures(step);
        for (enum side side = 0; side < SIDE_MAX; side++)
                advance_fence(step, side);
        advance_flow(step);
        advance_rehearsal(step);
        for (enum side side = 0; side < SIDE_MAX; side++) {
                advance_rebuild(step, side);
                advance_agent(step, side);
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                if (pair_is_memory(pair, (int) i)) {
                        advance_assigned(step, (int) i);
                        continue;
                }
                advance_app(step, (int) i);
                advance_handover(step, (int) i);
        }
        for (enum side side = 0; side < SIDE_MAX; side++)
                advance_memory(step, side);
        advance_drill(step);
}

void pair_advance(struct step *step) {
        struct pair *pair = step->pair;

        if (step->engine->ready) {
                int rounds = 0;

                do {
                        assert(rounds++ < ROUNDS_MAX);
                        step->again = false;
                        step->wake = step->wake_latest = USEC_INFINITY;
                        advance_round(step);
                } while (step->again);
                pair_judge(step);
                persist(step);
        }
        step_ask_to_wake(step);
        if (step->changed)
                update_add(step->update, ACTION_CHANGED, pair->slot, SIDE_INVALID, NO_APP);
}
