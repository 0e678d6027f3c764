/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of a pair's status: its members and its applications, as JSON. */

#include "daemon/bus/facts.h"
#include "daemon/bus/json-build.h"
#include "daemon/core/pair.h"

/* Ages and times of a document that tells of instants on CLOCK_BOOTTIME. `facts` may be NULL. */
struct json_builder json_builder_at(const struct host_facts *facts, usec_t now_usec);
/* {"side", "domain"}. */
void json_put_side(struct json_builder *builder, struct json_object *parent, const char *key,
                   const struct pair_policy *policy, enum side side);
/* "side", "domain" and "role". */
void json_put_member_name(struct json_builder *builder, struct json_object *object, const struct pair *pair,
                          enum side side);
/* "state" of the domain, and whether its "process" is alive; returns the latter object. */
struct json_object *json_put_member_life(struct json_builder *builder, struct json_object *object,
                                         const struct member_state *member);
/* One element each for side a and side b. */
void json_put_members(struct json_builder *builder, struct json_object *parent, const struct pair *pair,
                      const struct host_facts *facts);
/* What the policy says of an application's shared region: "region", "region_kind", "size_bytes" and "write_back_ms",
 * which is null for kinds that are written through. */
void json_put_state_region(struct json_builder *builder, struct json_object *object, const struct state_region *region);
void json_put_applications(struct json_builder *builder, struct json_object *parent, const struct pair *pair);

/* Restarts in place that are left in the present window. */
unsigned application_restarts_left(const struct pair *pair, int app, usec_t now_usec);
/* It was healthy when its agent last told, and that agent is heard. */
bool application_is_healthy(const struct pair *pair, int app);
