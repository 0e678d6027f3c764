/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What assigned-plan.c (what a request comes to) and engine-assign.c (carrying it out) share. */

#include "daemon/core/pair-internal.h"

const struct pair *assigned_pair_of(const struct engine *engine, struct holder vm);
bool assigned_is_fenced(const struct pair *pair, enum side side);
/* What a VM manages in the map. -E2BIG where that is in more stretches than a record holds. */
int assigned_collect(const struct rights *map, struct holder vm, struct assigned *ret);
/* In the map each VM of the request under way manages what it has. */
int assigned_keep_what_is_there(const struct engine *engine, struct rights *map);
/* assigned_plan() though a request is under way; `without_promise`: as if its VMs managed what they have now, and
 * `ret_map` says so too; `partly`: amounts are cut to what the pool has. */
int assigned_plan_beside(const struct engine *engine, const char *text, bool without_promise, bool partly,
                         struct assignment *ret_plan, struct rights *ret_map, char *why, size_t size);
