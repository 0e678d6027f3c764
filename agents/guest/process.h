/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One process that the agent started, or found again after its own restart, watched through a pidfd. The agent
 * is a subreaper: an application's orphans come to it and are reaped, so that they do not linger as zombies.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agents/guest/group.h"
#include "agents/guest/loop.h"
#include "policy/policy.h"

struct process;

struct process_exit {
        bool known;    /* false: it was not our child, the kernel keeps its status from us */
        bool signaled; /* status is a signal number, else an exit status */
        int status;
};

struct process_handler {
        void (*started)(void *userdata);                /* the program runs; may be NULL */
        void (*failed)(void *userdata, int error);      /* the program could not be executed (-errno) */
        void (*exited)(void *userdata, const struct process_exit *exit);
        void *userdata;
};

/* Every process of the agent, so that orphans can be told from them. */
struct process_table {
        struct loop *loop;
        struct process *first;
};

struct process {
        struct process_table *table;
        struct process_handler handler;
        pid_t pid; /* 0 while none runs */
        int pidfd, exec_fd;
        struct source source, exec_source;
        struct process *next;
};

struct process_options {
        const struct command *command;   /* executed; NULL: `function` runs in the child, its result is the status */
        int (*function)(void *userdata);
        void *function_userdata;
        const struct group *group;       /* joined; NULL: a session of its own and no mark */
        int node;                        /* memory is bound to it; -1: not */
        int regions_fd;                  /* a list that it inherits (region-pass.h); 0: none */
        int output_fd;                   /* its standard output and error; 0: the agent's own */
};

void process_init(struct process *process, struct process_table *table, const struct process_handler *handler);
/* Stops watching; the process itself lives on. */
void process_deinit(struct process *process);

/* Starts it. One of `failed` and `exited` follows, at most after `started`. 0 or -errno (nothing follows). */
int process_spawn(struct process *process, const struct process_options *options);

/* Watches a process that an earlier agent started. -ESRCH when that one is gone. */
int process_adopt(struct process *process, pid_t pid, uint64_t start_time);

/* Sends it a signal; nothing when it has ended. */
void process_signal(struct process *process, int signal_number);

/* Kills the process group of a helper (health check, stop command) and forgets it; nothing is called. */
void process_kill(struct process *process);

/* Reaps orphans. To be called at SIGCHLD. */
void process_table_reap(struct process_table *table);

/* When it started, in ticks since boot; -ESRCH when there is none, or a zombie. */
int process_start_time(pid_t pid, uint64_t *ret);
