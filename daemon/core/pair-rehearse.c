/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A rehearsal: a drill that leaves the active VM alone (drill.h: rehearsal_state). It is no flow, since nothing changes
 * its owner; it is a goal of its own that comes last. What it plugs into the standby is unused memory, granted to the
 * standby's VM in rows that say what they are, and written down before anything is plugged; so after a crash of
 * failoverd it is taken back, and never taken for an application's region.
 *
 * Whatever is no rehearsal comes first. A flow ends it at once (rehearsal_abandon()): what is plugged by then stays
 * with the standby's system as any memory that is late from an earlier move does, and becomes part of the region that
 * moves there. Another need for memory anywhere in the pool ends it too, as does an operator's pause and anything that
 * keeps the standby from being of use.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/utf8.h"
#include "daemon/core/pair-internal.h"

#define ATTACH_LIMIT_USEC (30 * USEC_PER_SEC) /* the agent waits that long for memory */
#define TOUCH_LIMIT_USEC (30 * USEC_PER_SEC)  /* and for each GiB so much more: */
#define TOUCH_GIB_USEC (30 * USEC_PER_SEC)
#define GIVE_BACK_USEC (60 * USEC_PER_SEC)    /* the verdict waits so long for the memory to be back */
#define ASK_AGAIN_USEC (15 * USEC_PER_SEC)

#define NOT_REACHED USEC_INFINITY

bool rehearsal_busy(const struct pair *pair) {
        return pair->record.rehearsal != REHEARSAL_NONE && pair->record.rehearsal != REHEARSAL_LATE;
}

static bool is_active(const struct pair *pair) {
        return pair->record.rehearsal >= REHEARSAL_PLUG && pair->record.rehearsal <= REHEARSAL_CANARY;
}

/* Would it move to the standby if the active VM failed? */
static bool takes_part(const struct pair *pair, int app) {
        return pair_is_hot(pair, app) && pair->record.apps[app].owner != pair->record.rehearsal_side;
}

static void enter(struct step *step, enum rehearsal_state state) {
        step->pair->record.rehearsal = state;
        step->pair->rehearsal.since_usec = step->now;
        pair_dirty(step->pair);
        step->again = step->changed = true;
}

/* What was asked of the agent for it counts no more. */
static void forget_requests(struct pair *pair) {
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct app_state *a = &pair->apps[i];

                request_reset(&a->touch);
                request_reset(&a->canary);
                if (pair->record.apps[i].rehearsed)
                        request_reset(&a->attach[pair->record.rehearsal_side]);
                a->touched = a->tried = false;
        }
}

/* ---- the verdict ---------------------------------------------------------------------------------------- */

static uint64_t msec(usec_t usec) {
        return usec / USEC_PER_MSEC;
}

