/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Shared regions that the policy does not name any more, or not at that memory server: what their applications stored
 * is there until somebody drops it. */

#include <json-c/json.h>
#include <stdbool.h>

#include "daemon/base/units.h"

/* The region of that pair and name in a document of REGIONS (failover-json(7)); NULL: none. */
struct json_object *region_of_policy(struct json_object *root, const char *pair, const char *region);
/* Whether the policy has the region at the server of that control socket, by whatever path. */
bool region_is_at(struct json_object *region, const char *control);

/* Whether that is a pair of the policy in force: what it has at a server by a plain name is a region. Of another owner
 * it may be one of a pair that left the policy, or what the pager of a VM has there, which that VM lives on. */
bool region_pair_is_known(struct json_object *root, const char *pair);

/* Adds "left" to a document of REGIONS: what the policy's memory servers have of this host by a name that a region
 * could have, and that is none of the policy's there, nor a VM's overflow. A server that does not answer is noted in
 * "left_unknown". -ENOMEM. */
int region_left_ask(struct json_object *root, usec_t timeout_usec);
/* Prints it, if there is any. -ENOMEM. */
int region_left_print(struct json_object *root);
