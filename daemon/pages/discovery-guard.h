/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What of the datagrams that come is listened to. The HMAC is checked before anything else, so that nobody uses up what
 * is another one's by writing its address on a datagram; then whether it was sent to here, is of now and comes for the
 * first time, and then whether its sender says too much.
 *
 * What has been heard is remembered by its nonce for as long as a copy of it could pass the window of time. Where that
 * is more than there is room for, the window is narrowed instead: nothing is ever listened to twice. Answers alone have
 * the nonce of the question, and several have the same: who asked takes those to its last question, one of each, and
 * no others. What is not awaited costs its sender nothing: a copy of an answer makes no flood of the true ones.
 *
 * Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/enum-table.h"
#include "daemon/pages/discovery-message.h"

#define GUARD_WINDOW_USEC (10 * USEC_PER_SEC) /* that clocks may differ by, and datagrams take */
#define GUARD_NONCES 4096
#define GUARD_SENDERS 256
#define GUARD_ANSWERS 64 /* to one question */
#define GUARD_RATE 200  /* a second, of one sender */
#define GUARD_BURST 400 /* at once */

enum guard_refusal {
        GUARD_STRANGER,  /* another key */
        GUARD_MALFORMED,
        GUARD_OVERSIZED,
        GUARD_VERSION,
        GUARD_ELSEWHERE, /* sent to another one: a copy of what that was told */
        GUARD_STALE,     /* sent at another time */
        GUARD_REPLAYED,
        GUARD_FLOOD,
        GUARD_REFUSAL_MAX,
        GUARD_REFUSAL_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(guard_refusal); /* "stranger", "malformed", "oversized", "version", "elsewhere", "stale", "replayed",
                                      "flood" */

struct guard_sender {
        unsigned char address[16]; /* IPv6, or mapped IPv4 */
        usec_t heard_usec;         /* 0: nobody */
        uint64_t credit;           /* datagrams, in millionths */
};

struct guard {
        struct {
                unsigned char nonce[DISCOVERY_NONCE_LEN];
                usec_t time_usec; /* that it said; 0: none */
        } heard[GUARD_NONCES];
        size_t next;
        bool asks; /* this end has asked, with this nonce last */
        unsigned char asked[DISCOVERY_NONCE_LEN];
        struct {
                uint64_t identity; /* of the first server it tells of; 0: of none */
                usec_t time_usec;
        } answers[GUARD_ANSWERS];  /* that came to it */
        size_t n_answers;
        usec_t floor_usec; /* what was sent then, or before, may be forgotten already */
        struct guard_sender senders[GUARD_SENDERS];
        uint64_t n_refused[GUARD_REFUSAL_MAX];
        usec_t told_usec[GUARD_REFUSAL_MAX]; /* when it was last told; 0: never */
};

/* A question was sent. Answers to it are awaited, and nothing else. */
void guard_note_asked(struct guard *guard, const struct discovery_message *ask);
/* Whether what came, whose HMAC is right, is of use here: a first answer to the last question, or, where nothing is
 * asked, no answer. */
bool guard_awaits(struct guard *guard, const struct discovery_message *message);
/* A datagram that is awaited. 0, or the refusal + 1. `real_usec` is CLOCK_REALTIME, `now_usec` a clock that does
 * not jump. */
unsigned guard_admit(struct guard *guard, const unsigned char address[static 16],
                     const struct discovery_message *message, usec_t real_usec, usec_t now_usec);
/* Counts a refusal. True where it shall be told: for the first time, and then once an hour. */
bool guard_refused(struct guard *guard, enum guard_refusal refusal, usec_t now_usec);
/* What discovery_open() says, as a refusal. */
enum guard_refusal guard_refusal_of(int r);
