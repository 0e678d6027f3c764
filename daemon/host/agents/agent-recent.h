/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The last lines that a guest's agent has sent, for people who look for what went wrong. */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/base/units.h"

#define AGENT_RECENT_MAX 16
#define AGENT_RECENT_LEN 1024 /* of a line; what is longer is cut off */

struct agent_recent_line {
        char *text; /* owned */
        usec_t time_usec;
        bool pong;
};

/* All zero: no line yet. */
struct agent_recent {
        struct agent_recent_line lines[AGENT_RECENT_MAX];
        unsigned n_lines; /* ever */
};

void agent_recent_deinit(struct agent_recent *recent);
/* A line came at `now_usec`; of pongs in a row the last is kept. A line for which there is no memory is forgotten. */
void agent_recent_add(struct agent_recent *recent, const char *line, size_t length, bool pong, usec_t now_usec);
/* Oldest first, one a line, each with its age; printable. A heap string that the caller frees, NULL when out of
 * memory. */
char *agent_recent_text(const struct agent_recent *recent, usec_t now_usec);