/* Adds to what the verdict says. */
static void add_text(struct drill_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_text(struct drill_result *result, const char *format, ...) {
        size_t used = strlen(result->text);
        va_list ap;

        va_start(ap, format);
        vsnprintf(result->text + used, sizeof(result->text) - used, format, ap);
        va_end(ap);
        utf8_mend(result->text);
}

static void tell(struct step *step) {
        struct rehearsal *rehearsal = &step->pair->rehearsal;
        struct drill_result *result = &rehearsal->result;

        drill_end(step, result, rehearsal->command_id);
        command_reply(step, rehearsal->command_id,
                      result->took_usec != NOT_REACHED ? 0
                      : rehearsal->error               ? rehearsal->error
                                                       : -EIO,
                      "%s", result->text);
        *rehearsal = (struct rehearsal) { 0 };
}

static void give_back(struct step *step) {
        forget_requests(step->pair);
        enter(step, REHEARSAL_GIVE_BACK);
}

/* It comes to nothing, and says why. */
static void give_up(struct step *step, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void give_up(struct step *step, const char *format, ...) {
        struct drill_result *result = &step->pair->rehearsal.result;
        va_list ap;

        result->ok = false;
        result->took_usec = NOT_REACHED;
        va_start(ap, format);
        vsnprintf(result->text, sizeof(result->text), format, ap);
        va_end(ap);
        utf8_mend(result->text);
        give_back(step);
}

/* It has come to its end. */
static void succeed(struct step *step) {
        struct rehearsal *rehearsal = &step->pair->rehearsal;
        struct drill_result *result = &rehearsal->result;

        result->ok = true;
        result->took_usec = step->now - rehearsal->begun_usec;
        add_text(result, "rehearsed %" PRIu64 " of %" PRIu64 " MiB", result->rehearsed_bytes / MIB,
                 result->wanted_bytes / MIB);
        if (result->rehearsed_bytes < result->wanted_bytes)
                add_text(result, ": only %" PRIu64 " MiB were unused", rehearsal->unused_bytes / MIB);
        if (result->rehearsed_bytes > 0)
                add_text(result, "; plugged after %" PRIu64 " ms, %" PRIu64 " MiB touched in %" PRIu64 " ms",
                         msec(result->plugged_usec), rehearsal->touched_bytes / MIB, msec(result->touched_usec));
        add_text(result, "; canary in %" PRIu64 " ms", msec(result->canary_usec));
        give_back(step);
}

/* ---- its beginning -------------------------------------------------------------------------------------- */

/* Why it cannot begin now; NULL where it can. The text may lie in `buffer`. */
static const char *refusal(struct step *step, enum side to, char buffer[EVENT_TEXT_LEN], int *ret_error) {
        struct pair *pair = step->pair;
        const struct member_state *member = &pair->members[to];

        *ret_error = -EBUSY;
        if (pair->record.rehearsal != REHEARSAL_NONE) {
                snprintf(buffer, EVENT_TEXT_LEN, "%s has not given back the memory of the last rehearsal yet",
                         pair_domain(pair, to));
                return buffer;
        }
        if (member->protocol < PROTOCOL_VERSION_REHEARSE) {
                *ret_error = -EOPNOTSUPP;
                snprintf(buffer, EVENT_TEXT_LEN,
                         "agent on %s is too old to rehearse (protocol %u); install failover-agent of this version "
                         "there",
                         pair_domain(pair, to), member->protocol);
                return buffer;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].owner != to &&
                    (pair->record.apps[i].granted_bytes[to] || member->plugged_bytes[i])) {
                        snprintf(buffer, EVENT_TEXT_LEN,
                                 "%s has not given up the memory of %s yet; try again when it has",
                                 pair_domain(pair, to), pair_app_name(pair, (int) i));
                        return buffer;
                }
        return NULL;
}

/* The largest region that takes part and has not been dealt with; NO_APP when all have. */
static int largest(const struct pair *pair, const bool *done) {
        int found = NO_APP;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (!done[i] && takes_part(pair, (int) i) &&
                    (found < 0 ||
                     pair->policy->applications[i].memory_bytes > pair->policy->applications[found].memory_bytes))
                        found = (int) i;
        return found;
}

/* Grants the standby as much of a region as unused memory allows, in whole extents: devices take nothing less. */
static void grant(struct step *step, int app) {
        struct pair *pair = step->pair;
        struct table *table = &step->engine->table;
        enum side to = pair->record.rehearsal_side;
        struct holder vm = pair_holder(pair, to);
        uint64_t bytes = pair->policy->applications[app].memory_bytes;
        uint64_t unused = table_unused(table), dropped = engine_dropped_bytes(step->engine);

        unused = unused > dropped ? unused - dropped : 0;
        pair->rehearsal.result.wanted_bytes += bytes;
        if (bytes > unused)
                bytes = unused / step->engine->policy->extent_bytes * step->engine->policy->extent_bytes;
        if (bytes == 0 || table_grant(table, vm, bytes) < 0)
                return;
        if (table_carve_rehearsal(table, vm, pair->policy->members[to].base_bytes, app, pair_app_name(pair, app),
                                  bytes) == -ENOMEM)
                step->update->failed = true;
        pair->record.apps[app].granted_bytes[to] = bytes;
        pair->record.apps[app].rehearsed = true;
        pair->apps[app].attached[to] = false;
        request_reset(&pair->apps[app].attach[to]);
        pair->rehearsal.result.rehearsed_bytes += bytes;
}

void rehearsal_begin(struct step *step, const struct operator_command *command) {
        struct pair *pair = step->pair;
        struct rehearsal *rehearsal = &pair->rehearsal;
        enum side to = side_other(pair_active(pair));
        bool done[POLICY_APPLICATIONS_MAX] = { false };
        char buffer[EVENT_TEXT_LEN];
        const char *why;
        int error;

        why = refusal(step, to, buffer, &error);
        if (why) {
                command_reply(step, command->id, error, "no rehearsal on %s now: %s", pair->policy->name, why);
                return;
        }
        forget_requests(pair);
        *rehearsal = (struct rehearsal) {
                .command_id = command->id, .begun_usec = step->now, .unused_bytes = table_unused(&step->engine->table),
                .result = { .level = DRILL_LEVEL_REHEARSE, .took_usec = NOT_REACHED, .plugged_usec = NOT_REACHED,
                            .touched_usec = NOT_REACHED, .canary_usec = NOT_REACHED },
        };
        pair->record.rehearsal_side = to;
        for (int app; (app = largest(pair, done)) >= 0; done[app] = true)
                grant(step, app);
        step_say(step, RECORD_DRILL, to,
                 "rehearsal on %s by %s: %s is grown by %" PRIu64 " of %" PRIu64 " MiB; %s is not touched",
                 pair->policy->name, command->who, pair_domain(pair, to), rehearsal->result.rehearsed_bytes / MIB,
                 rehearsal->result.wanted_bytes / MIB, pair_domain(pair, side_other(to)));
        enter(step, REHEARSAL_PLUG);
}

/* ---- what comes first ----------------------------------------------------------------------------------- */

/* Its rows become part of the standby's system: memory that is late from somewhere, as every goal knows it. */
static void join_system(struct step *step) {
        struct pair *pair = step->pair;
        struct table *table = &step->engine->table;

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct region *row =
                        table_find_rehearsal(table, pair_holder(pair, pair->record.rehearsal_side), (int) i);

                if (row)
                        table_join_system(table, row);
                pair->record.apps[i].rehearsed = false;
        }
}

