/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/retired.h"

/* A host that was seen stalled so long ago may still be. */
#define DOUBT_USEC (5 * USEC_PER_SEC)

struct ask {
        const struct engine *engine;
        const struct pair *pair;
        usec_t now;
        const struct explanation *all; /* whose blockers are known */
};

/* "1.2s", "350ms": at most three digits that matter. */
static const char *span(char buffer[UNITS_TEXT_MAX], usec_t usec) {
        if (usec < USEC_PER_SEC)
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 "ms", usec / USEC_PER_MSEC);
        else if (usec < 100 * USEC_PER_SEC)
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 ".%" PRIu64 "s", usec / USEC_PER_SEC,
                         usec % USEC_PER_SEC / (100 * USEC_PER_MSEC));
        else
                snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 "s", usec / USEC_PER_SEC);
        return buffer;
}

static usec_t left(usec_t of, usec_t used) {
        return of > used ? of - used : 0;
}

static void __attribute__((format(printf, 2, 3))) say(char text[EVENT_TEXT_LEN], const char *format, ...) {
        size_t used = strlen(text);
        va_list ap;

        va_start(ap, format);
        vsnprintf(text + used, EVENT_TEXT_LEN - used, format, ap);
        va_end(ap);
}

/* What would follow if this side's system counted as failed. */
static void say_consequence(const struct ask *ask, enum side side, char text[EVENT_TEXT_LEN]) {
        enum side to = side_other(side);

        if (ask->pair->policy->retired)
                say(text, "%s", retired_holds(ask->pair) ? "it is fenced and stays off, its pair was taken out"
                                                         : "nothing, its pair was taken out");
        else if (!pair_owns_hot(ask->pair, side))
                say(text, "it is built anew, nothing moves");
        else if (ask->all->blocked[to][0])
                say(text, "no failover: %.120s", ask->all->blocked[to]);
        else
                say(text, "failover to %s", pair_domain(ask->pair, to));
}

/* What keeps it from playing its part, without its name. False where nothing does. */
static bool trouble(const struct ask *ask, enum side side, char text[EVENT_TEXT_LEN]) {
        char named[EVENT_TEXT_LEN];

        if (!member_trouble(ask->pair, side, ask->now, named))
                return false;
        say(text, "%s", named + strlen(pair_domain(ask->pair, side)) + strlen(": "));
        return true;
}

/* ---- a VM -------------------------------------------------------------------------------------------------- */

/* How long until the second path makes it a hang. */
static void say_path(const struct ask *ask, const struct member_state *member, const struct detector_evidence *e,
                     enum side side, char text[EVENT_TEXT_LEN]) {
        const char *path = second_path_to_string(e->path);
        char limit[UNITS_TEXT_MAX];

        if (!e->path_known && !detector_can_tell(&member->detector, ask->now))
                say(text,
                    "its kernel has not been heard beside its agent since it booted, so it cannot be called hung");
        else if (!e->path_known)
                say(text, "its kernel silent for 10s -> hung -> ");
        else if (e->balloon_speaks)
                say(text, "balloon statistics silent too -> hung -> ");
        else
                say(text, "%s silent for %s%s -> hung -> ", path,
                    span(limit, left(e->path_limit_usec, e->path_silent_usec)), e->path_silent_usec ? " more" : "");
        if (e->path_known || detector_can_tell(&member->detector, ask->now))
                say_consequence(ask, side, text);
}

static void explain_alive(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];
        const struct detector_evidence *e = &ret->evidence;
        unsigned more = member->detector.beats_missed > ret->missed ? member->detector.beats_missed - ret->missed : 0;
        struct detector_evidence begun = *e;
        char silent[UNITS_TEXT_MAX], limit[UNITS_TEXT_MAX], rest[UNITS_TEXT_MAX];

        say(ret->rule, "alive: its agent answered %s ago, less than the %s of %u beats%s", span(silent, e->silent_usec),
            span(limit, e->limit_usec), member->detector.beats_missed,
            e->voided ? " (counted from when failoverd last doubted itself)" : "");
        say(ret->tip, "%u more missed beat%s, no answer for %s more -> suspected, its kernel is asked; then ", more,
            more == 1 ? "" : "s", span(rest, left(e->limit_usec, e->silent_usec)));
        begun.path_silent_usec = 0;
        begun.balloon_speaks = false;
        say_path(ask, member, &begun, side, ret->tip);
}

