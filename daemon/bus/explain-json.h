/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Why failoverd fails a pair over, or does not: `failoverctl explain` as JSON (failover-json(7)). The same document is
 * kept with each failover, as it was at the decision. */

#include "daemon/bus/facts.h"
#include "daemon/core/explain.h"

struct json_object;

/* `slot` names a pair that exists; `facts` may be NULL. The caller owns it; NULL when out of memory. */
struct json_object *explain_json(const struct engine *engine, int slot, const struct host_facts *facts,
                                 usec_t now_usec);