void rehearsal_abandon(struct step *step) {
        struct pair *pair = step->pair;
        const struct flow *flow = &pair->record.flow;
        struct drill_result *result = &pair->rehearsal.result;
        bool told = pair->record.rehearsal == REHEARSAL_LATE && !pair->rehearsal.cut_off;
        bool over = pair->record.rehearsal == REHEARSAL_GIVE_BACK;

        if (pair->record.rehearsal == REHEARSAL_NONE)
                return;
        forget_requests(pair);
        join_system(step);
        enter(step, REHEARSAL_NONE);
        if (told)
                return;
        if (!over) {
                result->ok = false;
                result->took_usec = NOT_REACHED;
                pair->rehearsal.error = -ECANCELED;
                snprintf(result->text, sizeof(result->text), "given up for a failover (%s of %.64s): %.128s",
                         flow_kind_to_string(flow->kind), pair_domain(pair, flow->from), flow->cause);
        }
        tell(step);
}

void rehearsals_give_way(struct step *step) {
        struct engine *engine = step->engine;

        for (int i = 0; i < engine->n_pairs; i++) {
                struct pair *pair = engine->pairs[i];

                if (!pair || !is_active(pair) || pair->rehearsal.give_way)
                        continue;
                pair->rehearsal.give_way = true;
                step_look_again(step, pair);
        }
}

/* Why it cannot go on; NULL while it can. */
static const char *interrupted(const struct step *step) {
        const struct pair *pair = step->pair;
        const struct member_state *standby = &pair->members[pair->record.rehearsal_side];

        if (pair->record.paused)
                return "the pair was paused";
        if (pair->record.held)
                return "the pair is held";
        if (!step->engine->hypervisor_up)
                return "libvirt does not answer";
        if (standby->operator_hold)
                return "the standby was suspended or ended by an operator";
        if (standby->failure[0])
                return standby->failure;
        if (!member_usable(pair, pair->record.rehearsal_side))
                return "the standby does not answer";
        return pair->rehearsal.give_way ? "its memory is needed for something that is no rehearsal" : NULL;
}

/* ---- its steps ------------------------------------------------------------------------------------------ */

static struct request *request_of(struct app_state *a, enum message_type type, enum side side) {
        return type == MESSAGE_ATTACH ? &a->attach[side] : type == MESSAGE_TOUCH ? &a->touch : &a->canary;
}

static bool answered(const struct app_state *a, enum message_type type, enum side side) {
        return type == MESSAGE_ATTACH ? a->attached[side] : type == MESSAGE_TOUCH ? a->touched : a->tried;
}

