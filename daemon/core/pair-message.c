/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What an agent says becomes facts. A guest is not trusted: it can speak of its own pair's applications only,
 * its reports count only for what it owns, and the worst that it brings about is its own failover.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define REPORT_WAIT_USEC (2 * USEC_PER_SEC) /* for a severity report after a hello that says `failed` */

#define SAID_USEC (10 * USEC_PER_SEC)
#define SAID_MAX 5 /* within that */

void member_say(struct step *step, enum record_kind kind, enum side side, const char *format, ...) {
        struct member_state *member = &step->pair->members[side];
        char text[EVENT_TEXT_LEN];
        va_list ap;

        if (step->now - member->said_usec >= SAID_USEC) {
                member->said_usec = step->now;
                member->n_said = 0;
        }
        if (member->n_said >= SAID_MAX)
                return;
        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        member->n_said++;
        step_say(step, kind, side, "%.200s%s", text,
                 member->n_said < SAID_MAX ? "" : "; more of it is left out for a while");
}

static int find_app(struct step *step, enum side side, const char *name) {
        int app = pair_policy_find_application(step->pair->policy, name);

        if (app < 0)
                member_say(step, RECORD_PROTOCOL, side,
                           "%s: its agent speaks of \"%.40s\", which is no application of %s; ignored",
                           pair_domain(step->pair, side), name, step->pair->policy->name);
        return app;
}

static void set_state(struct step *step, int app, enum side side, enum application_state state) {
        struct app_state *a = &step->pair->apps[app];

        if (a->state[side] == state)
                return;
        a->state[side] = state;
        if (state == APPLICATION_RUNNING)
                a->refused = false; /* it has its memory, whatever became of the answer that said so */
        else if (step->pair->record.apps[app].owner == side)
                a->healthy = false;
        if ((state == APPLICATION_STOPPED || state == APPLICATION_FAILED) && step->pair->record.apps[app].owner == side)
                app_state_spend(step->pair, app);
        a->state_usec[side] = step->now;
        step->again = step->changed = true;
}

/* A severity report comes before the first pong that says the same. Where none has been seen, it was lost. */
static void report_lost(struct step *step, int app, enum side side) {
        const struct record_app *record = &step->pair->record.apps[app];
        struct app_state *a = &step->pair->apps[app];

        if (record->owner != side || record->ended || record->moving || a->failed || a->restart_wanted) {
                set_state(step, app, side, APPLICATION_FAILED); /* no news, but what was heard last may have said
                                                                 * otherwise */
                return;
        }
        if (a->state[side] == APPLICATION_FAILED && step->now - a->state_usec[side] < REPORT_WAIT_USEC)
                return;
        a->failed = true;
        a->healthy = a->failed_hard = false;
        a->failed_cause = FAILURE_EXIT;
        a->failed_code = -1;
        a->failed_usec = step->now;
        snprintf(a->failure, sizeof(a->failure), "its agent says that it failed, and not how");
        set_state(step, app, side, APPLICATION_FAILED);
}

/* What is in use on the region's node where the application does not run is in use by others. */
static void take_need(struct step *step, enum side side, int app, const struct application_report *report) {
        struct app_state *a = &step->pair->apps[app];
        uint64_t needed = report->node_bytes > report->spare_bytes ? report->node_bytes - report->spare_bytes : 0;

        if (report->state != APPLICATION_STOPPED && report->state != APPLICATION_FAILED)
                return;
        if (report->node_bytes == 0 && a->needed_bytes[side] && step->pair->members[side].plugged_bytes[app])
                return; /* it has told before what it now cannot read */
        if ((step->pair->record.apps[app].using_bytes[side] || handover_stood_in_for(step, app, side)) &&
            (!a->needed_usec[side] || a->needed_bytes[side] != needed))
                step->again = true;
        a->needed_bytes[side] = needed;
        a->needed_usec[side] = step->now;
}

/* States as an agent lists them. While one of our own requests about an application is out, its result tells
 * better. */
static void take_reports(struct step *step, enum side side, const struct message *message) {
        struct pair *pair = step->pair;

        for (size_t i = 0; i < message->n_apps && i < POLICY_APPLICATIONS_MAX; i++) {
                const struct application_report *report = &message->apps[i];
                int app = pair_policy_find_application(pair->policy, report->app);

                if (app < 0 || pair_is_memory(pair, app))
                        continue; /* of an earlier policy; the agent has been told since */
                pair->apps[app].used_bytes[side] = report->bytes;
                take_need(step, side, app, report);
                if (pair->unsettled && report->token > pair->record.apps[app].token &&
                    pair_token_likely(step, app, report->token))
                        pair->record.apps[app].token = report->token;
                if (pair->apps[app].start[side].id || pair->apps[app].stop[side].id)
                        continue;
                if (report->state == APPLICATION_FAILED && message->type != MESSAGE_HELLO) {
                        report_lost(step, app, side);
                        continue;
                }
                set_state(step, app, side, report->state);
        }
}

