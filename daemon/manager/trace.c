/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/manager/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "daemon/base/clock.h"

/* CLOCK_BOOTTIME in microseconds, as tests/bench reads it. */
static void print_time(usec_t time_usec) {
        fprintf(stderr, "%" PRIu64 ".%06" PRIu64 " ", time_usec / USEC_PER_SEC, time_usec % USEC_PER_SEC);
}

static const char *side_text(enum side side) {
        return side >= 0 && side < SIDE_MAX ? side_to_string(side) : "-";
}

void trace_event(const struct event *event) {
        const struct message *message = event->message;

        if (event->kind == EVENT_WAKE || event->kind == EVENT_SECOND_PATH || event->kind == EVENT_PRESSURE ||
            (message && message->type == MESSAGE_PONG))
                return;
        print_time(event->time_usec);
        fprintf(stderr, "event %s %d/%s", event_kind_to_string(event->kind), event->pair, side_text(event->side));
        if (message)
                fprintf(stderr, " %s id=%" PRIu64 " %s result=%d bytes=%" PRIu64 " token=%" PRIu64 " %s",
                        message_type_to_string(message->type), message->id, message->app, message->result,
                        message->bytes, message->token, message->text);
        else if (event->kind == EVENT_DONE)
                fprintf(stderr, " %s id=%" PRIu64 " result=%d", action_kind_to_string((enum action_kind) event->action),
                        event->action_id, event->result);
        else if (event->kind == EVENT_DOMAIN)
                fprintf(stderr, " %s (%s)", domain_state_to_string(event->domain),
                        domain_reason_to_string(event->reason));
        else
                fprintf(stderr, " up=%d pid=%d app=%d bytes=%" PRIu64, event->up, event->pid, event->app, event->bytes);
        fprintf(stderr, " %s\n", event->text);
}

void trace_action(const struct action *action) {
        const struct message *message = action->message;

        if (action->kind == ACTION_WAKE || action->kind == ACTION_CHANGED || action->kind == ACTION_PROBE ||
            (message && message->type == MESSAGE_PING))
                return;
        print_time(clock_usec(CLOCK_BOOTTIME));
        fprintf(stderr, "  action %s id=%" PRIu64 " %d/%s %s bytes=%" PRIu64 " %s", action_kind_to_string(action->kind),
                action->id, action->pair, side_text(action->side), action->app_name, action->bytes, action->text);
        if (message)
                fprintf(stderr, " %s id=%" PRIu64 " token=%" PRIu64 " node=%d bytes=%" PRIu64,
                        message_type_to_string(message->type), message->id, message->token, message->node,
                        message->bytes);
        fputc('\n', stderr);
}
