/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An application's region as its guest sees it: what is there, taking it in, letting it go (H: resource attach
 * and detach), and whether the application could use it here. */

#include "agents/guest/supervised.h"

#define REGION_TIMEOUT_USEC (30 * USEC_PER_SEC)
#define REGION_POLL_USEC (3 * USEC_PER_MSEC) /* only while memory is awaited */

void region_init(struct supervised *app);
void region_deinit(struct supervised *app);

/* What an application on `node` would find: all that is online there; for -1, what the guest has available. In either
 * case without what its VM does not manage any more. */
uint64_t region_have(const struct supervisor *supervisor, int node);

/* As the application declares it where it starts (H: recognised when it starts): Environment=FAILOVER_KIND=... of
 * its unit, or a start command of the form `env FAILOVER_KIND=... COMMAND`. AUTO when it does not say. */
enum application_kind region_kind(const struct supervised *app);

/* Could it be started here? 0, or -errno and the reason in `text`. */
int region_check(const struct supervised *app, char text[MESSAGE_TEXT_LEN]);
