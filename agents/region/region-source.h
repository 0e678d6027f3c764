/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a region's other end is, and how it is to be shared: from what the program says, what its surroundings were
 * told (agents/protocol/region-list.h), and the name server. */

#include <stdbool.h>

#include "agents/protocol/region-list.h"
#include "agents/region/failover-region.h"
#include "daemon/base/units.h"

#define REGION_DEADLINE_MSEC 5000

struct region_source {
        char name[NAME_LEN];
        char *uri;   /* owned, secret; NULL: the name server is to be asked */
        char *names; /* owned: its socket, where the URI is from there */
        char *psk_file, *certificates; /* owned; NULL: none */
        uint64_t size_bytes;           /* 0: not known yet */
        int kind;
        bool write, epochs, reports;   /* as its entry in the list says (region-list.h) */
        uint64_t bandwidth_bytes;
        usec_t deadline_usec, write_back_usec;
};

/* Asks nobody yet. -EINVAL for options that make no sense, -EPERM for writing to what is configured to be read. */
int region_source_find(const char *name, const struct failover_region_options *options, struct region_source *ret,
                       struct error *error);
/* Makes sure that there is a URI. Errors as in names-client.h. */
int region_source_resolve(struct region_source *source, usec_t timeout_usec, struct error *error);
/* The other end was not there: where the name server said so, it is asked anew next time. */
void region_source_doubt(struct region_source *source);
int region_source_copy(const struct region_source *from, struct region_source *ret);
void region_source_deinit(struct region_source *source);

/* The URI of another export beside it: SUFFIX at the end of its path. Heap, secret; NULL: out of memory. */
char *region_uri_beside(const char *uri, const char *suffix);
