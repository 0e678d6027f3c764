/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/demand.h"

/*
 * Memory as the policy promises it. The table's rows add up to the pool at any time, so everything that may have
 * to be held at once must fit: the monitor's own, memory servers on this host, QEMU's overhead of each VM, the reserve,
 * the base of each standby and the memory of each active VM, and the regions of hot-standby applications where the
 * active VM does not hold enough above its base to cover them (H: from state A to state B nothing is added; what does
 * not fit is asked for). Either member may be the active one, so the larger of the two ways counts. Regions of plain
 * applications come out of what is left, or are refused. Overflow excuses nobody: it is there for what was not planned.
 */

static struct policy_demand pair_demand(const struct pair_policy *pair, enum side active) {
        const struct member *a = &pair->members[active], *s = &pair->members[side_other(active)];
        uint64_t regions = 0, above = a->memory_bytes > a->base_bytes ? a->memory_bytes - a->base_bytes : 0;

        for (size_t i = 0; i < pair->n_applications; i++)
                if (pair->applications[i].kind == APPLICATION_HOT_STANDBY)
                        regions += pair->applications[i].memory_bytes;
        return (struct policy_demand) {
                .members_bytes = a->memory_bytes + s->base_bytes,
                .regions_bytes = regions > above ? regions - above : 0,
        };
}

/* See demand.h. A pair that was taken out is promised nothing. */
struct policy_demand policy_demand(const struct policy *policy) {
        struct policy_demand sum = { 0 };

        for (size_t i = 0; i < policy->n_pairs; i++) {
                struct policy_demand a = pair_demand(&policy->pairs[i], SIDE_A);
                struct policy_demand b = pair_demand(&policy->pairs[i], SIDE_B);
                struct policy_demand more =
                        a.members_bytes + a.regions_bytes >= b.members_bytes + b.regions_bytes ? a : b;

                if (policy->pairs[i].retired)
                        continue;
                sum.members_bytes += more.members_bytes;
                sum.regions_bytes += more.regions_bytes;
        }
        return sum;
}

/* See demand.h. */
uint64_t policy_needed_bytes(const struct policy *policy) {
        struct policy_demand demand = policy_demand(policy);
        uint64_t needed = policy_monitor_bytes(policy) + policy->reserve_bytes + demand.members_bytes +
                          demand.regions_bytes;

        for (size_t i = 0; i < policy->n_pairs; i++)
                needed += policy->pairs[i].retired ? 0 : policy->overhead_bytes * SIDE_MAX;
        return needed;
}

/* See demand.h. */
uint64_t policy_short_bytes(const struct policy *policy) {
        uint64_t needed = policy_needed_bytes(policy);

        return needed > policy->pool_bytes ? needed - policy->pool_bytes : 0;
}