static void explain_suspected(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct engine *engine = ask->engine;
        const struct member_state *member = &ask->pair->members[side];
        const struct detector_evidence *e = &ret->evidence;
        char silent[UNITS_TEXT_MAX], limit[UNITS_TEXT_MAX], path[UNITS_TEXT_MAX];

        say(ret->rule, "%s: no answer of its agent for %s (limit %s)", verdict_to_string(member->detector.verdict),
            span(silent, e->silent_usec), span(limit, e->limit_usec));
        if (e->path_known)
                say(ret->rule, "; %s %s%s", second_path_to_string(e->path),
                    e->path_unheard ? "not heard since" : "silent for ",
                    e->path_unheard ? "" : span(path, e->path_silent_usec));
        if (e->waited_usec)
                say(ret->rule, ", not counting %s in which its QEMU waited for a processor%s",
                    span(path, e->waited_usec), e->starved ? ", most of the time: longer silence is needed" : "");
        if (member->mass_hold_usec)
                say(ret->rule, "; held back: %u of %u guests are silent at once, so the host itself is the suspect",
                    engine->n_suspected, engine->n_watched);
        say_path(ask, member, e, side, ret->tip);
        say(ret->tip, "; an answer of its agent -> alive");
}

static void explain_silent(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];
        const struct detector *detector = &member->detector;
        usec_t heard = detector->last_path_usec[PATH_ECHO] > detector->last_path_usec[PATH_BALLOON]
                               ? detector->last_path_usec[PATH_ECHO]
                               : detector->last_path_usec[PATH_BALLOON];
        char silent[UNITS_TEXT_MAX], ago[UNITS_TEXT_MAX];

        say(ret->rule, "no failure of the system: its agent has been silent for %s, but ",
            span(silent, ret->evidence.silent_usec));
        if (ret->evidence.waited_usec)
                say(ret->rule, "its QEMU waited for a processor for %s of that", span(ago, ret->evidence.waited_usec));
        else
                say(ret->rule, "its kernel answered %s ago", span(ago, ask->now - heard));
        say_path(ask, member, &ret->evidence, side, ret->tip);
        say(ret->tip, "; an answer of its agent -> alive");
}

static void explain_unwatched(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];

        if (!trouble(ask, side, ret->rule))
                say(ret->rule, "not watched yet");
        if (member->domain == DOMAIN_RUNNING && !member->greeted) {
                say(ret->tip, "its agent greets -> watched; QEMU gone, or its kernel silent for 10s where it was heard "
                              "before -> ");
                say_consequence(ask, side, ret->tip);
        } else if (member->domain != DOMAIN_RUNNING)
                say(ret->tip, "it runs and its agent greets -> watched");
}

/* It counts as failed: why, and what came or comes of it. */
static void explain_failed(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];
        char ago[UNITS_TEXT_MAX], id[FAILOVER_ID_LEN];

        say(ret->rule, "failed %s ago: %.180s", span(ago, ask->now - member->failure_usec), member->failure);
        if (pair_flow_active(ask->pair))
                say(ret->tip, "%s is under way", flow_id(ask->pair->policy, &ask->pair->record.flow, id));
        else
                say_consequence(ask, side, ret->tip);
}

static void explain_going(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];
        char ago[UNITS_TEXT_MAX], rest[UNITS_TEXT_MAX];

        say(ret->rule, "its guest announced its %s %s ago%s; policy: wait", member->going,
            span(ago, ask->now - member->going_usec),
            member->process_known && !member->process_alive ? ", and its process has ended" : "");
        say(ret->tip, "not back in %s -> failed -> ",
            span(rest, left(ask->pair->policy->guest_stop_timeout_usec, ask->now - member->going_usec)));
        say_consequence(ask, side, ret->tip);
}

/* Something is waited for a moment before it is judged. */
static void explain_waiting(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];
        bool gone = member->gone_wait_usec != 0;
        bool announced = gone && member->going_usec && member->gone_signal < 0;
        char rest[UNITS_TEXT_MAX];

        if (gone)
                say(ret->rule, "its process %s, libvirt has not said why",
                    member->gone_signal < 0 ? "has ended as it was asked to" : "is gone");
        else
                say(ret->rule, "it was paused, nobody has said why");
        say(ret->tip, "nothing heard in %s -> %s",
            span(rest, left(gone ? member->gone_wait_usec : member->pause_wait_usec, ask->now)),
            announced ? "waited for as the stop that its guest announced" :
            gone      ? "failed -> " :
                        "an operator's doing: hands off");
        if (gone && !announced)
                say_consequence(ask, side, ret->tip);
}

