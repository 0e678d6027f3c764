/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/readiness.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

/* What one question is asked of. */
struct ask {
        const struct engine *engine;
        const struct pair *pair;
        const struct region *rows[SIDE_MAX][POLICY_APPLICATIONS_MAX]; /* of the table; NULL where there is none */
};

/* Raises the case to at least `level`; what is said first of the worst stays. */
static void __attribute__((format(printf, 4, 5)))
worse(struct readiness_case *c, enum readiness_level level, const char *mend, const char *format, ...) {
        va_list ap;

        if (level <= c->level)
                return;
        c->level = level;
        va_start(ap, format);
        vsnprintf(c->why, sizeof(c->why), format, ap);
        va_end(ap);
        snprintf(c->mend, sizeof(c->mend), "%s", mend);
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

/* What is left to be given out while the moves are gone through, in the order in which the flow goes through them. */
struct purse {
        uint64_t unused_bytes;
        uint64_t lost_bytes; /* of the region of `lost_app`, and not replaced */
        int lost_app;
};

static bool moves(const struct ask *ask, const struct readiness_case *c, int app) {
        return c->flow == FLOW_APPLICATION_FAILURE
                       ? app == c->app
                       : pair_is_hot(ask->pair, app) && ask->pair->record.apps[app].owner == c->side;
}

static uint64_t row_bytes(const struct ask *ask, const struct purse *purse, enum side side, int app,
                          enum side lost_side) {
        const struct region *row = ask->rows[side][app];

        if (!row)
                return 0;
        return row->usage_bytes - (app == purse->lost_app && side == lost_side ? purse->lost_bytes : 0);
}

/* A fenced side keeps nothing but the regions that move: the rest comes back at once. */
static void drop_others(const struct ask *ask, const struct readiness_case *c, struct purse *purse) {
        for (size_t i = 0; i < ask->pair->policy->n_applications; i++) {
                const struct region *row = ask->rows[c->side][i];

                if (row && moves(ask, c, (int) i))
                        continue;
                purse->unused_bytes += row ? row->usage_bytes : ask->pair->record.apps[i].granted_bytes[c->side];
        }
}

/* A living side gives its memory up in its own time: unused memory stands in for it, as far as it goes; or the new
 * side manages it at once, and takes what it needs. */
static void stand_in(const struct ask *ask, const struct readiness_case *c, struct purse *purse,
                     struct readiness_move *move) {
        uint64_t granted = ask->pair->record.apps[move->app].granted_bytes[c->side];
        uint64_t left = move_left_bytes(ask->pair, move->app, c->side);

        if (!ask->rows[c->side][move->app]) {
                purse->unused_bytes += granted - left;
                return;
        }
        if (left > purse->unused_bytes && handover_possible(ask->engine, ask->pair, move->app, c->side)) {
                move->shared_bytes = left;
                return;
        }
        move->stand_in_bytes = left < purse->unused_bytes ? left : purse->unused_bytes;
        move->awaited_bytes = left - move->stand_in_bytes;
        purse->unused_bytes -= move->stand_in_bytes;
}

static void plan_region(const struct ask *ask, const struct readiness_case *c, struct purse *purse,
                        struct readiness_move *move) {
        uint64_t size = ask->pair->policy->applications[move->app].memory_bytes, more;
        enum side to = side_other(c->side);

        switch (move_region_source(ask->pair, move->app, ask->rows[c->side][move->app], ask->rows[to][move->app])) {
        case REGION_IS_THERE:
                move->region_bytes = row_bytes(ask, purse, to, move->app, c->side);
                purse->unused_bytes += row_bytes(ask, purse, c->side, move->app, c->side);
                break;
        case REGION_COMES_ALONG:
                move->region_bytes = row_bytes(ask, purse, c->side, move->app, c->side);
                break;
        case REGION_OUT_OF_UNUSED:
                move->unused_bytes = move_pool_bytes(ask->engine, ask->pair, move->app, purse->unused_bytes);
                if (move->unused_bytes > 0) {
                        move->remote_bytes = size - move->unused_bytes;
                        purse->unused_bytes -= move->unused_bytes;
                        return;
                }
                move->unused_bytes = size < purse->unused_bytes ? size : purse->unused_bytes;
                if (c->flow == FLOW_APPLICATION_FAILURE)
                        move->awaited_bytes = size - move->unused_bytes;
                else
                        move->missing_bytes = size - move->unused_bytes;
                purse->unused_bytes -= move->unused_bytes;
                return;
        default:
                return;
        }
        if (move->region_bytes >= size)
                return;
        more = size - move->region_bytes < purse->unused_bytes ? size - move->region_bytes : purse->unused_bytes;
        move->unused_bytes = more;
        purse->unused_bytes -= more;
        move->missing_bytes = size - move->region_bytes - more;
        if (move->missing_bytes > 0 &&
            move->missing_bytes <= application_remote_bytes(&ask->pair->policy->applications[move->app])) {
                move->remote_bytes = move->missing_bytes;
                move->missing_bytes = 0;
        }
}

static void judge_memory(const struct ask *ask, struct readiness_case *c, const struct readiness_move *move) {
        const char *name = pair_app_name(ask->pair, move->app);
        char need[UNITS_TEXT_MAX], lack[UNITS_TEXT_MAX], mend[EVENT_TEXT_LEN];

        size_format(need, ask->pair->policy->applications[move->app].memory_bytes);
        if (move->missing_bytes) {
                size_format(lack, move->missing_bytes);
                snprintf(mend, sizeof(mend), "make pool: memory: (or reserve:) larger by %s", lack);
                worse(c, move->region_bytes ? READINESS_LIMITED : READINESS_UNCOVERED, mend,
                      move->region_bytes ? "%s starts with %s less than its %s: reserve and unused memory do not cover "
                                           "what was lost"
                                         : "%s: the pool has %s too little unused for its region of %s",
                      name, lack, need);
        } else if (move->remote_bytes) {
                size_format(lack, move->remote_bytes);
                snprintf(mend, sizeof(mend), "make pool: memory: larger by %s", lack);
                worse(c, READINESS_LIMITED, mend, "%s has %s of its %s at memory servers: the pool is short", name,
                      lack, need);
        } else if (move->awaited_bytes) {
                size_format(lack, move->awaited_bytes);
                snprintf(mend, sizeof(mend), "make pool: memory: larger by %s", lack);
                worse(c, READINESS_LIMITED, mend,
                      "%s waits until %s has given up %s of its memory, and goes on there where it does not", name,
                      pair_domain(ask->pair, c->side), lack);
        }
}

static void plan_memory(const struct ask *ask, struct readiness_case *c) {
        const struct pair *pair = ask->pair;
        struct purse purse = { .unused_bytes = table_unused(&ask->engine->table), .lost_app = NO_APP };

        if (c->fault == READINESS_MEMORY) {
                uint64_t lost = engine_region_lost_bytes(ask->engine, ask->rows[c->side][c->app], 0);
                uint64_t reserve = table_reserve(&ask->engine->table), more = lost > reserve ? lost - reserve : 0;

                if (more > purse.unused_bytes) {
                        purse.lost_bytes = more - purse.unused_bytes;
                        more = purse.unused_bytes;
                }
                purse.unused_bytes -= more;
                purse.lost_app = c->app;
        }
        if (c->flow == FLOW_OS_FAILURE)
                drop_others(ask, c, &purse);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct readiness_move *move = &c->moves[c->n_moves];
                const struct record_app *record = &pair->record.apps[i];

                if (!moves(ask, c, (int) i))
                        continue;
                *move = (struct readiness_move) { .app = (int) i };
                c->n_moves++;
                if (!ask->rows[side_other(c->side)][i]) /* left from an earlier move, or a rehearsal's */
                        purse.unused_bytes += record->granted_bytes[side_other(c->side)];
                if (c->flow == FLOW_APPLICATION_FAILURE && record->granted_bytes[c->side])
                        stand_in(ask, c, &purse, move);
                plan_region(ask, c, &purse, move);
                judge_memory(ask, c, move);
        }
}

