/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "policy/check.h"
#include "policy/demand.h"

static const char *side_key(enum side side) {
        return side == SIDE_A ? "active" : "standby";
}

/* True where every size that the sum rests on could be read. */
static bool sizes_are_known(const struct check *c) {
        char path[NODE_PATH_LEN];

        if (!check_usable(c, "pool") || (c->policy->n_pairs == 0 && !check_usable(c, "pairs")))
                return false;
        for (size_t i = 0; i < c->policy->n_vms; i++)
                if (!check_usable(c, check_path(path, "vms[%zu].memory", i)))
                        return false;
        for (size_t i = 0; i < c->policy->n_pairs; i++) {
                for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                        if (!check_usable(c, check_path(path, "pairs[%zu].%s", i, side_key(side))))
                                return false;
                if (c->policy->pairs[i].n_applications == 0)
                        return false;
                for (size_t j = 0; j < c->policy->pairs[i].n_applications; j++)
                        if (!check_usable(c, check_path(path, "pairs[%zu].applications[%zu].memory", i, j)) ||
                            !check_usable(c, check_path(path, "pairs[%zu].applications[%zu].kind", i, j)))
                                return false;
        }
        return true;
}

static void check_sum(struct check *c) {
        const struct policy *p = c->policy;
        uint64_t overhead = p->overhead_bytes * p->n_pairs * SIDE_MAX, vms = policy_vms_bytes(p);
        uint64_t servers = policy_monitor_bytes(p) - p->monitor_bytes - vms;
        struct policy_demand demand = policy_demand(p);
        char text[10][UNITS_TEXT_MAX], of_servers[UNITS_TEXT_MAX + 32] = "", of_vms[UNITS_TEXT_MAX + 64] = "";

        if (!sizes_are_known(c) || policy_short_bytes(p) == 0)
                return;
        if (servers > 0)
                snprintf(of_servers, sizeof(of_servers), "memory servers here %s, ", size_format(text[8], servers));
        if (vms > 0)
                snprintf(of_vms, sizeof(of_vms), "VMs that stand alone, with overhead, %s, ",
                         size_format(text[9], vms));
        check_error(c, "pool.memory", "%s is too small: %s are needed, made up of monitor %s, %s%soverhead of %zu VMs "
                    "%s, reserve %s, VMs %s and hot-standby regions that no active VM covers %s; add %s",
                    size_format(text[0], p->pool_bytes), size_format(text[1], policy_needed_bytes(p)),
                    size_format(text[2], p->monitor_bytes), of_servers, of_vms, p->n_pairs * SIDE_MAX,
                    size_format(text[3], overhead),
                    size_format(text[4], p->reserve_bytes), size_format(text[5], demand.members_bytes),
                    size_format(text[6], demand.regions_bytes), size_format(text[7], policy_short_bytes(p)));
}

/* False where the extent is itself wrong, so that nothing can be measured by it. */
static bool check_extent(struct check *c) {
        uint64_t extent = c->policy->extent_bytes;
        char text[UNITS_TEXT_MAX], other[UNITS_TEXT_MAX];

        if (!check_usable(c, "pool.extent"))
                return false;
        if ((extent & (extent - 1)) == 0)
                return true;
        while (extent & (extent - 1))
                extent &= extent - 1;
        check_broken(c, "pool.extent", "%s is not a power of two; write %s", size_format(text, c->policy->extent_bytes),
                     size_format(other, extent));
        return false;
}

static void check_multiple(struct check *c, const char *path, const char *what, uint64_t bytes) {
        uint64_t extent = c->policy->extent_bytes, up = (bytes + extent - 1) / extent * extent;
        char text[UNITS_TEXT_MAX], unit[UNITS_TEXT_MAX], better[UNITS_TEXT_MAX];

        if (bytes % extent == 0 || !check_usable(c, path))
                return;
        check_broken(c, path, "%s %s, not a multiple of the extent of %s; the next is %s", what,
                     size_format(text, bytes), size_format(unit, extent), size_format(better, up));
}