static void explain_member(const struct ask *ask, enum side side, struct member_explanation *ret) {
        const struct member_state *member = &ask->pair->members[side];

        detector_weigh(&member->detector, ask->now, member_void_usec(ask->engine, member), &ret->evidence);
        if (member->detector.watching && member->detector.beat_usec)
                ret->missed = (unsigned) (ret->evidence.silent_usec / member->detector.beat_usec);
        if (member->operator_hold) {
                (void) trouble(ask, side, ret->rule);
                say(ret->tip, "it runs again -> watched again; until then nothing is done");
        } else if (member->failure[0])
                explain_failed(ask, side, ret);
        else if (member->going_usec && member->gone_wait_usec == 0)
                explain_going(ask, side, ret);
        else if (member->gone_wait_usec || member->pause_wait_usec)
                explain_waiting(ask, side, ret);
        else if (!member->detector.watching || member->domain != DOMAIN_RUNNING)
                explain_unwatched(ask, side, ret);
        else if (member->detector.verdict == VERDICT_ALIVE)
                explain_alive(ask, side, ret);
        else if (member->detector.verdict == VERDICT_SILENT)
                explain_silent(ask, side, ret);
        else
                explain_suspected(ask, side, ret);
}

/* ---- an application ------------------------------------------------------------------------------------------ */

static void say_rule(const struct application *policy, enum failure_cause cause, int code, char text[EVENT_TEXT_LEN]) {
        int rule = application_find_rule(policy, cause, code);

        if (rule < 0)
                say(text, "by default");
        else if (policy->rules[rule].code < 0)
                say(text, "by its rule %d, any %s", rule + 1, failure_cause_to_string(cause));
        else
                say(text, "by its rule %d, %s %d", rule + 1, failure_cause_to_string(cause), policy->rules[rule].code);
}

/* A failure that waits to be dealt with. */
static void explain_failure(const struct ask *ask, int app, struct app_explanation *ret) {
        const struct pair *pair = ask->pair;
        const struct application *policy = &pair->policy->applications[app];
        const struct app_state *a = &pair->apps[app];
        const char *why;
        char ago[UNITS_TEXT_MAX], id[FAILOVER_ID_LEN];

        ret->severity = app_severity(pair, app, ask->now, &why);
        say(ret->rule, "failed %s ago (%.100s): %s, ", span(ago, ask->now - a->failed_usec), a->failure,
            severity_to_string(ret->severity));
        if (ret->severity == SEVERITY_HARD &&
            application_severity(policy, a->failed_cause, a->failed_code) == SEVERITY_MINOR)
                say(ret->rule, "%s", why);
        else
                say_rule(policy, a->failed_cause, a->failed_code, ret->rule);
        if (pair->record.apps[app].moving)
                say(ret->tip, "%s moves it to %s", flow_id(pair->policy, &pair->record.flow, id),
                    pair_domain(pair, pair->record.flow.to));
        else if (pair_flow_active(pair))
                say(ret->tip, "judged when the flow under way has ended");
        else if (pair->record.paused || pair->record.held)
                say(ret->tip, "judged when the pair is resumed");
        else if (pair->members[pair->record.apps[app].owner].failure[0])
                say(ret->tip, "it goes with its VM, which has failed");
}

/* What its next failure would lead to. */
static void say_next(const struct ask *ask, int app, unsigned restarts, char text[EVENT_TEXT_LEN]) {
        const struct pair *pair = ask->pair;
        const struct application *policy = &pair->policy->applications[app];
        enum side to = side_other(pair->record.apps[app].owner);
        unsigned budget_left = policy->restart_budget > restarts ? policy->restart_budget - restarts : 0;
        bool hot = pair_is_hot(pair, app),
             restarted = budget_left > 0 && policy->restart_expected_usec <= pair->policy->failover_expected_usec;
        char window[UNITS_TEXT_MAX];

        if (restarted)
                say(text, "a minor failure -> restarted in place, %u more within %s; then, or one that is major%s -> ",
                    budget_left, duration_format(window, policy->restart_window_usec),
                    policy->n_rules ? " by its rules" : "");
        else
                say(text, "any failure -> ");
        if (!hot)
                say(text, "it ends, its memory goes back to the monitor");
        else if (ask->all->blocked[to][0])
                say(text, "tried again in place, no failover: %.100s", ask->all->blocked[to]);
        else
                say(text, "failover to %s", pair_domain(pair, to));
}

