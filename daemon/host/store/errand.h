/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One piece of work that may take long, such as reading from a disk that stalls: a thread of its own does it, and the
 * loop hears of its end, and of its time being over. Nothing waits for it, also not the end of the program.
 */

#include <systemd/sd-event.h>

#include "daemon/base/units.h"

struct errand;

struct errand_work {
        void (*run)(void *data);   /* in the thread */
        void (*late)(void *data);  /* on the loop, once: its time is over, the thread still works. May be NULL */
        void (*ended)(void *data); /* on the loop, once: the thread has come back, also late */
        void (*release)(void *data); /* by the last that holds it, loop or thread: after `ended`, or when abandoned */
};

/* Begins the work. `work` stays; `data` is released also where this fails. The errand lives until `ended` has returned.
 * `timeout_usec` USEC_INFINITY: never late. */
int errand_begin(sd_event *loop, const struct errand_work *work, void *data, usec_t timeout_usec, struct errand **ret);
/* Nothing is called on the loop any more. Takes NULL; returns NULL. */
struct errand *errand_abandon(struct errand *errand);
