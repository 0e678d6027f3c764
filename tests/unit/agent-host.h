/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A stand-in for failoverd on the host: runs the real agent as a child, over a unix socket, with directories of
 * its own in place of /sys, /proc and /run, and speaks the protocol with it. Everything awaited has a deadline.
 * AGENT_BINARY in the environment is run in its place.
 * AGENT_CGROUP=DIR in the environment gives the agent a cgroup v2 mount to work with, AGENT_LOG=FILE its log. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agents/guest/group.h"
#include "agents/guest/loop.h"
#include "agents/guest/process.h"
#include "agents/guest/state.h"
#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/test.h"

#define DEADLINE_USEC (20 * USEC_PER_SEC)

struct host {
        char dir[64], run_dir[96], app[NAME_LEN];
        int listen_fd, fd;
        struct line_reader reader;
        pid_t agent;
        char session[SESSION_LEN];
        uint64_t seq, last_id, agent_seq;
        struct message last; /* what host_expect() found */
};

static inline void __attribute__((format(printf, 3, 4)))
host_write_file(const struct host *host, const char *name, const char *format, ...) {
        char path[256], text[512];
        _cleanup_fclose_ FILE *file = NULL;
        va_list ap;

        va_start(ap, format);
        vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        snprintf(path, sizeof(path), "%s/%s", host->dir, name);
        for (char *p = path + strlen(host->dir) + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(path, 0700);
                *p = '/';
        }
        REQUIRE((file = fopen(path, "w")) != NULL);
        REQUIRE(fputs(text, file) >= 0);
}

static inline void host_node_memory(const struct host *host, uint64_t total_bytes, uint64_t free_bytes) {
        char aside[264], path[256];

        host_write_file(host, "sys/devices/system/node/node0/meminfo.new",
                        "Node 0 MemTotal:       %" PRIu64 " kB\nNode 0 MemFree:        %" PRIu64
                        " kB\nNode 0 FilePages:      4 kB\n",
                        total_bytes / KIB, free_bytes / KIB);
        snprintf(path, sizeof(path), "%s/sys/devices/system/node/node0/meminfo", host->dir);
        snprintf(aside, sizeof(aside), "%s.new", path);
        REQUIRE(rename(aside, path) == 0);
}

static inline void host_run_agent(struct host *host) {
        char socket_path[128], sys_dir[128], proc_dir[128], binary[512];
        const char *build = getenv("TEST_BUILD_DIR"), *log = getenv("AGENT_LOG");

        snprintf(socket_path, sizeof(socket_path), "%s/socket", host->dir);
        snprintf(sys_dir, sizeof(sys_dir), "%s/sys", host->dir);
        snprintf(proc_dir, sizeof(proc_dir), "%s/proc", host->dir);
        if (getenv("AGENT_BINARY"))
                snprintf(binary, sizeof(binary), "%s", getenv("AGENT_BINARY"));
        else
                snprintf(binary, sizeof(binary), "%s/agents/guest/failover-agent", build ?: ".");
        REQUIRE((host->agent = fork()) >= 0);
        if (host->agent > 0)
                return;
        int fd = open(log ?: "/dev/null", O_WRONLY | O_CREAT | O_APPEND, 0600);
        (void) dup2(fd, STDERR_FILENO);
        (void) dup2(fd, STDOUT_FILENO);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(binary, "failover-agent", "--socket", socket_path, "--run-dir", host->run_dir, "--sys", sys_dir, "--proc",
              proc_dir, "--echo-device", "none", getenv("AGENT_CGROUP") ? "--cgroup" : NULL, getenv("AGENT_CGROUP"),
              NULL);
        _exit(127);
}

static inline void host_disconnect(struct host *host) {
        closep(&host->fd);
        host->fd = -1;
        line_reader_deinit(&host->reader);
}

