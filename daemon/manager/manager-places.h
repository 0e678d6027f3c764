/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which overflow disks there are, or should be: the places that manager-overflow.c looks at. */

#include "daemon/manager/manager-overflow.h"

/* Whose disk may be attached, or has its pager here: the policy's, those that domains have, and configured ones. */
void overflow_find_places(struct overflow *overflow);
/* The same of one pair, as far as the policy and its domains say. */
void overflow_find_places_of(struct overflow *overflow, int slot);
/* Forgets those of which nothing is left. */
void overflow_drop_places(struct overflow *overflow, bool (*is_over)(const struct overflow_place *place));