/* ---- the other side ---------------------------------------------------------------------------------------- */

/* Nothing would begin. */
static void judge_blocker(const struct ask *ask, struct readiness_case *c) {
        const struct pair *pair = ask->pair;
        enum flow_blocker blocker = flow_blocker(ask->engine, pair, side_other(c->side));
        char text[EVENT_TEXT_LEN], mend[EVENT_TEXT_LEN] = "";

        snprintf(text, sizeof(text), "%s", flow_blocker_to_string(blocker));
        switch (blocker) {
        case FLOW_FREE:
                c->begins = true;
                return;
        case FLOW_BLOCKED_BY_FLOW:
                c->open = true;
                snprintf(mend, sizeof(mend), "wait until it has ended");
                break;
        case FLOW_BLOCKED_BY_HYPERVISOR:
                snprintf(mend, sizeof(mend), "see why %.120s does not answer", ask->engine->policy->hypervisor_uri);
                break;
        case FLOW_BLOCKED_BY_PAUSE:
                snprintf(text, sizeof(text), "the pair is paused%s%.180s", pair->record.pause_reason[0] ? ": " : "",
                         pair->record.pause_reason);
                snprintf(mend, sizeof(mend), "failoverctl resume %s", pair->policy->name);
                break;
        case FLOW_BLOCKED_BY_HOLD:
                snprintf(text, sizeof(text), "the pair is held: %.200s", pair->record.held_reason);
                break;
        case FLOW_BLOCKED_UNSETTLED:
                snprintf(mend, sizeof(mend), "start both VMs, or say it: failoverctl adopt %s --active DOMAIN",
                         pair->policy->name);
                break;
        case FLOW_BLOCKED_BY_OTHER_SIDE:
                (void) member_trouble(pair, side_other(c->side), ask->engine->now_usec, text);
                break;
        case FLOW_BLOCKED_BY_DEVICE:
                snprintf(text, sizeof(text), "%s has no memory device for it", pair_domain(pair, side_other(c->side)));
                snprintf(mend, sizeof(mend), "failoverctl policy check --domains FILE prints what its domain needs");
                break;
        case FLOW_BLOCKED_BY_AGENT:
                snprintf(mend, sizeof(mend), "update failover-agent in %s", pair_domain(pair, side_other(c->side)));
                break;
        default:
                snprintf(text, sizeof(text), "the flap limit is reached: %u failovers within the policy's window",
                         flow_flaps(ask->engine, pair));
                snprintf(mend, sizeof(mend),
                         "find out why; when the next failure comes the pair is held, until failoverctl resume %s",
                         pair->policy->name);
        }
        worse(c, READINESS_UNCOVERED, mend, "%s", text);
}

