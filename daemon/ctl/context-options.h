/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the command line says about contexts, as a job for daemon/pages. */

#include "daemon/ctl/ctl.h"
#include "daemon/pages/context.h"

struct context_command {
        struct context_servers servers;
        struct context_job job;
        char *spool, *key, *xml; /* owned */
        char *words[CONTEXT_SERVERS_MAX]; /* owned: what `servers` points into */
        struct policy *policy;            /* owned: the same; NULL: not needed */
        const char *policy_path;          /* of the failoverd that may govern the VM */
        usec_t told_usec;                 /* when progress was last shown */
        int shown_phase;                  /* of it; -1: none */
};

/* Takes the options; CTL_OK, or an exit code with the message printed. Ctrl-C gives the job up from here on, a second
 * one ends the program at once; a signal that is ignored stays ignored. The job points into the command, which stays
 * where it is. */
int context_command_init(struct context_command *command, const struct ctl *ctl);
void context_command_deinit(struct context_command *command);
/* Where there is nothing to be put back: the first Ctrl-C ends the program too. */
void context_command_end_at_once(void);
/* The line with the progress ends. */
void context_command_done(struct context_command *command);
