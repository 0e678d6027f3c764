/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The second heartbeat path. A terminal that the host writes to is opened with ECHO on, so that the guest
 * kernel's line discipline sends every byte back without any process being scheduled: it tells a stuck agent
 * from a stuck guest. What comes in is read and thrown away, or the line discipline's 4 KiB would fill up and
 * the echo end.
 *
 * The last one to close a terminal ends its echo. So that an agent which is gone is not taken for a guest that hangs, a
 * process that does nothing else holds it open, too, and outlives the agent.
 */

#include "agents/guest/loop.h"

struct tty_echo {
        struct loop *loop;
        struct source source;
        int fd;
};

/* Opens `device`, or the first of the usual ones that is a terminal and not the guest's console when it is
 * NULL. Returns 0, or -ENODEV when there is none. */
int tty_echo_init(struct tty_echo *echo, struct loop *loop, const char *device);
void tty_echo_deinit(struct tty_echo *echo);
/* Leaves that process behind, unless one is there: its lock is a file in `run_dir`. It ends at SIGTERM, as at the
 * guest's shutdown, and when the terminal hangs up. Returns 0 or -errno. */
int tty_echo_hold(const struct tty_echo *echo, const char *run_dir);
