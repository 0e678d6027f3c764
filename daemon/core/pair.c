/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/readiness.h"
#include "daemon/core/retired.h"

/* Comparing facts with goals settles within a few rounds; more is a fault in the machine. */
#define ROUNDS_MAX 16

/* What libvirt told of a domain is renewed every half minute; older than this, nobody knows whether it could be acted
 * on. */
#define STALE_USEC (75 * USEC_PER_SEC)

/* What is ready for a failover is looked at again after so long, where nothing that was seen has changed it: limits
 * run out, and what was told grows old. */
#define READINESS_USEC (5 * USEC_PER_SEC)

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

/* ---- state and reasons ---------------------------------------------------------------------------------- */

static void reason(struct pair *pair, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void reason(struct pair *pair, const char *format, ...) {
        va_list ap;

        if (pair->n_reasons == REASONS_MAX)
                return;
        va_start(ap, format);
        vsnprintf(pair->reasons[pair->n_reasons++], sizeof(pair->reasons[0]), format, ap);
        va_end(ap);
}

bool member_trouble(const struct pair *pair, enum side side, usec_t now_usec, char text[EVENT_TEXT_LEN]) {
        const struct member_state *m = &pair->members[side];
        const char *vm = pair_domain(pair, side);

#define TROUBLE(...) (snprintf(text, EVENT_TEXT_LEN, __VA_ARGS__), true)
        if (m->domain == DOMAIN_UNDEFINED)
                return TROUBLE("%s: libvirt knows no such domain", vm);
        if (m->operator_hold && m->domain != DOMAIN_PAUSED && m->reason == REASON_MIGRATED)
                return TROUBLE("%s: migrated to another host by an operator; migrate it back to go on", vm);
        if (m->operator_hold)
                return TROUBLE("%s: %s by an operator; start or resume it there to go on", vm,
                               m->domain == DOMAIN_PAUSED ? "suspended" : "stopped");
        if (pair->record.fence_wanted[side] && m->fence == FENCE_GONE && !member_is_gone(m))
                return TROUBLE("%s: stated to be dead, but its QEMU process (pid %d) is not seen to end; end it", vm,
                               m->pid);
        if (m->fence == FENCE_FAILED)
                return TROUBLE("%s: not proven stopped; end its QEMU process (pid %d) or the host, nothing starts "
                               "elsewhere before",
                               vm, m->pid);
        if (m->fence_late)
                return TROUBLE(
                        "%s: frozen, but its QEMU process (pid %d) does not end; the disks that it holds stay there",
                        vm, m->pid);
        if (m->failure[0])
                return TROUBLE("%s: %.190s", vm, m->failure);
        if (m->going_usec)
                return TROUBLE("%s: its guest is on an orderly %s", vm, m->going);
        if (m->domain == DOMAIN_UNKNOWN)
                return TROUBLE("%s: state not known yet", vm);
        if (m->domain != DOMAIN_RUNNING && m->start_failure[0])
                return TROUBLE("%s: not running, does not start: %.150s", vm, m->start_failure);
        if (m->domain != DOMAIN_RUNNING)
                return TROUBLE("%s: not running yet", vm);
        if (m->domain_usec && now_usec - m->domain_usec > STALE_USEC)
                return TROUBLE("%s: libvirt has told nothing of it for %u s; it may hang on this domain", vm,
                               (unsigned) ((now_usec - m->domain_usec) / USEC_PER_SEC));
        if (!m->greeted && m->old_protocol)
                return TROUBLE("%s: its agent is too old (protocol %u, this failoverd speaks %d and later); update "
                               "failover-agent there",
                               vm, m->old_protocol - 1, PROTOCOL_VERSION_MIN);
        if (!m->greeted)
                return TROUBLE("%s: no agent answers on its channel; is failover-agent running in the guest?", vm);
        if (!m->configured)
                return TROUBLE("%s: its domain has not been looked at yet%s%.150s", vm,
                               m->preflight.text[0] ? ": " : "", m->preflight.text);
        if (m->detector.verdict == VERDICT_SILENT)
                return TROUBLE("%s: its agent is silent, its kernel answers; see failover-agent in the guest", vm);
        if (m->detector.verdict != VERDICT_ALIVE)
                return TROUBLE("%s: heartbeats are missing", vm);
#undef TROUBLE
        return false;
}

/* What keeps one VM from playing its part. */
static void member_reasons(struct pair *pair, enum side side, usec_t now_usec) {
        const struct member_state *m = &pair->members[side];
        const char *vm = pair_domain(pair, side);
        char text[EVENT_TEXT_LEN];

        if (member_trouble(pair, side, now_usec, text))
                reason(pair, "%s", text);
        if (m->domain == DOMAIN_UNDEFINED)
                return; /* what a look finds says the same */
        for (size_t i = 0; m->greeted && i < pair->policy->n_applications; i++)
                if (!app_state_understood(pair, (int) i, side)) {
                        reason(pair, "%s: its agent is too old for the shared regions of %s (protocol %u, they take "
                               "%d); update failover-agent there", vm, pair_app_name(pair, (int) i), m->protocol,
                               PROTOCOL_VERSION_REMOTE);
                        break;
                }
        for (unsigned i = 0; m->preflight_usec && i < m->n_findings; i++)
                reason(pair, "%s", m->findings[i]);
}

static void app_reasons(const struct step *step, int app) {
        struct pair *pair = step->pair;
        const struct application *policy = &pair->policy->applications[app];
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *state = &pair->apps[app];
        enum side owner = record->owner, other = side_other(owner);
        bool hot = pair_is_hot(pair, app);
        char text[EVENT_TEXT_LEN];

        if (record->ended)
                return;
        if (state->refused && hot)
                reason(pair, "%s: memory refused: %s", policy->name, state->refusal);
        else if (state->state_failure[0] && state->state[owner] != APPLICATION_RUNNING)
                reason(pair, "%s: not to be started before its state is its own to write: %s", policy->name,
                       state->state_failure);
        else if (hot && state->state[owner] != APPLICATION_RUNNING &&
                 retired_reason(step->engine, pair, app, text))
                reason(pair, "%s", text);
        else if (hot && member_usable(pair, owner) && state->state[owner] != APPLICATION_RUNNING)
                reason(pair, "%s: not running on %s%s%s", policy->name, pair_domain(pair, owner),
                       state->failure[0] ? ": " : "", state->failure);
        if (hot && member_usable(pair, other) && !state->checked[other] && state->check_text[other][0])
                reason(pair, "%s: could not be started on %s: %s", policy->name, pair_domain(pair, other),
                       state->check_text[other]);
        else if (hot && member_usable(pair, other) && !state->checked[other])
                reason(pair, "%s: %s has not confirmed yet that it could start it", policy->name,
                       pair_domain(pair, other));
}

static bool anything_known(const struct step *step) {
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (step->pair->members[side].domain == DOMAIN_UNKNOWN)
                        return false;
        return true;
}

static bool running_somewhere(const struct pair *pair) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->apps[i].state[pair->record.apps[i].owner] == APPLICATION_RUNNING)
                        return true;
        return false;
}

