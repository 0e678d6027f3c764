/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "policy/policy.h"

/* What all pairs may come to hold at once: the VMs, and the hot-standby regions that no active VM covers. */
struct policy_demand {
        uint64_t members_bytes, regions_bytes;
};

struct policy_demand policy_demand(const struct policy *policy);
/* All that has to fit into the pool: the demand, the monitor's row, the reserve and QEMU's overhead of each member. */
uint64_t policy_needed_bytes(const struct policy *policy);
/* By how much the pool is smaller than that; 0 of every policy that a check has passed. */
uint64_t policy_short_bytes(const struct policy *policy);
