/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Applications that are systemd units, over the system bus. Everything is asynchronous: a systemd that hangs
 * must not keep the agent from answering its host. units-none.c stands in where the agent is built without
 * libsystemd; at run time a guest without /run/systemd/system is the same.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agents/guest/file.h"
#include "agents/guest/loss.h"
#include "agents/guest/loop.h"
#include "policy/policy.h"

struct units;

enum unit_state {
        UNIT_UNKNOWN, /* not loaded, or not asked yet */
        UNIT_INACTIVE,
        UNIT_CHANGING, /* activating, deactivating, reloading */
        UNIT_ACTIVE,
        UNIT_FAILED,
};

struct unit_status {
        enum unit_state state;
        bool loaded;
        char result[32];   /* systemd's word: "success", "exit-code", "signal", "oom-kill", "watchdog", ... */
        bool signaled;     /* main process: status is a signal number */
        int status;
        char control_group[PATH_LENGTH / 2]; /* below the cgroup root; empty while it has none */
        enum application_kind kind;          /* Environment=FAILOVER_KIND=...; AUTO without it */
};

struct units_handler {
        /* A property of a watched unit changed. */
        void (*changed)(void *userdata, const char *unit, const struct unit_status *status);
        /* A start or stop has ended: 0, or -errno with a text for people. */
        void (*done)(void *userdata, const char *unit, bool start, int result, const char *text);
        /* The guest begins an orderly stop: "shutdown" or "reboot". */
        void (*going)(void *userdata, const char *text);
        void *userdata;
};

/* Connects, now or as soon as there is a bus, and again whenever that is lost. `run_dir` is borrowed.
 * -EOPNOTSUPP in a guest without systemd, or -ENOMEM. */
int units_new(struct loop *loop, const char *run_dir, const struct units_handler *handler, struct units **ret);
/* Units that are bounded have their own limits again. */
struct units *units_free(struct units *units);

/* The text for hello: "systemd 252". */
const char *units_system(const struct units *units);

/* Begins to watch a unit; its first status comes as `changed`. 0, also when it is watched, or -errno. */
int units_watch(struct units *units, const char *unit);
/* What is known of a watched unit; NULL for any other. Valid until the next event. */
const struct unit_status *units_status(const struct units *units, const char *unit);
/* Whether a watched unit could be started: 0; -ENOENT where systemd has no such unit, -ENOTCONN while systemd cannot be
 * asked, -EOPNOTSUPP where there is none. */
int units_check(const struct units *units, const char *unit);

/* Confines the unit to the memory of `node` (-1: anywhere) for this run, then starts it. `done` follows. */
int units_start(struct units *units, const char *unit, int node);
int units_stop(struct units *units, const char *unit);

/* Bounds the memory of each unit of `shares` that has a limit there (MemoryHigh=, for this run), never above what it
 * has of its own; every other watched unit has its own again. What an operator sets meanwhile counts as its own. */
void units_bound(struct units *units, const struct loss_share *shares, size_t n_shares);
