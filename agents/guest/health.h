/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The health check of one application: its command is run at an interval, with a time-out, in a session of its
 * own. So many failures in a row and the application counts as failed; within the grace after its start they do
 * not count before a check has passed. */

#include "agents/guest/process.h"
#include "agents/protocol/message.h"

struct health_handler {
        void (*passed)(void *userdata);                                   /* each time */
        void (*failed)(void *userdata, int status, const char *text);     /* once; checking has ended */
        void *userdata;
};

struct health {
        struct loop *loop;
        struct health_handler handler;
        const struct application_spec *spec; /* borrowed while it runs */
        struct process process;
        struct timer timer;
        unsigned failures;  /* in a row */
        usec_t grace_usec;  /* failures do not count before; 0 once a check has passed */
};

void health_init(struct health *health, struct process_table *table, const struct health_handler *handler);
/* First check now. Without a health command it passes once at the next turn and that is all. */
void health_start(struct health *health, const struct application_spec *spec);
void health_stop(struct health *health);
