/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests from inside a guest (N: a request reaches a VM from an agent inside it): more memory for its VM, or less, as
 * the operator moves it by hand. Guests are not trusted: nothing is allowed unless the policy says so, a guest speaks
 * of its own VM alone, not too often, and not past the policy's limit; and what it asks for gives way to an operator.
 */

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

void guest_answer(struct step *step, enum side side, uint64_t message_id, int result, const char *format, ...) {
        struct message *answer = step_send(step, side, MESSAGE_ANSWER, NO_APP);
        va_list ap;

        answer->id = message_id;
        answer->result = result;
        va_start(ap, format);
        vsnprintf(answer->text, sizeof(answer->text), format, ap);
        va_end(ap);
}

/* Makes an item of a request out of what a guest wrote, "+1GiB" or with its own name "vm-a=+1GiB". -EPERM for what is
 * another's, -EINVAL for what is none, with the reason. */
static int read_item(const char *domain, const char *text, struct assignment_item *ret, char *why, size_t size) {
        struct assignment_item items[ASSIGNMENT_ITEMS_MAX];
        const char *equals = strchr(text, '=');
        char request[NAME_LEN + MESSAGE_TEXT_LEN + 2];
        size_t n;

        if (strchr(text, ' ') || strchr(text, '\t')) {
                snprintf(why, size, "ask for one thing at a time, such as +1GiB");
                return -EINVAL;
        }
        if (equals && ((size_t) (equals - text) != strlen(domain) || strncmp(text, domain, strlen(domain)) != 0)) {
                snprintf(why, size, "a guest may ask for memory of its own VM alone; write +SIZE, -SIZE, +RANGE or "
                         "-RANGE");
                return -EPERM;
        }
        snprintf(request, sizeof(request), "%s%s%s", equals ? "" : domain, equals ? "" : "=", text);
        if (assignment_parse(request, items, &n, why, size) < 0)
                return -EINVAL;
        if (n != 1 || items[0].kind == ASSIGN_RANGE) {
                snprintf(why, size, "write +SIZE, -SIZE, +RANGE or -RANGE");
                return -EINVAL;
        }
        *ret = items[0];
        return 0;
}

static bool extends(const struct assignment_item *item) {
        return item->kind == ASSIGN_EXTEND || item->kind == ASSIGN_EXTEND_RANGE;
}

static int check_allowed(const struct pair *pair, enum side side, const struct assignment_item *item, char *why,
                         size_t size) {
        const struct guest_request_keys *keys = &pair->policy->guest_requests;
        uint64_t bytes = item->kind == ASSIGN_EXTEND_RANGE ? span_bytes(item->span) : item->bytes;
        uint64_t has = assigned_bytes(pair, side);
        char x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];

        if (!extends(item))
                return 0;
        if (keys->allow != GUEST_REQUESTS_ALL) {
                snprintf(why, size, "guests of %s may only release memory (policy: guest-requests.allow)",
                         pair->policy->name);
                return -EPERM;
        }
        if (keys->limit_bytes && (has > keys->limit_bytes || bytes > keys->limit_bytes - has)) {
                snprintf(why, size, "%s manages %s, and may come to %s by its own asking (policy: "
                         "guest-requests.limit)", pair_domain(pair, side), size_format(x, has),
                         size_format(y, keys->limit_bytes));
                return -ENOSPC;
        }
        return 0;
}

static int check(const struct engine *engine, const struct pair *pair, enum side side, const struct message *message,
                 struct assignment_item *ret, char *why, size_t size) {
        const struct guest_request_keys *keys = &pair->policy->guest_requests;
        usec_t asked_usec = pair->members[side].asked_usec;
        char time[UNITS_TEXT_MAX];
        int r;

        if (keys->allow == GUEST_REQUESTS_NONE) {
                snprintf(why, size, "guests of %s may not ask for memory (policy: guest-requests.allow)",
                         pair->policy->name);
                return -EPERM;
        }
        if (asked_usec && engine->now_usec < asked_usec + keys->every_usec) {
                snprintf(why, size, "it has asked already; it may ask once in %s (policy: guest-requests.every)",
                         duration_format(time, keys->every_usec));
                return -EBUSY;
        }
        r = read_item(pair_domain(pair, side), message->text, ret, why, size);
        return r < 0 ? r : check_allowed(pair, side, ret, why, size);
}

void engine_guest_asks(struct engine *engine, struct pair *pair, enum side side, const struct message *message,
                       struct update *update) {
        struct step step = step_begin(engine, pair, update);
        char why[EVENT_TEXT_LEN] = "", request[ASSIGNMENT_ITEM_LEN];
        struct assignment_item item;
        int r;

        if (message->id == 0 || !pair->members[side].configured)
                return;
        r = check(engine, pair, side, message, &item, why, sizeof(why));
        if (r != -EBUSY)
                pair->members[side].asked_usec = engine->now_usec;
        if (r < 0) {
                member_say(&step, RECORD_REFUSED, side, "%s: its guest asks for %.40s: %.150s",
                           pair_domain(pair, side), message->text, why);
                guest_answer(&step, side, message->id, r, "%s", why);
                return;
        }
        engine_assign_for_guest(engine, pair, side, assignment_item_format(&item, request), message->id, update);
}
