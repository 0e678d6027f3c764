/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the holders of shared regions say of them at their control sockets, where this user may ask there. */

#include <json-c/json.h>
#include <stdbool.h>

#include "daemon/base/units.h"

/* "held_text" where it is that: lost, if somebody works in it. */
#define REGION_HOLDERS_NONE "the holder has no such region"

/* Adds "held", and where that is null "held_text", to the regions of REGIONS (failover-json(7)), or to those that are
 * `wanted`. A server that does not answer within the time is asked once. -ENOMEM. */
int region_holders_ask(struct json_object *root, usec_t timeout_usec, bool (*wanted)(struct json_object *region));
