/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The holders of applications' shared regions (R), asked over their control sockets: for the right to write, which a
 * grant takes from whoever had it. What a program needs to open its regions is made here out of the capabilities that
 * come back, and is kept in memory alone: after a restart of failoverd a new grant makes another one.
 */

#include <systemd/sd-event.h>

#include "daemon/core/update.h"
#include "daemon/host/sink.h"

struct region_holder;

/* `sink` gets an EVENT_DONE for each grant, `tended` what has come of looking after mirrors (region_take_tend()), once
 * for each region of an application. Between asking and answer the policy may have changed: by name. -ENOMEM. */
struct region_look_after {
        const char *pair, *application, *region;
        uint64_t token;
        int result;
        const char *text;
};
typedef void (*region_tended_t)(void *userdata, const struct region_look_after *done);
int region_holder_new(sd_event *loop, const struct sink *sink, region_tended_t tended, void *userdata,
                      struct region_holder **ret);
/* Takes NULL; returns NULL. Calls under way are not waited for. */
struct region_holder *region_holder_free(struct region_holder *holder);

/* Carries ACTION_GRANT_STATE out, off the loop, for that application of that pair, whose names and holders are the
 * policy's; all of that is copied. -ENOMEM, -EAGAIN where too many of that application have not come back, and the
 * errors of errand_begin(): nothing follows then. */
int region_holder_grant(struct region_holder *holder, const struct policy *policy, const struct pair_policy *pair,
                        const struct action *action);

/* Looks after the mirrors of that application's regions, which are in use under `token`, off the loop. -ENOMEM,
 * -EAGAIN where something of that application, or enough of others', is under way. */
int region_holder_tend(struct region_holder *holder, const struct policy *policy, const struct pair_policy *pair,
                       int app, uint64_t token);

/* The regions of an application as a program is told of them (agents/protocol/region-list.h), as granted under that
 * token, or NULL. Secret. Valid until the next grant. */
const char *region_holder_list(const struct region_holder *holder, const char *pair, const char *application,
                               uint64_t token);
/* When all of its regions were granted under that token (CLOCK_BOOTTIME); 0: not by this failoverd. */
usec_t region_holder_since(const struct region_holder *holder, const char *pair, const char *application,
                           uint64_t token);

/* This host, as it names the spaces of its regions. */
void region_holder_node(char ret[static NAME_LEN]);
