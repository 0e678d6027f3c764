/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Could a failover happen now? `failoverctl check` as JSON (failover-json(7)), and the line of it in status. */

#include "daemon/bus/facts.h"
#include "daemon/bus/json-build.h"
#include "daemon/core/readiness.h"

/* The whole answer, for one pair, one VM that stands alone (NO_PAIR and `vm`), or (NO_PAIR and NULL) all. `facts` may
 * be NULL. The caller owns it; NULL when out of memory. */
struct json_object *check_json(const struct engine *engine, int slot, const char *vm, const struct host_facts *facts,
                               usec_t now_usec);

/* A pair's "readiness" in status: the level and the worst that keeps it from being better. */
void json_put_readiness(struct json_builder *builder, struct json_object *parent, const struct engine *engine,
                        const struct pair *pair);
