/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/loss.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agents/guest/file.h"
#include "agents/guest/log.h"
#include "agents/guest/memory.h"
#include "daemon/base/cleanup.h"

#define STEP_BYTES (4 * MIB) /* a bound is not written anew for less */
#define CELL_BYTES (16 * MIB) /* a node has boot memory of its own, of some MiB, which is never taken away */

static struct loss_region *find(struct loss *loss, const char *app) {
        for (size_t i = 0; i < ELEMENTSOF(loss->regions); i++)
                if (strcmp(loss->regions[i].app, app) == 0)
                        return &loss->regions[i];
        return NULL;
}

void loss_set(struct loss *loss, const struct message *manages) {
        struct loss_region *region = find(loss, manages->app);

        if (!region)
                region = find(loss, "");
        if (!region || manages->node <= 0 || !manages->app[0])
                return;
        *region = (struct loss_region) { .node = manages->node, .manages_bytes = manages->bytes,
                                         .swap = strcmp(manages->text, "swap") == 0 };
        memcpy(region->app, manages->app, sizeof(region->app));
}

void loss_regain(struct loss *loss, const char *app, uint64_t bytes) {
        struct loss_region *region = app[0] ? find(loss, app) : NULL;

        if (region && region->manages_bytes < bytes)
                region->manages_bytes = bytes;
}

void loss_forget(struct loss *loss) {
        memset(loss->regions, 0, sizeof(loss->regions));
}

static uint64_t least(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t sum(const struct loss *loss, const char *sys_dir, int node, bool spare) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < ELEMENTSOF(loss->regions); i++) {
                const struct loss_region *region = &loss->regions[i];
                struct memory_usage usage;

                if (!region->app[0] || (node >= 0 && region->node != node) ||
                    memory_node_usage(sys_dir, region->node, &usage) < 0 || usage.total_bytes < CELL_BYTES ||
                    usage.total_bytes - CELL_BYTES < region->manages_bytes)
                        continue;
                usage.total_bytes -= region->manages_bytes;
                bytes += spare ? least(usage.total_bytes, usage.spare_bytes) : usage.total_bytes;
        }
        return bytes;
}

uint64_t loss_bytes(const struct loss *loss, const char *sys_dir, int node) {
        return sum(loss, sys_dir, node, false);
}

uint64_t loss_spare_bytes(const struct loss *loss, const char *sys_dir, int node) {
        return sum(loss, sys_dir, node, true);
}

/* ---- the applications' bound ------------------------------------------------------------------------------ */

static bool any_swap(const struct loss *loss) {
        for (size_t i = 0; i < ELEMENTSOF(loss->regions); i++)
                if (loss->regions[i].app[0] && loss->regions[i].swap)
                        return true;
        return false;
}

/* Where nothing can be swapped, a bound below what they use would stop them at each page. */
static uint64_t bound(const struct loss *loss, uint64_t managed, uint64_t used, const char *proc_dir) {
        uint64_t swap_free = 0;

        if (used <= managed)
                return managed;
        if (any_swap(loss) && memory_swap_free(proc_dir, &swap_free) == 0 && swap_free >= used - managed)
                return managed;
        return loss->limit_bytes ? least(loss->limit_bytes, used) : used;
}

void loss_divide(uint64_t limit_bytes, struct loss_share *shares, size_t n_shares) {
        uint64_t used = 0, n = 0;

        for (size_t i = 0; i < n_shares; i++)
                if (shares[i].whole)
                        limit_bytes -= least(limit_bytes, shares[i].used_bytes);
                else {
                        used += shares[i].used_bytes;
                        n++;
                }
        for (size_t i = 0; i < n_shares; i++) {
                struct loss_share *share = &shares[i];

                if (share->whole)
                        share->limit_bytes = 0;
                else if (used <= limit_bytes)
                        share->limit_bytes = share->used_bytes + (limit_bytes - used) / n;
                else
                        share->limit_bytes = (uint64_t) ((__uint128_t) share->used_bytes * limit_bytes / used);
                if (!share->whole && share->limit_bytes < STEP_BYTES)
                        share->limit_bytes = STEP_BYTES;
        }
}

static bool near(uint64_t a, uint64_t b) {
        return (a > b ? a - b : b - a) < STEP_BYTES;
}

static void write_group(struct loss *loss, const char *cgroup_dir, uint64_t limit) {
        char text[32];
        int r;

        if (limit == loss->group_bytes || (limit && loss->group_bytes && near(limit, loss->group_bytes)))
                return;
        snprintf(text, sizeof(text), limit ? "%" PRIu64 : "max", limit);
        r = file_write(text, "%s/failover/memory.high", cgroup_dir);
        if (r == 0)
                loss->group_bytes = limit;
        else
                log_warning("%s: the applications' memory cannot be bounded: %s, ignoring", cgroup_dir, strerror(-r));
}

/* An agent that was killed left its bound behind. How much of it was for units is not known then. */
static void find_limit(struct loss *loss, const char *cgroup_dir, bool commands_alone) {
        char text[32];

        if (loss->known || file_read(text, sizeof(text), "%s/failover/memory.high", cgroup_dir) < 0)
                return;
        loss->known = true;
        (void) text_number(text, "", &loss->group_bytes); /* "max" is none */
        if (commands_alone)
                loss->limit_bytes = loss->group_bytes;
}

static void let_go(struct loss *loss, const char *cgroup_dir, struct loss_share *units, size_t n_units) {
        if (loss->limit_bytes)
                log_notice("nothing of this guest's memory is another VM's any more");
        loss->limit_bytes = 0;
        write_group(loss, cgroup_dir, 0);
        for (size_t i = 0; i < n_units; i++)
                units[i].limit_bytes = 0;
}

void loss_bound(struct loss *loss, const char *sys_dir, const char *proc_dir, const char *cgroup_dir,
                struct loss_share *units, size_t n_units) {
        uint64_t lost = loss_bytes(loss, sys_dir, -1), total = 0, used = 0, limit;
        struct loss_share shares[POLICY_APPLICATIONS_MAX + 1] = { 0 };
        size_t n = 0;
        char text[32];

        find_limit(loss, cgroup_dir, n_units == 0);
        if (lost == 0)
                return let_go(loss, cgroup_dir, units, n_units);
        for (; n < n_units && n < POLICY_APPLICATIONS_MAX; n++)
                shares[n] = units[n];
        if (file_read(text, sizeof(text), "%s/failover/memory.current", cgroup_dir) >= 0 &&
            text_number(text, "", &shares[n].used_bytes) == 0)
                n++;
        if (n == 0 || memory_total(proc_dir, &total) < 0 || total <= lost)
                return; /* nobody counts what they use */
        for (size_t i = 0; i < n; i++)
                used += shares[i].used_bytes;
        limit = bound(loss, total - lost, used, proc_dir);
        if (!loss->limit_bytes)
                log_notice("%" PRIu64 " MiB of this guest's memory are another VM's; applications have %" PRIu64
                           " MiB together", lost / MIB, limit / MIB);
        if (!loss->limit_bytes || !near(limit, loss->limit_bytes))
                loss->limit_bytes = limit;
        loss_divide(loss->limit_bytes, shares, n);
        if (n > n_units)
                write_group(loss, cgroup_dir, shares[n - 1].limit_bytes);
        for (size_t i = 0; i < n_units && i < n; i++)
                units[i].limit_bytes = shares[i].limit_bytes;
}
