/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a drill came to as JSON, the same in status, in history and in the report of its command (failover-json(7)). */

#include "daemon/bus/json-build.h"
#include "daemon/core/drill.h"

/* Fills `object` with the verdict. `pair` is the pair's name; the builder knows the wall clock. */
void json_fill_drill(struct json_builder *builder, struct json_object *object, const char *pair,
                     const struct drill_result *drill);
