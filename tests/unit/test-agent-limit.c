/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/agents/agent-limit.h"
#include "tests/unit/test.h"

static void a_limit_is_earned_back_and_not_hoarded(void) {
        struct agent_limit limit;

        agent_limit_init(&limit, 0);
        agent_limit_take(&limit, 2 * AGENT_MESSAGES_PER_SEC, 0);
        CHECK(agent_limit_wait(&limit, 0) > 0);
        CHECK(agent_limit_wait(&limit, USEC_PER_SEC / AGENT_MESSAGES_PER_SEC) == 0);
        CHECK(agent_limit_wait(&limit, 3600 * USEC_PER_SEC) == 0);
        agent_limit_take(&limit, 0, 2 * AGENT_BYTES_PER_SEC + AGENT_BYTES_PER_SEC / 2);
        CHECK(agent_limit_wait(&limit, 3600 * USEC_PER_SEC) == USEC_PER_SEC / 2 + USEC_PER_MSEC);
        CHECK(agent_limit_wait(&limit, 3599 * USEC_PER_SEC) > 0); /* a clock that goes back earns nothing */
}

TEST_MAIN("agent-limit", TEST(a_limit_is_earned_back_and_not_hoarded))
