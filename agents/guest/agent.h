/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The agent: messages of the host in, calls to the supervisor out. */

#include "agents/guest/ask.h"
#include "agents/guest/cpu.h"
#include "agents/guest/overflow.h"
#include "agents/guest/supervisor.h"
#include "agents/guest/tty-echo.h"

struct agent {
        struct loop *loop;
        struct supervisor supervisor;
        struct link *link;
        const struct transport *transport;
        struct tty_echo echo;
        struct cpu_watch cpus;
        struct overflow overflow;
        struct ask ask;
        struct source signals, announcements;
        int signal_fd, announce_fd;
        char session[SESSION_LEN];
        uint64_t host_seq; /* highest seen in the session */
        char boot[40];
};

struct agent_options {
        struct transport transport;
        struct paths paths;
        const char *echo_device; /* NULL: find one; "none": do without */
};

/* Blocks the signals it handles. `options` is borrowed. 0 or -errno; agent_deinit() also after a failure. */
int agent_init(struct agent *agent, const struct agent_options *options);
void agent_deinit(struct agent *agent);

/* Runs until it is told to end. Applications go on without it. */
int agent_run(struct agent *agent);