/* Plugging needs memory for its page structures free beforehand. */
static void judge_headroom(const struct ask *ask, struct readiness_case *c) {
        const struct pair *pair = ask->pair;
        enum side to = side_other(c->side);
        const struct member_state *member = &pair->members[to];
        char need[UNITS_TEXT_MAX], has[UNITS_TEXT_MAX], plug[UNITS_TEXT_MAX];
        uint64_t more = 0;

        for (unsigned i = 0; i < c->n_moves; i++) {
                uint64_t size = pair->policy->applications[c->moves[i].app].memory_bytes,
                         plugged = member->plugged_bytes[c->moves[i].app];

                more += size > plugged ? size - plugged : 0;
        }
        if (member->available_bytes && member->available_bytes < member_structures_bytes(more))
                worse(c, READINESS_UNCOVERED,
                      "free memory in that guest, or raise its base: in the policy and in its domain",
                      "%s has %s available in its guest, and plugging %s needs %s for page structures",
                      pair_domain(pair, to), size_format(has, member->available_bytes / MIB * MIB),
                      size_format(plug, more),
                      size_format(need, (member_structures_bytes(more) + MIB - 1) / MIB * MIB));
}

/* It would begin, and come to a stop there. */
static void judge_other_side(const struct ask *ask, struct readiness_case *c) {
        const struct pair *pair = ask->pair;
        enum side to = side_other(c->side);
        const struct member_state *member = &pair->members[to];
        char text[EVENT_TEXT_LEN];

        if (member_trouble(pair, to, ask->engine->now_usec, text))
                worse(c, READINESS_UNCOVERED, "", "%s", text);
        if (member->preflight_usec && member->blocking_finding)
                worse(c, READINESS_UNCOVERED, "failoverctl status says how to mend it", "%s",
                      member->findings[member->blocking_finding - 1]);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct app_state *app = &pair->apps[i];

                if (!moves(ask, c, (int) i) || app->checked[to])
                        continue;
                if (app->check_text[to][0])
                        worse(c, READINESS_UNCOVERED, "install it there, or correct start: in the policy",
                              "%s could not be started on %s: %.120s", pair_app_name(pair, (int) i),
                              pair_domain(pair, to), app->check_text[to]);
                else
                        worse(c, READINESS_UNCOVERED, "wait a moment",
                              "%s has not confirmed yet that it could start %s", pair_domain(pair, to),
                              pair_app_name(pair, (int) i));
        }
}

