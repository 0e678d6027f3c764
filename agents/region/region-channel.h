/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The dedicated channel between this region and its other end (R). Its address is what the page table's entries hold,
 * so it stays the same while the connections behind it are cut and made again. One thread at a time makes it and calls
 * it.
 */

#include "agents/pager/channel.h"
#include "agents/region/region-source.h"

struct region_channel {
        struct region_source source; /* its own copy */
        const char *suffix;          /* of the export's name: "", ".write" or ".epoch" */
        unsigned n_connections;
        struct channel *channel;     /* NULL: not made */
        _Atomic uint64_t n_made;
};

int region_channel_init(struct region_channel *channel, const struct region_source *source, const char *suffix,
                        unsigned n_connections);
/* No call comes any more; those under way end. */
void region_channel_deinit(struct region_channel *channel);

bool region_channel_is_up(struct region_channel *channel);
/* Makes it where it is not up. Calls over a broken one have ended when this returns. Errors as in peer.h and
 * names-client.h, and -ERANGE where the server has less than the region's size. */
int region_channel_make(struct region_channel *channel, usec_t timeout_usec, struct error *error);
/* Breaks and forgets its connections. */
void region_channel_drop(struct region_channel *channel);
