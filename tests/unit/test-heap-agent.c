/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Out of memory anywhere in the agent: it goes on, or ends and is started again, as init does it. Either way the
 * application that it is told to start comes to run, and never twice; one that an earlier agent started runs on; and
 * it is gone when its stop is confirmed. HEAP_ALL in the environment lets every allocation fail in its turn.
 */

#include "tests/unit/agent-host.h"

#define ASK_AGAIN_USEC (100 * USEC_PER_MSEC)
#define FIRST 24 /* of these each fails, of the rest one in EVERY */
#define EVERY 11

struct talk {
        struct host host;
        usec_t asked_usec;
        uint64_t id; /* of the command that is asked, 0: none yet in this session */
        bool greeted, done;
};

/* An agent that has just ended does not hear it. */
static void say(struct talk *talk, struct message message) {
        struct host *host = &talk->host;
        _cleanup_free_ char *line = NULL;

        memcpy(message.session, host->session, sizeof(message.session));
        memcpy(message.app, host->app, sizeof(message.app));
        message.seq = ++host->seq;
        REQUIRE(codec_encode(&message, &line) == 0);
        (void) send(host->fd, line, strlen(line), MSG_NOSIGNAL);
}

/* Holds a lock for as long as it runs, which a second one would find taken, and counts its starts. */
static struct application_spec make_spec(const struct host *host) {
        char script[512];

        snprintf(script, sizeof(script),
                 "cd %s && exec 9>lock && flock -n 9 || { echo >>twice; exit 1; }; echo >>starts; exec sleep 1000",
                 host->dir);
        return host_spec(host, script);
}

static void ask(struct talk *talk, enum message_type type) {
        struct application_spec spec;
        struct host *host = &talk->host;

        talk->asked_usec = loop_now();
        if (!talk->greeted) {
                snprintf(host->session, sizeof(host->session), "%032llx", (unsigned long long) ++host->last_id);
                host->seq = host->agent_seq = 0;
                say(talk, (struct message) { .type = MESSAGE_WELCOME, .version = PROTOCOL_VERSION });
                return;
        }
        spec = make_spec(host);
        say(talk, (struct message) { .type = MESSAGE_CONFIGURE, .specs = &spec, .n_specs = 1 });
        application_spec_deinit(&spec);
        talk->id = ++host->last_id;
        say(talk, (struct message) { .type = type, .id = talk->id, .token = 1, .node = -1, .bytes = MIB });
}

static void hang_up(struct talk *talk) {
        host_disconnect(&talk->host);
        talk->greeted = false;
        talk->id = 0;
        talk->asked_usec = 0;
}

static void hear(struct talk *talk, const char *line, size_t length) {
        struct message message;

        if (codec_decode(line, length, &message, NULL) < 0)
                return;
        if (strcmp(message.session, talk->host.session) == 0) {
                if (message.type == MESSAGE_HELLO) {
                        talk->greeted = true;
                        talk->asked_usec = 0;
                }
                talk->done |= message.type == MESSAGE_RESULT && message.id == talk->id && message.result == 0;
        }
        message_deinit(&message);
}

/* As init: an agent that has ended is started again, now with memory. An assertion of a library's may end it. */
static void keep_running(struct talk *talk) {
        int status;

        if (waitpid(talk->host.agent, &status, WNOHANG) != talk->host.agent)
                return;
        CHECK(WIFEXITED(status) || WTERMSIG(status) == SIGABRT);
        hang_up(talk);
        unsetenv("HEAP_FAIL");
        host_run_agent(&talk->host);
}

static void turn(struct talk *talk, enum message_type type) {
        struct host *host = &talk->host;
        struct pollfd fds[] = { { .fd = host->listen_fd, .events = POLLIN }, { .fd = host->fd, .events = POLLIN } };
        const char *line;
        size_t length;

        if (host->fd >= 0 && loop_now() - talk->asked_usec > ASK_AGAIN_USEC)
                ask(talk, type);
        (void) poll(fds, 2, 20);
        keep_running(talk);
        if (fds[0].revents & POLLIN) {
                hang_up(talk);
                host_accept(host);
        } else if (host->fd >= 0 && fds[1].revents && line_reader_fill(&host->reader, host->fd) <= 0)
                hang_up(talk);
        while (host->fd >= 0 && line_reader_next(&host->reader, &line, &length) > 0)
                hear(talk, line, length);
}