static const char *not_answered(enum message_type type) {
        return type == MESSAGE_ATTACH  ? "does not bring its memory online"
               : type == MESSAGE_TOUCH ? "has not touched its memory in time"
                                       : "has not answered for its canary in time";
}

/* One message for one application, asked once. True when it was answered well. */
static bool ask(struct step *step, int app, enum message_type type, usec_t limit_usec) {
        struct pair *pair = step->pair;
        enum side to = pair->record.rehearsal_side;
        struct request *request = request_of(&pair->apps[app], type, to);
        uint64_t bytes = pair->record.apps[app].granted_bytes[to];

        if (answered(&pair->apps[app], type, to))
                return true;
        request_expire(step, request, limit_usec);
        if (request->failures > 0) {
                give_up(step, "%s %s: %s", pair_domain(pair, to), not_answered(type), pair_app_name(pair, app));
                return false;
        }
        if (request->id == 0)
                step_ask(step, to, type, app, request)->bytes = bytes;
        return false;
}

static bool all_plugged(struct step *step) {
        struct pair *pair = step->pair;
        bool all = true;

        for (size_t i = 0; i < pair->policy->n_applications && is_active(pair); i++)
                if (pair->record.apps[i].rehearsed)
                        all &= ask(step, (int) i, MESSAGE_ATTACH, ATTACH_LIMIT_USEC + pair->policy->act_timeout_usec);
        return all && is_active(pair);
}

static bool all_touched(struct step *step) {
        struct pair *pair = step->pair;
        bool all = true;

        for (size_t i = 0; i < pair->policy->n_applications && is_active(pair); i++) {
                const struct record_app *record = &pair->record.apps[i];
                usec_t limit = TOUCH_LIMIT_USEC + pair->policy->act_timeout_usec +
                               record->granted_bytes[pair->record.rehearsal_side] / MIB * TOUCH_GIB_USEC / 1024;

                if (record->rehearsed)
                        all &= ask(step, (int) i, MESSAGE_TOUCH, limit);
        }
        return all && is_active(pair);
}

static bool all_tried(struct step *step) {
        struct pair *pair = step->pair;
        bool all = true;

        for (size_t i = 0; i < pair->policy->n_applications && is_active(pair); i++)
                if (takes_part(pair, (int) i))
                        all &= ask(step, (int) i, MESSAGE_CANARY,
                                   pair->policy->applications[i].canary_timeout_usec + pair->policy->act_timeout_usec);
        return all && is_active(pair);
}

bool rehearsal_answer(struct step *step, enum side side, int app, const struct message *message) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        bool touch = a->touch.id == message->id, good = message->result == 0;

        if (side != pair->record.rehearsal_side || (!touch && a->canary.id != message->id))
                return false;
        request_end(step, touch ? &a->touch : &a->canary, good);
        if (touch)
                a->touched = good;
        else
                a->tried = good;
        if (touch && good)
                pair->rehearsal.touched_bytes += message->bytes;
        if (!good && touch)
                give_up(step, "%s cannot use the memory of %s: %.120s", pair_domain(pair, side),
                        pair_app_name(pair, app), message->text[0] ? message->text : strerror(-message->result));
        else if (!good && message->result == -ETIMEDOUT)
                give_up(step, "the canary of %s on %s has not ended in time%s%.120s", pair_app_name(pair, app),
                        pair_domain(pair, side), message->text[0] ? ": " : "", message->text);
        else if (!good && message->code > 0)
                give_up(step, "the canary of %s on %s exited with %d%s%.120s", pair_app_name(pair, app),
                        pair_domain(pair, side), message->code, message->text[0] ? ": " : "", message->text);
        else if (!good)
                give_up(step, "the canary of %s on %s failed: %.120s", pair_app_name(pair, app),
                        pair_domain(pair, side), message->text[0] ? message->text : strerror(-message->result));
        return true;
}

/* ---- its end -------------------------------------------------------------------------------------------- */

/* Just after failoverd's start it is not known yet whether the other side has failed meanwhile; and where it has, a
 * failover may be about to begin: what is plugged would be plugged again. */
static bool may_be_needed(struct step *step) {
        const struct pair *pair = step->pair;
        enum side active = side_other(pair->record.rehearsal_side);

        return pair_too_early(step, active) || (pair->members[active].failure[0] && !pair->blocked[0]);
}

