/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* History as JSON (failover-json(7)), from what the store has read. */

#include <json-c/json.h>

#include "daemon/host/store/store-history.h"

struct history_query {
        const char *id;              /* "" all, the name of a pair or of a VM that stands alone, or one failover's id
                                      * "PAIR-NUMBER" */
        const struct policy *policy; /* gives domain names to sides; may be NULL */
        usec_t realtime_usec;        /* now, CLOCK_REALTIME */
};

/* Name of the pair that `id` is about, to ask the store for: the pair, or the part before the number. "" for all.
 * `policy` decides where a pair's own name ends like a number. Returns `buffer`. */
const char *history_pair(const struct history_query *query, char buffer[NAME_LEN]);

/* Flows, drills and events. Where the id names one failover: that one, with its drill, the events of its pair from
 * shortly before it began to its end, what was believed at its decision, and the files kept as evidence. -ENOENT where
 * nothing fits, -ENOMEM. The caller owns `*ret`. */
int history_json(const struct history_query *query, const struct history_rows *rows, struct json_object **ret);
