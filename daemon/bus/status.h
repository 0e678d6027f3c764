/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The documents that failoverd hands out: status, table, metrics. Versioned JSON (failover-json(7)); every
 * fact in it stands with its age in milliseconds. Pure functions of the engine, the host's facts and the time.
 */

#include <json-c/json.h>

#include "daemon/bus/facts.h"
#include "daemon/core/engine.h"

#define JSON_VERSION 1

/* The whole status. `facts` may be NULL. The caller owns the object; NULL when out of memory. */
struct json_object *status_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec);

/* One pair of it, as it stands in "pairs". `slot` names a pair that exists. */
struct json_object *status_pair_json(const struct engine *engine, int slot, const struct host_facts *facts,
                                     usec_t now_usec);

/* One flow, as it stands in a pair's "flow" and "last_flow". */
struct json_object *flow_json(const struct pair_policy *policy, const struct flow *flow,
                              const struct host_facts *facts, usec_t now_usec);

/* The resource management table: rows, and the memory governed that they add up to. */
struct json_object *table_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec);

/* Who manages and who uses the memory of each region, range by range. */
struct json_object *memory_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec);

/* Shared regions of the policy, and who has the right to write them; names that programs registered. */
struct json_object *regions_json(const struct engine *engine, const struct host_facts *facts, usec_t now_usec);

/* What a switch, return or drill would do, step by step, from the facts as they are now. */
struct json_object *plan_json(const struct engine *engine, int slot, const struct operator_command *command);

/* OpenMetrics text, ends with "# EOF\n". Returns 0 and a heap string, or -ENOMEM. */
int metrics_text(const struct engine *engine, const struct host_facts *facts, usec_t now_usec, char **ret_text);

/* Name of a region that is unique in the table and stays: "monitor", "overhead", "reserve", "unused",
 * "PAIR:a" (the system of a VM), "PAIR:a:APP", "PAIR:a:APP:rehearsal". */
#define REGION_KEY_LEN (2 * NAME_LEN + 16)
const char *region_key(const struct engine *engine, const struct region *region, char buffer[REGION_KEY_LEN]);
/* A holder for people: the domain's name, or "monitor". Valid as long as the engine's policy. */
const char *holder_text(const struct engine *engine, struct holder holder);
