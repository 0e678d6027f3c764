/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that this guest has and its VM does not manage any more (N: variant 4, the loser is told at once). It is taken
 * away piece by piece, as the other VM needs it, or at once; what is still there may be used meanwhile, but nothing is
 * to be started there that could not last. So from the moment that the host says so, it does not count: not as room
 * for an application, not in what the agent tells of the guest's memory, and the applications together are bounded.
 */

#include <stdbool.h>

#include "agents/protocol/message.h"

struct loss_region {
        char app[NAME_LEN]; /* empty: unused */
        int node;
        uint64_t manages_bytes; /* what is online beyond that is lost */
        bool swap;              /* applications are bounded by what the VM manages, at once */
};

struct loss {
        struct loss_region regions[POLICY_APPLICATIONS_MAX];
        uint64_t limit_bytes; /* of all applications, in force; 0: none */
        uint64_t group_bytes; /* of that, of those that are commands, as it was written; 0: none */
        bool known;           /* what an agent before this one had left in force has been looked at */
};

/* A systemd unit, or all commands together. */
struct loss_share {
        const char *unit;     /* borrowed; NULL: the commands */
        bool whole;           /* it is confined to memory of which nothing is lost: it counts, and is not bounded */
        uint64_t used_bytes;
        uint64_t limit_bytes; /* 0: none */
};

/* Node 0 is the guest's own, and where a region has none its memory cannot be told apart: they lose nothing. */
void loss_set(struct loss *loss, const struct message *manages);
/* The VM manages so much of the application's region at least; UINT64_MAX: all. */
void loss_regain(struct loss *loss, const char *app, uint64_t bytes);
/* A new session with the host: it says again what is lost. */
void loss_forget(struct loss *loss);

/* How much of a node, or with -1 of the guest, is lost and still there; and of that, what nothing uses. */
uint64_t loss_bytes(const struct loss *loss, const char *sys_dir, int node);
uint64_t loss_spare_bytes(const struct loss *loss, const char *sys_dir, int node);

/* Gives each its part of a limit for all: what it uses and as much more as every other, or less than it uses where all
 * together use more. */
void loss_divide(uint64_t limit_bytes, struct loss_share *shares, size_t n_shares);

/* Bounds the applications together, or lets them go, as it is now: commands by memory.high of the group that theirs
 * are in; of the units, whose use is given, it says what their bounds are to be. To be called again every now and then:
 * less is lost as memory goes, and a bound falls as they use less. */
void loss_bound(struct loss *loss, const char *sys_dir, const char *proc_dir, const char *cgroup_dir,
                struct loss_share *units, size_t n_units);