/* Asks until it is done. */
static void command(struct talk *talk, enum message_type type) {
        usec_t deadline_usec = loop_now() + DEADLINE_USEC;

        talk->asked_usec = 0;
        talk->done = false;
        while (!talk->done) {
                REQUIRE(loop_now() < deadline_usec);
                turn(talk, type);
        }
}

static bool exists(const struct talk *talk, const char *name) {
        char path[128];

        snprintf(path, sizeof(path), "%s/%s", talk->host.dir, name);
        return access(path, F_OK) == 0;
}

static off_t starts(const struct talk *talk) {
        char path[128];
        struct stat st;

        snprintf(path, sizeof(path), "%s/starts", talk->host.dir);
        return stat(path, &st) == 0 ? st.st_size : 0;
}

static void lack(struct talk *talk, unsigned nth) {
        char failed[128], number[16];

        snprintf(failed, sizeof(failed), "%s/failed", talk->host.dir);
        snprintf(number, sizeof(number), "%u", nth);
        setenv("HEAP_FAIL", number, 1);
        setenv("HEAP_FAILED", failed, 1);
}

/* Returns whether an allocation has failed. */
static bool stop(struct talk *talk) {
        bool failed;

        command(talk, MESSAGE_STOP);
        CHECK(host_app_count(&talk->host) == 0);
        CHECK(!exists(talk, "twice"));
        failed = exists(talk, "failed");
        host_deinit(&talk->host);
        return failed;
}

/* Returns false once no allocation was left to fail. */
static bool try_start(unsigned nth) {
        struct talk talk = { 0 };

        host_prepare(&talk.host);
        lack(&talk, nth);
        host_run_agent(&talk.host);
        command(&talk, MESSAGE_START);
        CHECK(host_app_count(&talk.host) > 0);
        return stop(&talk);
}

/* The same with an agent that takes over from another. */
static bool try_takeover(unsigned nth) {
        struct talk talk = { 0 };
        off_t started;

        unsetenv("HEAP_FAIL");
        host_prepare(&talk.host);
        host_run_agent(&talk.host);
        command(&talk, MESSAGE_START);
        for (usec_t deadline_usec = loop_now() + DEADLINE_USEC; (started = starts(&talk)) == 0; poll(NULL, 0, 1))
                REQUIRE(loop_now() < deadline_usec);
        host_end_agent(&talk.host, SIGKILL);
        hang_up(&talk);
        lack(&talk, nth);
        host_run_agent(&talk.host);
        command(&talk, MESSAGE_START);
        CHECK(host_app_count(&talk.host) == 1);
        CHECK(starts(&talk) == started);
        return stop(&talk);
}

static void try_each(bool (*try)(unsigned nth)) {
        unsigned every = getenv("HEAP_ALL") ? 1 : EVERY, nth = 1;
        char binary[512];

        snprintf(binary, sizeof(binary), "%s/tests/unit/agent-lack", getenv("TEST_BUILD_DIR") ?: ".");
        setenv("AGENT_BINARY", binary, 1);
        while (try(nth))
                nth += nth < FIRST ? 1 : every;
        printf("%u allocations ", nth - 1);
        CHECK(nth > 50);
}

static void an_agent_that_runs_out_of_memory_comes_to_do_what_it_is_told(void) {
        try_each(try_start);
}

static void what_another_agent_started_runs_on_when_the_next_runs_out_of_memory(void) {
        try_each(try_takeover);
}

TEST_MAIN("heap-agent",
          TEST(an_agent_that_runs_out_of_memory_comes_to_do_what_it_is_told),
          TEST(what_another_agent_started_runs_on_when_the_next_runs_out_of_memory))
