/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The shell around the engine: it owns the adapters, makes events out of what they report, steps the engine, and
 * carries its updates out. It decides nothing.
 */

#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/core/engine.h"

struct manager;

struct manager_options {
        const char *policy_path;
        const char *state_dir, *runtime_dir;
        const char *helper_path; /* socket of failoverd-helper, NULL: none */
        const char *bus_address; /* NULL: the usual one */
        const char *nbdkit, *pager_plugin; /* session mode: what a pager is started with */
        const char *standby;     /* session mode: the program failover-standby */
        bool user;               /* session bus */
        bool debug;              /* every event and action on standard error */
};

/* Builds and connects everything; the engine is ready when this returns. The loop must run for anything to
 * happen. Fails with a message for the operator: policy, store. */
int manager_new(sd_event *loop, const struct manager_options *options, struct manager **ret, struct error *error);
/* Leaves guests and applications alone. Takes NULL; returns NULL. */
struct manager *manager_free(struct manager *manager);

/* Reads the policy file again and lets it take effect. `ret_report` gets a heap text for people,
 * also on failure; where it is NULL, they find it in the log. */
int manager_reload(struct manager *manager, char **ret_report);
/* True while failoverctl can reach this failoverd: the bus is there and has given it its name. */
bool manager_is_reachable(const struct manager *manager);
/* One line on how many pairs are in which state, for sd_notify(STATUS=). Returns `buffer`. */
const char *manager_summary(const struct manager *manager, char *buffer, size_t size);
