/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the agent has to know again after its own restart: one small file an application in the run directory,
 * which the guest's own reboot clears. Each file is replaced as a whole, so a reader meets the old or the new.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "agents/protocol/message.h"

struct state_record {
        enum application_state state;
        uint64_t token; /* highest seen */
        pid_t pid;      /* of the application's first process, 0 for a unit or when none runs */
        uint64_t start_time; /* of that process, as /proc/PID/stat has it: tells a reused pid */
        int node;
        uint64_t bytes;
        enum failure_cause cause; /* of a failed one */
        int code;
        bool hard;
        char text[MESSAGE_TEXT_LEN];
};

/* Names match NAME_LEN's rule, so they are safe in a path. 0 or -errno. */
int state_write(const char *run_dir, const char *app, const struct state_record *record);
/* -ENOENT without one, -EBADMSG for a torn or foreign file. */
int state_read(const char *run_dir, const char *app, struct state_record *ret);
int state_remove(const char *run_dir, const char *app);

/* Names of the applications that have a file, at most `n_max`. Returns how many, or -errno. */
int state_list(const char *run_dir, char (*ret_apps)[NAME_LEN], size_t n_max);
