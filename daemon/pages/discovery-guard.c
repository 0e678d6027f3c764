/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/discovery-guard.h"

#include <string.h>

#define TELL_AGAIN_USEC (3600 * USEC_PER_SEC)

static const char *const guard_refusal_table[] = {
        [GUARD_STRANGER] = "stranger",   [GUARD_MALFORMED] = "malformed", [GUARD_OVERSIZED] = "oversized",
        [GUARD_VERSION] = "version",     [GUARD_STALE] = "stale",         [GUARD_REPLAYED] = "replayed",
        [GUARD_FLOOD] = "flood",         [GUARD_ELSEWHERE] = "elsewhere",
};
DEFINE_ENUM_TABLE(guard_refusal, guard_refusal_table)

/* The sender, or the place of whoever was silent for longest. */
static struct guard_sender *find_sender(struct guard *guard, const unsigned char *address) {
        struct guard_sender *oldest = &guard->senders[0];

        for (size_t i = 0; i < GUARD_SENDERS; i++) {
                struct guard_sender *sender = &guard->senders[i];

                if (sender->heard_usec != 0 && memcmp(sender->address, address, sizeof(sender->address)) == 0)
                        return sender;
                if (sender->heard_usec < oldest->heard_usec)
                        oldest = sender;
        }
        *oldest = (struct guard_sender) { .credit = GUARD_BURST * USEC_PER_SEC };
        memcpy(oldest->address, address, sizeof(oldest->address));
        return oldest;
}

static bool may_speak(struct guard *guard, const unsigned char *address, usec_t now_usec) {
        struct guard_sender *sender = find_sender(guard, address);
        usec_t most = GUARD_BURST * USEC_PER_SEC / GUARD_RATE; /* time in which all credit comes back */
        usec_t since = sender->heard_usec == 0 || now_usec < sender->heard_usec ? 0 : now_usec - sender->heard_usec;

        sender->credit += (since < most ? since : most) * GUARD_RATE;
        if (sender->credit > GUARD_BURST * USEC_PER_SEC)
                sender->credit = GUARD_BURST * USEC_PER_SEC;
        sender->heard_usec = now_usec > 0 ? now_usec : 1;
        if (sender->credit < USEC_PER_SEC)
                return false;
        sender->credit -= USEC_PER_SEC;
        return true;
}

static bool is_known(const struct guard *guard, const struct discovery_message *message) {
        for (size_t i = 0; i < GUARD_NONCES; i++)
                if (guard->heard[i].time_usec != 0 &&
                    memcmp(guard->heard[i].nonce, message->nonce, DISCOVERY_NONCE_LEN) == 0)
                        return true;
        return false;
}

/* In place of the oldest that was heard. Had that been sent so lately that it could come again, all that was sent
 * before it is refused from now on. */
static void remember(struct guard *guard, const struct discovery_message *message) {
        usec_t forgotten = guard->heard[guard->next].time_usec;

        if (forgotten > guard->floor_usec)
                guard->floor_usec = forgotten;
        memcpy(guard->heard[guard->next].nonce, message->nonce, DISCOVERY_NONCE_LEN);
        guard->heard[guard->next].time_usec = message->time_usec;
        guard->next = (guard->next + 1) % GUARD_NONCES;
}

void guard_note_asked(struct guard *guard, const struct discovery_message *ask) {
        guard->asks = true;
        memcpy(guard->asked, ask->nonce, sizeof(guard->asked));
        guard->n_answers = 0;
}

bool guard_awaits(struct guard *guard, const struct discovery_message *message) {
        uint64_t identity = message->n_entries > 0 ? message->entries[0].identity : 0;

        if (!guard->asks || message->kind != DISCOVERY_ANSWER)
                return guard->asks == (message->kind == DISCOVERY_ANSWER);
        if (memcmp(message->nonce, guard->asked, sizeof(guard->asked)) != 0 || guard->n_answers == GUARD_ANSWERS)
                return false;
        for (size_t i = 0; i < guard->n_answers; i++)
                if (guard->answers[i].identity == identity && guard->answers[i].time_usec == message->time_usec)
                        return false;
        guard->answers[guard->n_answers].identity = identity;
        guard->answers[guard->n_answers++].time_usec = message->time_usec;
        return true;
}

unsigned guard_admit(struct guard *guard, const unsigned char address[static 16],
                     const struct discovery_message *message, usec_t real_usec, usec_t now_usec) {
        usec_t sent = message->time_usec;

        if (sent <= guard->floor_usec || (sent > real_usec ? sent - real_usec : real_usec - sent) > GUARD_WINDOW_USEC)
                return GUARD_STALE + 1;
        if (message->kind != DISCOVERY_ANSWER && is_known(guard, message))
                return GUARD_REPLAYED + 1;
        if (!may_speak(guard, address, now_usec))
                return GUARD_FLOOD + 1;
        if (message->kind != DISCOVERY_ANSWER)
                remember(guard, message);
        return 0;
}

bool guard_refused(struct guard *guard, enum guard_refusal refusal, usec_t now_usec) {
        usec_t told = guard->told_usec[refusal];

        guard->n_refused[refusal]++;
        if (told != 0 && now_usec < told + TELL_AGAIN_USEC)
                return false;
        guard->told_usec[refusal] = now_usec > 0 ? now_usec : 1;
        return true;
}

enum guard_refusal guard_refusal_of(int r) {
        return r == -EACCES ? GUARD_STRANGER : r == -EMSGSIZE ? GUARD_OVERSIZED :
               r == -EPROTONOSUPPORT ? GUARD_VERSION : GUARD_MALFORMED;
}
