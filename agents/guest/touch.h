/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that was plugged is tried, in a rehearsal: a process of its own takes it, writes a pattern over all of it,
 * reads it back and ends. It also ends with the agent, and as soon as the host wants the region for something else.
 */

#include "agents/guest/process.h"
#include "agents/protocol/message.h"

struct supervised;
struct touch_report;

struct touch {
        struct process process;
        uint64_t id;    /* answer that the host awaits; 0: none */
        uint64_t bytes; /* asked for */
        struct touch_report *report; /* shared with the process; NULL while there is none */
};

void touch_init(struct supervised *app);
/* Ends it, and answers that it was given up. */
void touch_cancel(struct supervised *app);

/* The host's message, answered by a `result` later. A second one takes the place of the first. */
void touch_begin(struct supervised *app, const struct message *message);

/* What the process does: takes up to `bytes`, in steps, as long as `room` says that enough is left beside, writes a
 * pattern over all of it and reads it back. Returns 0 with what it took in `ret_bytes`, -EIO where something else was
 * read than was written, or another -errno. */
int touch_memory(uint64_t bytes, uint64_t (*room)(void *userdata), void *userdata, uint64_t *ret_bytes);
