/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * failoverd-crash: failoverd that kills itself with SIGKILL at the point that stands in the file FAILOVERD_CRASH_AT, or
 * stops itself there with SIGSTOP, where "stop " stands before it.
 *
 *   before:WHAT:N   the Nth action of that kind is about to be issued
 *   after:WHAT:N    it has been issued; its result is not in yet
 *   result:WHAT:N   its result has come in, and nothing has been made of it yet
 *
 * WHAT is an action's kind ("freeze"), "persist-step", "persist-owner", or "send-" and a message's type ("send-start").
 * They are counted from the decision for a failover on, and what comes of it, the rebuilt standby included; the file is
 * read then. With "list" in it failoverd goes on, and writes each point on standard error as it comes by.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/crash-point.h"

#define POINT_LEN 64
#define STOP "stop "
#define WHATS_MAX 64
#define ISSUED_MAX 256

struct what {
        char name[POINT_LEN];
        unsigned n;
};

/* One daemon a process, and it ends by it. */
static char wanted[POINT_LEN]; /* empty: nothing is counted */
static struct what whats[WHATS_MAX];
/* Issued, and a result may come: "WHAT:N" by id. */
static struct {
        uint64_t id;
        char text[POINT_LEN];
} issued_last[ISSUED_MAX];
static unsigned n_issued;

static void begin(void) {
        const char *path = getenv("FAILOVERD_CRASH_AT");
        FILE *f = path ? fopen(path, "re") : NULL;

        memset(whats, 0, sizeof(whats));
        wanted[0] = 0;
        if (!f)
                return;
        if (fgets(wanted, sizeof(wanted), f))
                wanted[strcspn(wanted, "\n")] = 0;
        fclose(f);
}

static void reach(const char *when, const char *text) {
        bool stops = strncmp(wanted, STOP, strlen(STOP)) == 0;
        char point[POINT_LEN + 16];

        snprintf(point, sizeof(point), "%s:%s", when, text);
        if (strcmp(wanted, "list") == 0)
                fprintf(stderr, "crash point %s\n", point);
        else if (strcmp(wanted + (stops ? strlen(STOP) : 0), point) == 0) {
                fprintf(stderr, "crash point %s reached\n", point);
                wanted[0] = 0;
                raise(stops ? SIGSTOP : SIGKILL);
        }
}

/* What is lost with failoverd makes no difference between this instant and the next. */
static bool of_no_account(const struct action *action) {
        switch (action->kind) {
        case ACTION_WAKE:
        case ACTION_CHANGED:
        case ACTION_PROBE:
        case ACTION_RECORD:
        case ACTION_PHASE:
        case ACTION_REPLY:
                return true;
        case ACTION_SEND:
                return action->message->type == MESSAGE_PING;
        default:
                return false;
        }
}

static void name_of(const struct action *action, char *ret, size_t size) {
        if (action->kind == ACTION_PERSIST)
                snprintf(ret, size, "persist-%s", persist_level_to_string(action->level));
        else if (action->kind == ACTION_SEND)
                snprintf(ret, size, "send-%s", message_type_to_string(action->message->type));
        else
                snprintf(ret, size, "%s", action_kind_to_string(action->kind));
}

static unsigned count(const char *name) {
        for (size_t i = 0; i < WHATS_MAX; i++) {
                if (whats[i].n == 0)
                        snprintf(whats[i].name, sizeof(whats[i].name), "%s", name);
                if (strcmp(whats[i].name, name) == 0)
                        return ++whats[i].n;
        }
        abort();
}

void crash_point_action(const struct action *action, bool issued) {
        static char text[POINT_LEN]; /* of the action that is about to be issued */
        char name[POINT_LEN / 2];

        if (action->kind == ACTION_PHASE && action->phase == PHASE_DECIDED)
                begin();
        if (wanted[0] == 0 || of_no_account(action))
                return;
        if (issued) {
                reach("after", text);
                return;
        }
        name_of(action, name, sizeof(name));
        snprintf(text, sizeof(text), "%s:%u", name, count(name));
        issued_last[n_issued % ISSUED_MAX].id = action->kind == ACTION_SEND ? action->message->id : action->id;
        memcpy(issued_last[n_issued++ % ISSUED_MAX].text, text, sizeof(text));
        reach("before", text);
}

void crash_point_event(const struct event *event) {
        bool answer = event->kind == EVENT_MESSAGE && event->message->type == MESSAGE_RESULT;
        uint64_t id = event->kind == EVENT_DONE ? event->action_id : answer ? event->message->id : 0;

        for (unsigned i = 0; id != 0 && i < ISSUED_MAX; i++)
                if (issued_last[i].id == id) {
                        issued_last[i].id = 0; /* each has one result */
                        reach("result", issued_last[i].text);
                        return;
                }
}