static inline void host_accept(struct host *host) {
        struct pollfd fd = { .fd = host->listen_fd, .events = POLLIN };

        REQUIRE(poll(&fd, 1, (int) (DEADLINE_USEC / USEC_PER_MSEC)) == 1);
        host->fd = accept4(host->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        REQUIRE(host->fd >= 0);
}

static inline void host_send_bytes(struct host *host, const char *bytes, size_t n) {
        while (n > 0) {
                ssize_t written = send(host->fd, bytes, n, MSG_NOSIGNAL);
                REQUIRE(written > 0);
                bytes += written;
                n -= (size_t) written;
        }
}

/* Numbers and sends it as it is, with the session that it says. */
static inline void host_send_raw(struct host *host, const struct message *message) {
        _cleanup_free_ char *line = NULL;

        REQUIRE(codec_encode(message, &line) == 0);
        host_send_bytes(host, line, strlen(line));
}

/* Sends it in the session. Returns the id that it gave it. */
static inline uint64_t host_send(struct host *host, struct message message) {
        memcpy(message.session, host->session, sizeof(message.session));
        message.seq = ++host->seq;
        if (message.id == 0)
                message.id = ++host->last_id;
        if (message.app[0] == 0)
                memcpy(message.app, host->app, sizeof(message.app));
        host_send_raw(host, &message);
        return message.id;
}

/* The next message of the agent, whatever it is. */
static inline const struct message *host_receive(struct host *host) {
        usec_t deadline = loop_now() + DEADLINE_USEC;
        const char *line;
        size_t length;

        for (;;) {
                int r = line_reader_next(&host->reader, &line, &length);

                if (r > 0) {
                        struct error error = ERROR_INIT;
                        if (codec_decode(line, length, &host->last, &error) < 0)
                                printf("agent sent: %.*s: %s\n", (int) length, line, error_text(&error));
                        REQUIRE(error.message == NULL);
                        CHECK_TEXT(host->last.session, host->session);
                        CHECK(host->last.seq > host->agent_seq);
                        host->agent_seq = host->last.seq;
                        return &host->last;
                }
                struct pollfd fd = { .fd = host->fd, .events = POLLIN };
                REQUIRE(loop_now() < deadline && poll(&fd, 1, 1000) >= 0);
                if (fd.revents)
                        REQUIRE(line_reader_fill(&host->reader, host->fd) > 0);
        }
}

/* Waits for a message of a type, passing over others. */
static inline const struct message *host_expect(struct host *host, enum message_type type) {
        while (host_receive(host)->type != type)
                ;
        return &host->last;
}

static inline const struct message *host_expect_result(struct host *host, uint64_t id, int result) {
        do
                host_expect(host, MESSAGE_RESULT);
        while (host->last.id != id);
        if (host->last.result != result)
                printf("result %d (%s), not %d\n", host->last.result, host->last.text, result);
        CHECK(host->last.result == result);
        return &host->last;
}

/* Pings, and returns the pong; no message of type `forbidden` may come before it. */
static inline const struct message *host_ping(struct host *host, enum message_type forbidden) {
        static uint64_t nonce = UINT64_C(1) << 60;

        host_send(host, (struct message) { .type = MESSAGE_PING, .nonce = ++nonce });
        while (host_receive(host)->type != MESSAGE_PONG || host->last.nonce != nonce)
                CHECK(host->last.type != forbidden);
        return &host->last;
}

/* Opens a new session and returns the hello. */
static inline const struct message *host_welcome(struct host *host) {
        static unsigned sessions;

        snprintf(host->session, sizeof(host->session), "%08x%024x", ++sessions, (unsigned) getpid());
        host->seq = host->agent_seq = 0;
        host_send(host, (struct message) { .type = MESSAGE_WELCOME, .version = PROTOCOL_VERSION });
        CHECK(host_receive(host)->type == MESSAGE_HELLO);
        return &host->last;
}

/* Everything but the agent. */
static inline void host_prepare(struct host *host) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        static unsigned hosts;

        *host = (struct host) { .fd = -1, .listen_fd = -1 };
        strcpy(host->dir, "/tmp/test-agent-XXXXXX");
        REQUIRE(mkdtemp(host->dir) != NULL);
        snprintf(host->run_dir, sizeof(host->run_dir), "%s/run", host->dir);
        snprintf(host->app, sizeof(host->app), "app-%d-%u", getpid(), ++hosts);
        host_write_file(host, "proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 524288 kB\n");
        host_node_memory(host, GIB, GIB / 2);
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", host->dir);
        host->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(bind(host->listen_fd, (struct sockaddr *) &address, sizeof(address)) == 0 &&
                listen(host->listen_fd, 4) == 0);
}