/* ---- the failures ------------------------------------------------------------------------------------------- */

static struct readiness_case *add(struct readiness *ret, enum readiness_fault fault, enum side side, int app) {
        struct readiness_case *c = &ret->cases[ret->n_cases++];

        *c = (struct readiness_case) { .fault = fault, .side = side, .app = app, .level = READINESS_COVERED };
        return c;
}

static void judge(const struct ask *ask, struct readiness_case *c) {
        judge_blocker(ask, c);
        if (c->begins)
                judge_other_side(ask, c);
        plan_memory(ask, c);
        if (c->begins)
                judge_headroom(ask, c);
}

/* A VM that does not run has nothing left to fail. */
static bool is_down(const struct ask *ask, struct readiness_case *c) {
        const struct member_state *member = &ask->pair->members[c->side];
        char text[EVENT_TEXT_LEN] = "";

        if (member->domain == DOMAIN_RUNNING && !member->failure[0])
                return false;
        c->open = true;
        (void) member_trouble(ask->pair, c->side, ask->engine->now_usec, text);
        worse(c, READINESS_UNCOVERED, "", "%s", text);
        return true;
}

static void ask_system(const struct ask *ask, struct readiness *ret, enum side side) {
        const struct pair *pair = ask->pair;
        struct readiness_case *c = add(ret, READINESS_SYSTEM, side, NO_APP);

        if (!pair_owns_hot(pair, side))
                return; /* what runs elsewhere is not touched */
        c->flow = FLOW_OS_FAILURE;
        if (!is_down(ask, c))
                judge(ask, c);

        c = add(ret, READINESS_HANG, side, NO_APP);
        *c = ret->cases[ret->n_cases - 2];
        c->fault = READINESS_HANG;
        if (!c->begins || detector_can_tell(&pair->members[side].detector, ask->engine->now_usec))
                return;
        c->begins = false;
        worse(c, READINESS_UNCOVERED, "give it an echo port, or balloon statistics: failoverctl policy xml FILE",
              "%s: nothing but its agent is heard, so that a hang cannot be told from a silent agent", pair_domain(pair,
              side));
}

static void ask_memory(const struct ask *ask, struct readiness *ret, enum side side) {
        struct readiness_case *c;

        for (size_t i = 0; i < ask->pair->policy->n_applications; i++) {
                if (!ask->rows[side][i])
                        continue;
                c = add(ret, READINESS_MEMORY, side, (int) i);
                c->flow = FLOW_OS_FAILURE;
                if (!is_down(ask, c))
                        judge(ask, c);
                return; /* where libvirt does not tell what was hit, the first region counts as hit */
        }
}

static void ask_application(const struct ask *ask, struct readiness *ret, int app) {
        const struct pair *pair = ask->pair;
        enum side owner = pair->record.apps[app].owner;
        struct readiness_case *c = add(ret, READINESS_APPLICATION, owner, app);
        char text[EVENT_TEXT_LEN];

        if (!pair_is_hot(pair, app)) {
                c->level = READINESS_NONE;
                return;
        }
        c->flow = FLOW_APPLICATION_FAILURE;
        if (is_down(ask, c))
                return;
        if (!member_usable(pair, owner) && member_trouble(pair, owner, ask->engine->now_usec, text))
                worse(c, READINESS_UNCOVERED, "", "it would not be noticed, or its stop not be confirmed: %.180s",
                      text);
        else if (pair->apps[app].state[owner] != APPLICATION_RUNNING)
                worse(c, READINESS_UNCOVERED, "", "it does not run on %s%s%.150s", pair_domain(pair, owner),
                      pair->apps[app].failure[0] ? ": " : "", pair->apps[app].failure);
        else
                judge(ask, c);
}

