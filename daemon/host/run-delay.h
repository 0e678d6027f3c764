/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How long a process waited for a processor: a guest whose QEMU does not get to run cannot answer, and that is the
 * host's doing. Out of /proc/PID/task/TID/schedstat, which never blocks.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/units.h"

#define RUN_DELAY_THREADS_MAX 64 /* more are not looked at */

struct run_delay {
        usec_t seen_usec; /* CLOCK_MONOTONIC, 0: never */
        struct run_delay_thread {
                int tid;
                uint64_t ran_nsec, waited_nsec;
        } threads[RUN_DELAY_THREADS_MAX];
        size_t n_threads;
};

/* Looks at all threads of `proc`/PID. `ret_usec`: of the one that waited most since the last look, how long; 0 at the
 * first. A thread that is ready and has neither run nor been told to have waited has waited all the time. -ESRCH or
 * another errno where the process cannot be looked at. */
int run_delay_look(struct run_delay *delay, const char *proc, int pid, usec_t *ret_usec);