static void explain_app(const struct ask *ask, int app, struct app_explanation *ret) {
        const struct pair *pair = ask->pair;
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *a = &pair->apps[app];
        const char *owner = pair_domain(pair, record->owner);
        char ago[UNITS_TEXT_MAX], id[FAILOVER_ID_LEN];

        ret->severity = SEVERITY_INVALID;
        ret->restarts = pair_recent_restarts(pair, app, ask->now);
        if (pair_lacks_state(pair, app))
                say(ret->tip, "not to be started before its state is its own to write, for %s now: %.150s",
                    span(ago, ask->now - a->state_failed_usec), a->state_failure);
        if (record->moving && a->failed_usec && pair->record.flow.phase_usec[PHASE_DETECTED] == a->failed_usec)
                explain_failure(ask, app, ret); /* it is what the flow began with */
        else if (record->moving)
                say(ret->rule, "%s moves it to %s", flow_id(pair->policy, &pair->record.flow, id),
                    pair_domain(pair, pair->record.flow.to));
        else if (record->ended && pair->policy->applications[app].retired)
                say(ret->rule, "ended: it was taken out of the policy, and %s", record->stopped
                               ? "has stopped" : "is to be seen to have stopped");
        else if (record->ended)
                say(ret->rule,
                    "ended: it is plain, and its system failed or its restarts are used up; it comes back when %s is "
                    "active anew",
                    pair_domain(pair, SIDE_A));
        else if (a->failed)
                explain_failure(ask, app, ret);
        else if (a->restart_wanted)
                say(ret->rule, "being restarted in place on %s: %.150s", owner, a->failure);
        else if (a->state[record->owner] == APPLICATION_RUNNING) {
                say(ret->rule, "%s on %s for %s",
                    a->healthy ? "running and healthy" : "running, not known to be healthy,", owner,
                    span(ago, ask->now - a->state_usec[record->owner]));
                say_next(ask, app, ret->restarts, ret->tip);
        } else
                say(ret->rule, "%s on %s%s%.150s", application_state_to_string(a->state[record->owner]), owner,
                    a->refused || a->failure[0] ? ": " : "", a->refused ? a->refusal : a->failure);
}

/* ---- the pair -------------------------------------------------------------------------------------------------- */

static void explain_doubt(const struct engine *engine, const struct pair *pair, usec_t now, char text[EVENT_TEXT_LEN]) {
        char ago[UNITS_TEXT_MAX], rest[UNITS_TEXT_MAX];

        for (enum side side = 0; side < SIDE_MAX; side++) {
                usec_t paged = pair->members[side].paged_usec, delayed = pair->members[side].delayed_usec,
                       stalled = pair->members[side].stalled_usec;

                if (member_excuse_usec(&pair->members[side], now) > 0) {
                        say(text, "no memory server has answered for what %s has there for %s: its silence does not "
                            "count for %s more", pair_domain(pair, side), span(ago, now - stalled),
                            span(rest, member_excuse_usec(&pair->members[side], now)));
                        return;
                }
                if (paged && now - paged < DOUBT_USEC) {
                        say(text, "the host swapped memory of %s %s ago: its silence before does not count",
                            pair_domain(pair, side), span(ago, now - paged));
                        return;
                }
                if (delayed && now - delayed < DOUBT_USEC) {
                        say(text, "QEMU of %s waited for a processor %s ago: checks that failed do not count",
                            pair_domain(pair, side), span(ago, now - delayed));
                        return;
                }
        }
        if (engine->pressure_usec && now - engine->pressure_usec < DOUBT_USEC)
                say(text, "the host was starved %s ago: silence before does not count",
                    span(ago, now - engine->pressure_usec));
        else if (engine->void_usec && now - engine->void_usec < DOUBT_USEC)
                say(text, "failoverd itself was away until %s ago: silence before does not count",
                    span(ago, now - engine->void_usec));
        else if (engine->n_suspected >= 2 && engine->n_suspected * 2 > engine->n_watched)
                say(text, "%u of %u guests are silent at once: the host itself is the suspect", engine->n_suspected,
                    engine->n_watched);
}

static void explain_blocker(const struct ask *ask, enum side to, struct explanation *ret) {
        const struct pair *pair = ask->pair;
        char *text = ret->blocked[to];

        ret->blocker[to] = flow_blocker(ask->engine, pair, to);
        if (ret->blocker[to] == FLOW_FREE)
                return;
        if (ret->blocker[to] != FLOW_BLOCKED_BY_OTHER_SIDE || !member_trouble(pair, to, ask->now, text))
                snprintf(text, EVENT_TEXT_LEN, "%s", flow_blocker_to_string(ret->blocker[to]));
        if (ret->blocker[to] == FLOW_BLOCKED_BY_HOLD)
                say(text, ": %.180s", pair->record.held_reason);
        if (ret->blocker[to] == FLOW_BLOCKED_BY_PAUSE && pair->record.pause_reason[0])
                say(text, ": %.180s", pair->record.pause_reason);
}

void explain_pair(const struct engine *engine, const struct pair *pair, usec_t now_usec, struct explanation *ret) {
        struct ask ask = { .engine = engine, .pair = pair, .now = now_usec, .all = ret };

        *ret = (struct explanation) { 0 };
        explain_doubt(engine, pair, now_usec, ret->doubt);
        for (enum side side = 0; side < SIDE_MAX; side++)
                explain_blocker(&ask, side, ret);
        for (enum side side = 0; side < SIDE_MAX; side++)
                explain_member(&ask, side, &ret->members[side]);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                explain_app(&ask, (int) i, &ret->apps[i]);
}
