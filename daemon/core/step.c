/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/utf8.h"
#include "daemon/core/pair-internal.h"

#define BACKOFF_FIRST_USEC (250 * USEC_PER_MSEC)
#define BACKOFF_MAX_USEC (30 * USEC_PER_SEC)

void step_wake(struct step *step, usec_t at_usec) {
        step_wake_between(step, at_usec, at_usec);
}

void step_wake_between(struct step *step, usec_t at_usec, usec_t latest_usec) {
        if (at_usec < step->wake)
                step->wake = at_usec;
        if (latest_usec < step->wake_latest)
                step->wake_latest = latest_usec;
}

static void ask_to_wake(struct update *update, struct pair *pair, usec_t at_usec, usec_t slack_usec) {
        struct action *action = update_add(update, ACTION_WAKE, pair->slot, SIDE_INVALID, NO_APP);

        pair->wake_usec = action->due_usec = at_usec;
        pair->wake_slack_usec = action->deadline_usec = slack_usec;
}

void step_ask_to_wake(struct step *step) {
        usec_t slack_usec = step->wake_latest - step->wake;

        if (step->wake != step->pair->wake_usec || slack_usec != step->pair->wake_slack_usec)
                ask_to_wake(step->update, step->pair, step->wake, slack_usec);
}

void step_look_again(struct step *step, struct pair *pair) {
        if (pair == step->pair)
                step->again = true;
        else
                ask_to_wake(step->update, pair, step->now, 0);
}

static uint64_t next_id(struct step *step) {
        return ++step->engine->next_id;
}

struct action *step_act(struct step *step, enum action_kind kind, enum side side, int app, struct request *request,
                        usec_t deadline_usec) {
        struct action *action = update_add(step->update, kind, step->pair->slot, side, app);

        action->id = next_id(step);
        action->deadline_usec = deadline_usec;
        if (app >= 0)
                snprintf(action->app_name, sizeof(action->app_name), "%s", step->pair->policy->applications[app].name);
        request->id = action->id;
        request->sent_usec = step->now;
        return action;
}

/* What its agent is to count on: what the region has there, also where that is less than the policy says (lost memory,
 * overflow); all of it where it has no region yet, and asks for one. */
static uint64_t region_bytes(const struct step *step, enum side side, int app) {
        const struct record_app *record = &step->pair->record.apps[app];
        const struct region *row =
                table_find_application(&step->engine->table, pair_holder(step->pair, side), app);

        if (record->granted_bytes[side] > 0 && (record->moving || row))
                return record->granted_bytes[side];
        return step->pair->policy->applications[app].memory_bytes;
}

struct message *step_send(struct step *step, enum side side, enum message_type type, int app) {
        struct action *action = update_add(step->update, ACTION_SEND, step->pair->slot, side, app);
        struct message *message = calloc(1, sizeof(*message));

        if (!message) {
                step->update->failed = true;
                return &step->engine->scratch_message;
        }
        message->type = type;
        message->id = next_id(step);
        if (app >= 0) {
                const struct application *policy = &step->pair->policy->applications[app];

                snprintf(message->app, sizeof(message->app), "%s", policy->name);
                snprintf(action->app_name, sizeof(action->app_name), "%s", policy->name);
                message->node = step->pair->members[side].preflight.apps[app].node;
                message->token = step->pair->record.apps[app].token;
                message->bytes = region_bytes(step, side, app);
        }
        action->message = message;
        return message;
}

struct message *step_ask(struct step *step, enum side side, enum message_type type, int app, struct request *request) {
        struct message *message = step_send(step, side, type, app);

        request->id = message->id;
        request->sent_usec = step->now;
        return message;
}

void step_say(struct step *step, enum record_kind kind, enum side side, const char *format, ...) {
        struct action *action = update_add(step->update, ACTION_RECORD, step->pair ? step->pair->slot : NO_PAIR, side,
                                           NO_APP);
        va_list ap;

        action->record_kind = kind;
        va_start(ap, format);
        vsnprintf(action->text, sizeof(action->text), format, ap);
        va_end(ap);
        utf8_mend(action->text); /* a guest's words may have been cut */
        step->changed = true;
}

bool request_free(struct step *step, const struct request *request) {
        if (request->id != 0)
                return false;
        if (step->now >= request->retry_usec)
                return true;
        step_wake(step, request->retry_usec);
        return false;
}

void request_end(struct step *step, struct request *request, bool ok) {
        usec_t delay;

        request->id = 0;
        if (ok) {
                request->failures = 0;
                request->retry_usec = 0;
                return;
        }
        delay = request->failures >= 7 ? BACKOFF_MAX_USEC : BACKOFF_FIRST_USEC << request->failures;
        request->failures++;
        request->retry_usec = step->now + delay;
}

bool request_expire(struct step *step, struct request *request, usec_t limit_usec) {
        if (request->id == 0)
                return false;
        if (step->now - request->sent_usec < limit_usec) {
                step_wake(step, request->sent_usec + limit_usec);
                return false;
        }
        request_end(step, request, false);
        return true;
}

void request_reset(struct request *request) {
        *request = (struct request) { 0 };
}