static void __attribute__((format(printf, 2, 3))) note(struct readiness *ret, const char *format, ...) {
        va_list ap;

        if (ret->n_notes == READINESS_NOTES_MAX)
                return;
        va_start(ap, format);
        vsnprintf(ret->notes[ret->n_notes++], EVENT_TEXT_LEN, format, ap);
        va_end(ap);
}

static bool wants_overflow(const struct pair *pair, enum side side) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->policy->applications[i].overflow.n_servers > 0)
                        return true;
        return pair->policy->members[side].overflow.n_servers > 0;
}

static void note_state(const struct ask *ask, struct readiness *ret) {
        const struct pair *pair = ask->pair;
        char ago[UNITS_TEXT_MAX];

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_lacks_state(pair, (int) i))
                        note(ret, "%s cannot be started anywhere: its state is not its own to write, for %s now: "
                             "%.180s", pair_app_name(pair, (int) i),
                             duration_format(ago, (ask->engine->now_usec - pair->apps[i].state_failed_usec) /
                                                          USEC_PER_SEC * USEC_PER_SEC),
                             pair->apps[i].state_failure);
}

static void add_notes(const struct ask *ask, struct readiness *ret) {
        const struct pair *pair = ask->pair;
        const struct drill_result *drill = &pair->record.last_drill;
        unsigned flaps = flow_flaps(ask->engine, pair);
        char window[UNITS_TEXT_MAX];

        if (flaps && flaps < pair->policy->flap_limit)
                note(ret, "%u of %u failovers within %s are used up; at the limit the pair is held instead", flaps,
                     pair->policy->flap_limit, duration_format(window, pair->policy->flap_window_usec));
        if (pair->policy->drill_every_usec && drill->at_usec &&
            ask->engine->real_usec > drill->at_usec + pair->policy->drill_every_usec)
                note(ret, "the last drill is more than %s ago, which the policy asks for",
                     duration_format(window, pair->policy->drill_every_usec));
        else if (pair->policy->drill_every_usec && !drill->at_usec)
                note(ret, "there was no drill so far, and the policy asks for one every %s",
                     duration_format(window, pair->policy->drill_every_usec));
        if (drill->at_usec && !drill->ok)
                note(ret, "the last drill was not good: %.200s", drill->text);
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (wants_overflow(pair, side) && pair->members[side].greeted &&
                    pair->members[side].protocol < PROTOCOL_VERSION_REMOTE)
                        note(ret, "%s: its agent is too old for overflow (protocol %u, it takes %d): update "
                             "failover-agent there", pair_domain(pair, side), pair->members[side].protocol,
                             PROTOCOL_VERSION_REMOTE);
        note_state(ask, ret);
        if (pair->store_late)
                note(ret, "the store is not written in time: a power loss now may forget the latest owner");
}

void readiness_list(const struct engine *engine, const struct pair *pair, struct readiness *ret) {
        struct ask ask = { .engine = engine, .pair = pair };

        ret->level = READINESS_NONE;
        ret->n_cases = ret->n_notes = 0;
        if (pair->policy->retired)
                return;
        for (enum side side = 0; side < SIDE_MAX; side++)
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        ask.rows[side][i] = table_find_application(&engine->table, pair_holder(pair, side), (int) i);
        for (enum side i = 0; i < SIDE_MAX; i++) /* the active one first */
                ask_system(&ask, ret, i == SIDE_A ? pair_active(pair) : side_other(pair_active(pair)));
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (!pair->policy->applications[i].retired)
                        ask_application(&ask, ret, (int) i);
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (pair_owns_hot(pair, side))
                        ask_memory(&ask, ret, side);
        add_notes(&ask, ret);
        for (unsigned i = 0; i < ret->n_cases; i++)
                if (ret->cases[i].level > ret->level)
                        ret->level = ret->cases[i].level;
        if (ret->level == READINESS_COVERED && pair->state != PAIR_ARMED)
                ret->level = READINESS_LIMITED;
}
