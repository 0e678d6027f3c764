/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How much a guest may say: two token buckets, for messages and for bytes. What is over is not lost; it is read
 * later. */

#include "daemon/base/units.h"

#define AGENT_MESSAGES_PER_SEC 200
#define AGENT_BYTES_PER_SEC (256 * 1024)

struct agent_limit {
        usec_t time_usec;           /* of the last look */
        int64_t messages_usec;      /* what is left, as the time that it takes to earn it */
        int64_t bytes_usec;
};

/* Both buckets are full: two seconds' worth. */
void agent_limit_init(struct agent_limit *limit, usec_t now_usec);
/* Takes from the buckets, which may fall below zero. */
void agent_limit_take(struct agent_limit *limit, unsigned messages, unsigned bytes);
/* 0 when there is something in both, else the span until there is, never below a millisecond. */
usec_t agent_limit_wait(struct agent_limit *limit, usec_t now_usec);