/* What a member holds above its base is plugged into the devices of its applications. */
static void check_above_base(struct check *c, size_t pair, enum side side, bool extent_known) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        const struct member *m = &p->members[side];
        char path[NODE_PATH_LEN], other[NODE_PATH_LEN], x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];
        uint64_t room = 0;

        check_path(path, "pairs[%zu].%s.memory", pair, side_key(side));
        if (!check_usable(c, path) || !check_usable(c, check_path(other, "pairs[%zu].%s.base", pair, side_key(side))) ||
            m->base_bytes == 0)
                return;
        if (m->memory_bytes < m->base_bytes) {
                check_broken(c, path, "%s is less than the base of %s, which it includes; write at least that",
                             size_format(x, m->memory_bytes), size_format(y, m->base_bytes));
                return;
        }
        if (extent_known)
                check_multiple(c, path, "less the base is", m->memory_bytes - m->base_bytes);
        if (p->n_applications == 0 || !check_usable(c, check_path(other, "pairs[%zu].applications", pair)))
                return;
        for (size_t i = 0; i < p->n_applications; i++)
                if (p->applications[i].kind != APPLICATION_MEMORY)
                        room += p->applications[i].memory_bytes;
        if (m->memory_bytes - m->base_bytes > room)
                check_error(c, path, "%s lie above the base, and the applications' devices take %s together; raise the "
                            "base or lower the memory", size_format(x, m->memory_bytes - m->base_bytes),
                            size_format(y, room));
}

static void check_floor(struct check *c, size_t pair, enum side side) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        const struct member *m = &p->members[side];
        char path[NODE_PATH_LEN], other[NODE_PATH_LEN], x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX], z[UNITS_TEXT_MAX];
        uint64_t floor = member_floor_bytes(p, side);

        check_path(path, "pairs[%zu].%s.base", pair, side_key(side));
        if (!check_usable(c, path) || !check_usable(c, check_path(other, "pairs[%zu].%s", pair, side_key(side))))
                return;
        if (m->base_bytes % MIB != 0)
                check_error(c, path, "%s is not a multiple of 1MiB; round it up", size_format(x, m->base_bytes));
        if (m->base_bytes < floor)
                check_error(c, path,
                            "%s is too small: 96MiB for the guest's own system and 1.6%% of the %s that may be "
                            "plugged, for their page structures, make %s; write at least that",
                            size_format(x, m->base_bytes), size_format(y, member_pluggable_bytes(p, side)),
                            size_format(z, floor));
}

/* A lazy handover that the pool's own keys make an eager one. */
static void check_overcommit(struct check *c) {
        const struct policy *p = c->policy;
        char path[NODE_PATH_LEN], text[2][UNITS_TEXT_MAX];
        size_t n_lazy = 0;

        for (size_t i = 0; i < p->n_pairs; i++) {
                n_lazy += p->pairs[i].handover == HANDOVER_LAZY;
                for (size_t j = 0; p->overcommit == OVERCOMMIT_SWAP && p->swap_bytes && j < p->pairs[i].n_applications;
                     j++) {
                        const struct application *application = &p->pairs[i].applications[j];

                        check_path(path, "pairs[%zu].applications[%zu].memory", i, j);
                        if (p->pairs[i].handover == HANDOVER_LAZY && application->kind == APPLICATION_HOT_STANDBY &&
                            application->memory_bytes > p->swap_bytes)
                                check_warning(c, path, "%s are more than pool.swap of %s: its handover is done as "
                                              "eager", size_format(text[0], application->memory_bytes),
                                              size_format(text[1], p->swap_bytes));
                }
        }
        if (p->overcommit == OVERCOMMIT_NONE && n_lazy > 0 && !p->pool_group[0])
                check_warning(c, "pool.overcommit", "with none, handover: lazy of %zu %s is done as eager", n_lazy,
                              n_lazy == 1 ? "pair" : "pairs");
}

/* Sizes against the extent, the floors and the pool. */
void check_memory(struct check *c) {
        bool extent_known = check_extent(c);
        char path[NODE_PATH_LEN];

        if (extent_known)
                check_multiple(c, "pool.reserve", "is", c->policy->reserve_bytes);
        for (size_t i = 0; i < c->policy->n_pairs; i++) {
                for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                        check_above_base(c, i, side, extent_known);
                        check_floor(c, i, side);
                }
                for (size_t j = 0; extent_known && j < c->policy->pairs[i].n_applications; j++)
                        check_multiple(c, check_path(path, "pairs[%zu].applications[%zu].memory", i, j), "is",
                                       c->policy->pairs[i].applications[j].memory_bytes);
        }
        check_overcommit(c);
        check_sum(c);
}