/* Do health checks fail of an application that is owned there? Its agent may tell of its own ones only. */
static bool misses_checks(const struct pair *pair, enum side side, const struct message *message) {
        for (size_t i = 0; i < message->n_apps && i < POLICY_APPLICATIONS_MAX; i++) {
                int app = pair_policy_find_application(pair->policy, message->apps[i].app);

                if (app >= 0 && pair->record.apps[app].owner == side && message->apps[i].missed_checks > 0)
                        return true;
        }
        return false;
}

static void hello(struct step *step, enum side side, const struct message *message) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (message->version < PROTOCOL_VERSION_MIN) {
                struct message *refuse = step_send(step, side, MESSAGE_REFUSE, NO_APP);

                snprintf(refuse->text, sizeof(refuse->text),
                         "this failoverd speaks agent protocol %d and later; update failover-agent in the guest",
                         PROTOCOL_VERSION_MIN);
                update_add(step->update, ACTION_DROP_LINK, pair->slot, side, NO_APP);
                member->old_protocol = message->version + 1;
                step->again = step->changed = true;
                member_say(step, RECORD_PROTOCOL, side, "%s: its agent is too old (protocol %u)",
                           pair_domain(pair, side), message->version);
                return;
        }
        if (member->boot[0] && strcmp(member->boot, message->boot) != 0) {
                bool announced = member->going_usec != 0;

                member_lost(step, side);
                if (!announced)
                        member_fail(step, side, "the guest has booted anew without announcing it");
        }
        member->going_usec = 0;
        member->old_protocol = 0;
        member->greeted = true;
        member->configured = false;
        member->greeted_usec = step->now;
        member->rebuilds = 0;
        member->total_bytes = message->bytes;
        member->protocol = message->version;
        snprintf(member->boot, sizeof(member->boot), "%s", message->boot);
        snprintf(member->agent_version, sizeof(member->agent_version), "%s", message->text);
        snprintf(member->system, sizeof(member->system), "%s", message->system);
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct app_state *app = &pair->apps[i];

                /* What was asked of the agent before is asked again: commands are idempotent. */
                request_reset(&app->attach[side]);
                request_reset(&app->start[side]);
                request_reset(&app->stop[side]);
                request_reset(&app->check[side]);
                app->attached[side] = app->checked[side] = false;
                app->checked_usec[side] = 0;
                app->state[side] = APPLICATION_STOPPED;
                app->needed_usec[side] = 0;
        }
        take_reports(step, side, message);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].owner == side && (pair->apps[i].state[side] == APPLICATION_STOPPED ||
                                                           pair->apps[i].state[side] == APPLICATION_FAILED))
                        app_state_spend(pair, (int) i);
        handover_tell_all(step, side);
        step->again = step->changed = true;
}

static void answer_request(struct step *step, enum side side, int app, const struct message *message) {
        char why[MESSAGE_TEXT_LEN] = "";
        struct message *answer;
        int r = app_request(step, app, side, message->bytes, why);

        answer = step_send(step, side, r < 0 ? MESSAGE_REFUSE : MESSAGE_GRANT, app);
        answer->id = message->id;
        answer->bytes = message->bytes;
        snprintf(answer->text, sizeof(answer->text), "%s", why);
}

static void result(struct step *step, enum side side, int app, const struct message *message) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        bool ok = message->result == 0;

        if (message->id == 0 ||
            (step->pair->record.rehearsal == REHEARSAL_NONE ? app_prefault_answer(step, side, app, message)
                                                            : rehearsal_answer(step, side, app, message)))
                return;
        if (a->attach[side].id == message->id) {
                request_end(step, &a->attach[side], ok);
                a->attached[side] = ok;
        } else if (a->start[side].id == message->id && message->result == -EBUSY) {
                /* It is still being stopped there: that is no failure to start. */
                request_reset(&a->start[side]);
                a->start[side].sent_usec = a->start[side].retry_usec = step->now + USEC_PER_SEC / 2;
        } else if (a->start[side].id == message->id) {
                request_end(step, &a->start[side], ok);
                a->refused = message->result == -12; /* ENOMEM: the request for memory was refused */
                if (a->refused)
                        snprintf(a->refusal, sizeof(a->refusal), "%s", message->text);
                if (ok) {
                        a->restart_wanted = a->failed = false;
                        a->failure[0] = 0;
                        set_state(step, app, side, APPLICATION_RUNNING);
                } else if (!a->refused) {
                        app_state_spend(pair, app);
                        snprintf(a->failure, sizeof(a->failure), "start: %.200s", message->text);
                }
        } else if (a->stop[side].id == message->id) {
                request_end(step, &a->stop[side], ok);
                if (ok)
                        set_state(step, app, side, APPLICATION_STOPPED);
                else
                        snprintf(a->failure, sizeof(a->failure), "stop: %.200s", message->text);
        } else if (a->check[side].id == message->id) {
                bool news = ok != a->checked[side] || strcmp(a->check_text[side], ok ? "" : message->text) != 0;

                request_end(step, &a->check[side], ok);
                a->checked[side] = ok;
                a->checked_usec[side] = step->now;
                snprintf(a->check_text[side], sizeof(a->check_text[side]), "%s", ok ? "" : message->text);
                if (!news)
                        return;
        } else
                return;
        step->again = step->changed = true;
}

