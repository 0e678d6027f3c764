/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The agent's event loop: epoll for descriptors, one timerfd for all deadlines. Sources and timers are embedded
 * in what they belong to and hold no memory of their own. One event is handled at a time, so a handler may
 * remove any source, its own included.
 */

#include <stdint.h>

#include "daemon/base/units.h"

struct loop;

struct source {
        int fd; /* borrowed; -1 while not watched */
        void (*handle)(void *userdata, uint32_t events);
        void *userdata;
};

struct timer {
        usec_t at_usec; /* CLOCK_BOOTTIME; 0 while not armed */
        void (*handle)(void *userdata);
        void *userdata;
        struct timer *next;
};

/* Now, on CLOCK_BOOTTIME. */
usec_t loop_now(void);

int loop_new(struct loop **ret);
struct loop *loop_free(struct loop *loop);

/* Watches `fd` for `events` (EPOLL...). `source` must stay until loop_unwatch(). */
int loop_watch(struct loop *loop, struct source *source, int fd, uint32_t events);
/* Harmless on a source that is not watched. Does not close the descriptor. */
void loop_unwatch(struct loop *loop, struct source *source);

/* Calls the timer's handler once at that time; a time that has passed means at the next turn. */
void loop_arm(struct loop *loop, struct timer *timer, usec_t at_usec);
void loop_disarm(struct loop *loop, struct timer *timer);

/* Runs until loop_quit(), and may be run again. Returns 0 or a negative errno from epoll. */
int loop_run(struct loop *loop);
void loop_quit(struct loop *loop);
