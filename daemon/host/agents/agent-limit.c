/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/agents/agent-limit.h"

#define BURST_USEC ((int64_t) (2 * USEC_PER_SEC))

void agent_limit_init(struct agent_limit *limit, usec_t now_usec) {
        *limit = (struct agent_limit) { now_usec, BURST_USEC, BURST_USEC };
}

void agent_limit_take(struct agent_limit *limit, unsigned messages, unsigned bytes) {
        limit->messages_usec -= (int64_t) messages * (int64_t) USEC_PER_SEC / AGENT_MESSAGES_PER_SEC;
        limit->bytes_usec -= (int64_t) bytes * (int64_t) USEC_PER_SEC / AGENT_BYTES_PER_SEC;
}

static void earn(int64_t *bucket, usec_t span_usec) {
        if (span_usec >= (usec_t) BURST_USEC * 2)
                *bucket = BURST_USEC;
        else
                *bucket += (int64_t) span_usec;
        if (*bucket > BURST_USEC)
                *bucket = BURST_USEC;
}

usec_t agent_limit_wait(struct agent_limit *limit, usec_t now_usec) {
        usec_t span_usec = now_usec > limit->time_usec ? now_usec - limit->time_usec : 0;
        int64_t least;

        limit->time_usec = now_usec;
        earn(&limit->messages_usec, span_usec);
        earn(&limit->bytes_usec, span_usec);
        least = limit->messages_usec < limit->bytes_usec ? limit->messages_usec : limit->bytes_usec;
        if (least > 0)
                return 0;
        return (usec_t) -least + USEC_PER_MSEC;
}
