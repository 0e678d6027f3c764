/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The canary of one application, tried in a rehearsal on the side that does not run it: its command is run once, in a
 * session of its own, with a time-out; exit status 0 is good, and the end of what it prints goes to the host. Without
 * a command, that the application could be started here is all (region_check()).
 */

#include "agents/guest/process.h"
#include "agents/protocol/message.h"

#define CANARY_OUTPUT_LEN 200 /* of what it prints: the end */

struct supervised;

struct canary {
        struct process process;
        struct timer timer;
        struct source source;
        int output_fd; /* what it prints, the reading end; -1 while it does not run */
        pid_t pid;
        uint64_t id;   /* answer that the host awaits; 0: none */
        char output[CANARY_OUTPUT_LEN + 1];
        size_t n_output;
};

void canary_init(struct supervised *app);
/* Ends it, and answers that it was given up. */
void canary_cancel(struct supervised *app);

/* The host's message, answered by a `result` later. A second one takes the place of the first. */
void canary_begin(struct supervised *app, const struct message *message);