/* An agent that has greeted; the first, or one after another. */
static inline void host_begin_agent(struct host *host) {
        host_run_agent(host);
        host_accept(host);
        host_welcome(host);
}

/* The same agent, by another connection. */
static inline void host_connect_anew(struct host *host) {
        host_disconnect(host);
        host_accept(host);
        host_welcome(host);
}

static inline void host_init(struct host *host) {
        host_prepare(host);
        host_begin_agent(host);
}

static inline int host_end_agent(struct host *host, int signal_number) {
        int status = 0;

        host_disconnect(host);
        if (signal_number > 0)
                (void) kill(host->agent, signal_number);
        REQUIRE(waitpid(host->agent, &status, 0) == host->agent);
        host->agent = 0;
        return status;
}

static inline void host_deinit(struct host *host) {
        struct group group = { 0 };
        char command[256];

        if (host->agent > 0)
                host_end_agent(host, SIGKILL);
        closep(&host->listen_fd);
        strcpy(group.app, host->app);
        (void) group_signal(&group, SIGKILL);
        if (getenv("AGENT_CGROUP")) {
                usec_t deadline = loop_now() + DEADLINE_USEC;

                snprintf(command, sizeof(command), "%s/failover/%s", getenv("AGENT_CGROUP"), host->app);
                while (rmdir(command) < 0 && errno == EBUSY)
                        REQUIRE(loop_now() < deadline);
        }
        snprintf(command, sizeof(command), "rm -rf %s", host->dir);
        CHECK(system(command) == 0);
}

/* A spec of the host's application as a shell command; stop, health and the rest may be set before sending. */
static inline struct application_spec host_spec(const struct host *host, const char *script) {
        struct application_spec spec = { .node = -1, .stop_timeout_usec = 300 * USEC_PER_MSEC,
                                         .health_interval_usec = 10 * USEC_PER_MSEC,
                                         .health_timeout_usec = USEC_PER_SEC,
                                         .health_failures = 2, .memory_bytes = MIB };

        memcpy(spec.app, host->app, sizeof(spec.app));
        REQUIRE(command_append(&spec.run.start, "sh") == 0 && command_append(&spec.run.start, "-c") == 0 &&
                command_append(&spec.run.start, script) == 0);
        return spec;
}

static inline void host_configure(struct host *host, struct application_spec spec) {
        host_send(host, (struct message) { .type = MESSAGE_CONFIGURE, .specs = &spec, .n_specs = 1 });
        application_spec_deinit(&spec);
}

static inline uint64_t host_start(struct host *host, uint64_t token) {
        return host_send(host, (struct message) { .type = MESSAGE_START, .token = token, .node = -1, .bytes = MIB });
}

/* The application is asked to stop, and has. */
static inline void host_stop(struct host *host) {
        host_expect_result(host, host_send(host, (struct message) { .type = MESSAGE_STOP }), 0);
}

/* The pid that the agent wrote down for the application. */
static inline pid_t host_app_pid(const struct host *host) {
        struct state_record record = { 0 };

        CHECK(state_read(host->run_dir, host->app, &record) == 0);
        return record.pid;
}

/* Processes of the application that live, counted by the test's own look at /proc. */
static inline int host_app_count(const struct host *host) {
        struct group group = { 0 };

        strcpy(group.app, host->app);
        return group_count(&group);
}

/* Whether the agent has a child, be it one that is not yet, or no longer, recognisable as the application's. */
static inline bool host_agent_has_child(const struct host *host) {
        char children[64];

        return file_read(children, sizeof(children), "/proc/%d/task/%d/children", host->agent, host->agent) > 0;
}