static enum pair_state judge_state(struct step *step) {
        struct pair *pair = step->pair;

        if (pair_flow_active(pair))
                return PAIR_FAILOVER;
        if (pair->record.held)
                return PAIR_HELD;
        if (!step->engine->hypervisor_up || !anything_known(step))
                return PAIR_UNKNOWN;
        if (pair->n_reasons == 0)
                return PAIR_ARMED;
        return running_somewhere(pair) || pair->armed_usec ? PAIR_UNPROTECTED : PAIR_STARTING;
}

static void collect_reasons(struct step *step) {
        struct pair *pair = step->pair;

        pair->n_reasons = 0;
        if (!step->engine->hypervisor_up)
                reason(pair, "libvirt does not answer; guests run on untouched, state is as last seen");
        if (pair->policy->retired)
                reason(pair,
                       "it was taken out of the policy: its applications are stopped and their memory comes back");
        if (pair->record.held)
                reason(pair, "held: %s", pair->record.held_reason);
        if (pair->record.paused)
                reason(pair, "paused%s%s; failoverctl resume %s", pair->record.pause_reason[0] ? ": " : "",
                       pair->record.pause_reason, pair->policy->name);
        for (enum side side = 0; side < SIDE_MAX; side++)
                member_reasons(pair, side, step->now);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                app_reasons(step, (int) i);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (pair->apps[i].mismatch[side])
                                reason(pair,
                                       "%s: more memory is plugged on %s than the table grants; find out by whom, then "
                                       "virsh update-memory-device",
                                       pair->policy->applications[i].name, pair_domain(pair, side));
        if (pair->unsettled && !pair->record.held)
                reason(pair, "where its applications run is not known before both VMs have been looked at");
        if (pair->store_late)
                reason(pair, "the store is not written in time; a power loss now may forget the latest owner");
}

static void update_readiness(struct step *step) {
        struct pair *pair = step->pair;
        uint64_t unused = table_unused(&step->engine->table);
        struct readiness readiness;

        if (!step->changed && unused == pair->readiness_unused_bytes &&
            step->now - pair->readiness_asked_usec < READINESS_USEC)
                return;
        readiness_list(step->engine, pair, &readiness);
        pair->readiness_asked_usec = step->now;
        pair->readiness_unused_bytes = unused;
        if (readiness.level == pair->readiness)
                return;
        pair->readiness = readiness.level;
        pair->readiness_usec = step->now;
        step->changed = true;
}

static void update_state(struct step *step) {
        struct pair *pair = step->pair;
        enum pair_state state;

        collect_reasons(step);
        state = judge_state(step);
        if (pair->state_usec == 0) /* that nothing is known has an age, too */
                pair->state_usec = step->now;
        if (state == pair->state)
                return;
        step->changed = true;
        if (state == PAIR_ARMED) {
                pair->armed_usec = step->now;
                step_say(step, RECORD_ARMED, pair_active(pair), "%s is armed: %s active, %s standby",
                         pair->policy->name, pair_domain(pair, pair_active(pair)),
                         pair_domain(pair, side_other(pair_active(pair))));
                if (pair->rejoin_pending) {
                        struct action *action =
                                update_add(step->update, ACTION_PHASE, pair->slot, SIDE_INVALID, NO_APP);

                        pair->rejoin_pending = false;
                        pair->last_flow.phase_usec[PHASE_REJOINED] = step->now;
                        action->phase = PHASE_REJOINED;
                        action->flow = pair->last_flow;
                }
        } else if (pair->state == PAIR_ARMED && state != PAIR_FAILOVER)
                step_say(step, RECORD_UNPROTECTED, SIDE_INVALID, "%s is not protected: %s", pair->policy->name,
                         pair->n_reasons ? pair->reasons[0] : "state not known");
        pair->state = state;
        pair->state_usec = step->now;
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
                        step->wake = USEC_INFINITY;
                        advance_round(step);
                } while (step->again);
                update_state(step);
                update_readiness(step);
                persist(step);
        }
        if (step->wake != pair->wake_usec) {
                update_add(step->update, ACTION_WAKE, pair->slot, SIDE_INVALID, NO_APP)->due_usec = step->wake;
                pair->wake_usec = step->wake;
        }
        if (step->changed)
                update_add(step->update, ACTION_CHANGED, pair->slot, SIDE_INVALID, NO_APP);
}
