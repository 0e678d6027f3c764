/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Which of many channels to agents have something: all of them behind one descriptor of the loop. sd-event handles one
 * event and asks the kernel anew, which then looks at all that are still ready: where hundreds of guests answer at
 * once that grows with their square. Here a few are taken with each question. For the same reason one timer looks at
 * all of them now and then, in place of one each.
 *
 * Every function is called on the loop's thread, and may be called from within `ready`.
 */

#include <stdint.h>
#include <systemd/sd-event.h>

#include "daemon/base/units.h"

struct agent_poll;

/* One channel's place in it, part of the caller's structure. */
struct agent_poll_entry {
        int fd; /* borrowed; -1: it is not in it */
        void (*ready)(void *userdata, uint32_t events);
        void (*tick)(void *userdata);
        void *userdata;
        struct agent_poll_entry *previous, *next; /* its own */
};

/* `tick_usec`: how often each is called. Negative errno. */
int agent_poll_new(sd_event *loop, usec_t tick_usec, struct agent_poll **ret);
/* Nothing may be in it any more. Takes NULL; returns NULL. */
struct agent_poll *agent_poll_free(struct agent_poll *poll);

/* Tells from now on of EPOLLIN, EPOLLOUT as in `events`, and of the peer's end. The entry is borrowed until it is taken
 * out. Negative errno of epoll_ctl(2). */
int agent_poll_add(struct agent_poll *poll, struct agent_poll_entry *entry, int fd, uint32_t events);
/* Asks for others; with 0 the peer's end is told once at most, so that the loop does not spin on it. */
void agent_poll_set(struct agent_poll *poll, struct agent_poll_entry *entry, uint32_t events);
/* Nothing is told any more, not even what was ready before. To be called while the descriptor is open. */
void agent_poll_remove(struct agent_poll *poll, struct agent_poll_entry *entry);
