/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Memory by hand (N: variant 5) as JSON: failover-json(7), MEMORY. */

#include "daemon/bus/json-build.h"
#include "daemon/core/engine.h"

/* "assigned": the places of the pool, and who manages them; null where no VM has a region for that. "assignment": the
 * request under way or the last one, with how far it is; null where there was none. */
void json_put_assigned(struct json_builder *builder, struct json_object *root, const struct engine *engine);

/* What a request would do, as the "plan" of a report. NULL when out of memory; otherwise `*ret_result` is 0, or a
 * negative errno with the reason in `why` and an empty plan. */
struct json_object *assignment_plan_json(const struct engine *engine, const char *request, int *ret_result, char *why,
                                         size_t size);
