/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A stream's reading end (R: streaming). Behind the window at one address lie several real buffers; the program works
 * on one, and the others are filled meanwhile. A flip puts the next full one into the window by mapping it there:
 * nothing is copied.
 */

#include "agents/region/region-internal.h"

/* Opens the region as a stream of blocks of its size. */
int region_stream_open(struct failover_region *region, const struct failover_region_options *options,
                       struct error *error);
/* -EINVAL where it is none, -ETIMEDOUT, -EPIPE. */
int region_stream_flip(struct failover_region *region, struct error *error);
/* The window. */
void *region_stream_data(struct failover_region *region);
void region_stream_free(struct failover_region *region);