/* Takes back what it plugged (H: resource detach). Returns what has not come back. */
static uint64_t take_back(struct step *step) {
        struct pair *pair = step->pair;
        enum side to = pair->record.rehearsal_side;
        bool wait = may_be_needed(step);
        uint64_t left = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct record_app *record = &pair->record.apps[i];

                if (!record->rehearsed)
                        continue;
                if (!wait)
                        app_release(step, (int) i, to);
                if (record->granted_bytes[to] == 0) {
                        record->rehearsed = false;
                        pair_dirty(pair);
                }
                left += record->granted_bytes[to];
        }
        return left;
}

/* A guest that did not let go may be able to now. */
static void ask_again(struct step *step) {
        struct pair *pair = step->pair;
        enum side to = pair->record.rehearsal_side;
        usec_t due = pair->rehearsal.asked_usec + ASK_AGAIN_USEC;

        if (step->now < due) {
                step_wake(step, due);
                return;
        }
        pair->rehearsal.asked_usec = step->now;
        step_wake(step, step->now + ASK_AGAIN_USEC);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].rehearsed && pair->members[to].configured)
                        step_send(step, to, MESSAGE_DETACH, (int) i);
}

static void end(struct step *step) {
        struct pair *pair = step->pair;
        uint64_t left = take_back(step);
        bool late = pair->record.rehearsal == REHEARSAL_LATE;
        usec_t until = pair->rehearsal.since_usec + GIVE_BACK_USEC;

        if (left == 0) {
                enter(step, REHEARSAL_NONE);
                if (late)
                        step_say(step, RECORD_DRILL, pair->record.rehearsal_side,
                                 "%s has given back all of the rehearsal's memory",
                                 pair_domain(pair, pair->record.rehearsal_side));
                else
                        tell(step);
        } else if (late)
                ask_again(step);
        else if (step->now < until)
                step_wake(step, until);
        else {
                add_text(&pair->rehearsal.result, "; %s still has %" PRIu64 " MiB of it, and is asked again and again",
                         pair_domain(pair, pair->record.rehearsal_side), left / MIB);
                tell(step);
                enter(step, REHEARSAL_LATE);
        }
}

/* failoverd was started in the middle of it: what it was told is lost, what was plugged is taken back. */
static void cut_off(struct step *step) {
        struct pair *pair = step->pair;
        uint64_t bytes = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].rehearsed)
                        bytes += pair->record.apps[i].granted_bytes[pair->record.rehearsal_side];
        pair->rehearsal.cut_off = false;
        pair->rehearsal.result = (struct drill_result) {
                .level = DRILL_LEVEL_REHEARSE, .took_usec = NOT_REACHED, .plugged_usec = NOT_REACHED,
                .touched_usec = NOT_REACHED, .canary_usec = NOT_REACHED,
        };
        add_text(&pair->rehearsal.result, "failoverd ended in the middle of it; %" PRIu64 " MiB are taken back from %s",
                 bytes / MIB, pair_domain(pair, pair->record.rehearsal_side));
        tell(step);
}

void advance_rehearsal(struct step *step) {
        struct pair *pair = step->pair;
        struct rehearsal *rehearsal = &pair->rehearsal;
        struct drill_result *result = &rehearsal->result;
        const char *why = is_active(pair) ? interrupted(step) : NULL;

        if (rehearsal->cut_off)
                cut_off(step);
        if (why) {
                rehearsal->error = -ECANCELED;
                give_up(step, "given up: %.200s", why);
        }
        if (pair->record.rehearsal == REHEARSAL_PLUG && all_plugged(step)) {
                result->plugged_usec = step->now - rehearsal->since_usec;
                enter(step, REHEARSAL_TOUCH);
        }
        if (pair->record.rehearsal == REHEARSAL_TOUCH && all_touched(step)) {
                result->touched_usec = step->now - rehearsal->since_usec;
                enter(step, REHEARSAL_CANARY);
        }
        if (pair->record.rehearsal == REHEARSAL_CANARY && all_tried(step)) {
                result->canary_usec = step->now - rehearsal->since_usec;
                succeed(step);
        }
        if (pair->record.rehearsal == REHEARSAL_GIVE_BACK || pair->record.rehearsal == REHEARSAL_LATE)
                end(step);
}