/* H: severity report. Only the owner's counts, and only for the grant that it runs under. */
static void severity_report(struct step *step, enum side side, int app, const struct message *message) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];

        if (pair->record.apps[app].owner != side || pair->record.apps[app].token != message->token)
                return;
        if (a->failed)
                return; /* reported again after a reconnect */
        a->failed = true;
        a->healthy = false;
        a->failed_cause = message->cause;
        a->failed_code = message->code;
        a->failed_hard = message->hard;
        a->failed_usec = step->now;
        snprintf(a->failure, sizeof(a->failure), "%s %d%s%.180s", failure_cause_to_string(message->cause),
                 message->code, message->text[0] ? ": " : "", message->text);
        set_state(step, app, side, APPLICATION_FAILED);
}

static void going(struct step *step, enum side side, const struct message *message) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        bool reboot = strcmp(message->text, "reboot") == 0;
        enum guest_stop rule = reboot ? pair->policy->on_guest_reboot : pair->policy->on_guest_shutdown;

        if (member->going_usec)
                return;
        member->going_usec = step->now;
        snprintf(member->going, sizeof(member->going), "%s", reboot ? "reboot" : "shutdown");
        detector_stop(&member->detector);
        step->again = step->changed = true;
        if (rule == GUEST_STOP_FAILOVER)
                member_fail(step, side, "the guest announced its %s; policy: failover", member->going);
        else
                step_say(step, RECORD_IGNORED, side, "%s: the guest announced its %s; policy: wait",
                         pair_domain(pair, side), member->going);
}

void pair_message(struct step *step, enum side side, const struct message *message) {
        struct member_state *member = &step->pair->members[side];
        int app = NO_APP;

        if (message->app[0]) {
                app = find_app(step, side, message->app);
                if (app < 0)
                        return;
                if (pair_is_memory(step->pair, app) && message->type != MESSAGE_RESULT &&
                    message->type != MESSAGE_REQUEST) {
                        member_say(step, RECORD_PROTOCOL, side,
                                   "%s: its agent tells of %s, in which no application runs; ignored",
                                   pair_domain(step->pair, side), message->app);
                        return;
                }
        }
        switch (message->type) {
        case MESSAGE_HELLO:
                hello(step, side, message);
                break;
        case MESSAGE_PONG:
                detector_pong(&member->detector, step->now, message->nonce);
                if (message->bytes) {
                        member->available_bytes = message->bytes;
                        member->available_usec = step->now;
                }
                take_reports(step, side, message);
                if (misses_checks(step->pair, side, message)) /* is that the guest's doing, or the host's? */
                        update_add(step->update, ACTION_PROBE, step->pair->slot, side, NO_APP)->count = 1;
                break;
        case MESSAGE_REQUEST:
                if (app >= 0)
                        answer_request(step, side, app, message);
                break;
        case MESSAGE_USES:
                if (app >= 0 && step->pair->record.apps[app].owner == side) {
                        if (message->kind != APPLICATION_AUTO && message->kind != step->pair->record.apps[app].kind) {
                                step->pair->record.apps[app].kind = message->kind;
                                pair_owner_dirty(step->pair);
                                step->again = step->changed = true;
                        }
                        app_uses(step, app, side, message->bytes);
                }
                break;
        case MESSAGE_RESULT:
                if (app >= 0)
                        result(step, side, app, message);
                break;
        case MESSAGE_FAILED:
                if (app >= 0)
                        severity_report(step, side, app, message);
                break;
        case MESSAGE_HEALTHY:
                if (app >= 0 && step->pair->record.apps[app].owner == side &&
                    step->pair->record.apps[app].token == message->token) {
                        step->pair->apps[app].healthy = true;
                        step->again = step->changed = true;
                }
                break;
        case MESSAGE_GOING:
                going(step, side, message);
                break;
        default:
                break; /* the link lets only guest-to-host types through */
        }
}
