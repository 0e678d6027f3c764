/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Somebody in the guest asks for memory: through the running agent to the host, and its answer back. */

#include "agents/guest/ask.h"
#include "tests/unit/agent-host.h"

/* Begins to ask, as who operates the guest would. Its output is read from the stream. */
static FILE *ask(const struct host *host, const char *change) {
        char command[512];
        FILE *f;

        snprintf(command, sizeof(command), "exec %s/agents/guest/failover-agent --run-dir %s --ask '%s' 2>&1",
                 getenv("TEST_BUILD_DIR") ?: ".", host->run_dir, change);
        f = popen(command, "re");
        REQUIRE(f != NULL);
        return f;
}

/* Waits for the end. True where it ended well; `ret` is the line that it printed. */
static bool ended_well(FILE *f, char ret[ASK_TEXT_LEN + 32]) {
        ret[0] = 0;
        if (fgets(ret, ASK_TEXT_LEN + 32, f))
                ret[strcspn(ret, "\n")] = 0;
        return pclose(f) == 0;
}

static void answer(struct host *host, uint64_t id, int result, const char *text) {
        struct message message = { .type = MESSAGE_ANSWER, .id = id, .result = result };

        snprintf(message.text, sizeof(message.text), "%s", text);
        host_send(host, message);
}

static void what_is_asked_goes_to_the_host_and_its_answer_comes_back(void) {
        char line[ASK_TEXT_LEN + 32];
        struct host host;
        FILE *f;

        host_init(&host);
        f = ask(&host, "+64MiB");
        host_expect(&host, MESSAGE_ASK);
        CHECK_TEXT(host.last.text, "+64MiB");
        answer(&host, host.last.id + 1, 0, "for somebody else");
        answer(&host, host.last.id, 0, "granted: a=+64MiB; usage follows");
        CHECK(ended_well(f, line));
        CHECK_TEXT(line, "granted: a=+64MiB; usage follows");

        f = ask(&host, "-1GiB");
        host_expect(&host, MESSAGE_ASK);
        CHECK_TEXT(host.last.text, "-1GiB");
        answer(&host, host.last.id, -EPERM, "guests of p may not ask for memory");
        CHECK(!ended_well(f, line));
        CHECK_TEXT(line, "failover-agent: guests of p may not ask for memory");
        host_deinit(&host);
}

static void one_is_heard_at_a_time(void) {
        char line[ASK_TEXT_LEN + 32];
        struct host host;
        FILE *first, *second;

        host_init(&host);
        first = ask(&host, "+64MiB");
        host_expect(&host, MESSAGE_ASK);
        second = ask(&host, "+128MiB");
        CHECK(!ended_well(second, line));
        CHECK_TEXT(line, "failover-agent: another request is under way");
        answer(&host, host.last.id, 0, "granted");
        CHECK(ended_well(first, line));
        host_deinit(&host);
}

static void a_host_that_comes_anew_leaves_nobody_waiting(void) {
        char line[ASK_TEXT_LEN + 32];
        struct host host;
        FILE *f;

        host_init(&host);
        f = ask(&host, "+64MiB");
        host_expect(&host, MESSAGE_ASK);
        host_connect_anew(&host);
        CHECK(!ended_well(f, line));
        CHECK(strstr(line, "connected anew") != NULL);
        f = ask(&host, "+64MiB"); /* and the next one is heard */
        host_expect(&host, MESSAGE_ASK);
        answer(&host, host.last.id, 0, "granted");
        CHECK(ended_well(f, line));
        host_deinit(&host);
}

static void what_is_no_request_never_reaches_the_host(void) {
        char line[ASK_TEXT_LEN + 32], text[MESSAGE_TEXT_LEN + 64];
        struct host host;

        host_init(&host);
        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        CHECK(!ended_well(ask(&host, text), line));
        CHECK_TEXT(line, "failover-agent: the request is too long");
        CHECK(!ended_well(ask(&host, "+64MiB\001"), line));
        CHECK_TEXT(line, "failover-agent: the request is no text");
        host_disconnect(&host);
        close(host.listen_fd);
        host.listen_fd = -1;
        host_deinit(&host);
        CHECK(!ended_well(ask(&host, "+64MiB"), line));
        CHECK(strstr(line, "cannot reach the agent") != NULL);
}

TEST_MAIN("agent-ask",
          TEST(what_is_asked_goes_to_the_host_and_its_answer_comes_back),
          TEST(one_is_heard_at_a_time),
          TEST(a_host_that_comes_anew_leaves_nobody_waiting),
          TEST(what_is_no_request_never_reaches_the_host))
