/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* All applications of this guest (H: the agent's four duties). */

#include "agents/guest/link.h"
#include "agents/guest/loss.h"
#include "agents/guest/supervised.h"
#include "agents/guest/units.h"

/* Where the agent finds things; borrowed strings. Tests feed it directories of their own. */
struct paths {
        const char *run_dir;    /* own state, cleared by a reboot */
        const char *sys_dir;    /* /sys */
        const char *proc_dir;   /* /proc, for memory figures and drills */
        const char *cgroup_dir; /* where cgroup v2 may be mounted */
};

struct supervisor {
        struct loop *loop;
        struct paths paths;
        struct process_table processes;
        struct units *units; /* NULL without systemd, or without a way to it */
        bool has_systemd;
        struct link *link;   /* borrowed; NULL before there is one */
        uint64_t last_request;
        struct loss loss;
        struct supervised *apps[POLICY_APPLICATIONS_MAX];
        size_t n_apps;
};

int supervisor_init(struct supervisor *supervisor, struct loop *loop, const struct paths *paths);
void supervisor_deinit(struct supervisor *supervisor);

/* Reads the run directory: the last configuration, and the applications that an earlier agent left running. What
 * cannot be read is logged, and lost. Returns 0, or -errno where the next agent may see more: out of memory. */
int supervisor_adopt(struct supervisor *supervisor);

/* Takes over the specs of a `configure` message, and writes it down for the next agent. */
void supervisor_configure(struct supervisor *supervisor, struct message *message);

/* NULL when unknown. */
struct supervised *supervisor_find(const struct supervisor *supervisor, const char *name);

/* Fills in the application reports of hello and pong. */
void supervisor_report(const struct supervisor *supervisor, struct message *message);

void supervisor_send(struct supervisor *supervisor, const struct message *message);
/* Answers a request; id 0 is nobody's and is skipped. */
void supervisor_answer(struct supervisor *supervisor, const char *app, uint64_t id, int result, uint64_t bytes,
                       const char *format, ...) __attribute__((format(printf, 6, 7)));
