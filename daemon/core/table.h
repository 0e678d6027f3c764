/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The resource management table (H): one row per region, with name, usage, user and failover target. The rows
 * always add up to all memory that failoverd governs; every function here keeps that, and table_check() states
 * it.
 *
 * Rows with a fixed place: the monitor's own, QEMU's overhead for the VMs, the reserve, and what is unused. Then
 * one row for each VM's system and one for each application that has a region.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

enum region_kind {
        REGION_SYSTEM,      /* a VM's own: base memory and what it holds beside */
        REGION_APPLICATION,
        REGION_REHEARSAL,   /* of an application's size at most, for as long as a rehearsal lasts */
        REGION_MONITOR,     /* failoverd itself */
        REGION_OVERHEAD,    /* QEMU's own memory, all VMs */
        REGION_RESERVE,
        REGION_UNUSED,
        REGION_KIND_MAX,
        REGION_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(region_kind);

/* Who has a region: a VM, or (pair NO_PAIR) the monitor. */
struct holder {
        int pair;
        enum side side;
};

#define HOLDER_MONITOR \
        (struct holder) { .pair = -1 }

static inline bool holder_equal(struct holder a, struct holder b) {
        return a.pair == b.pair && (a.pair < 0 || a.side == b.side);
}

struct region {
        char name[NAME_LEN + 16];
        enum region_kind kind;
        uint64_t usage_bytes;
        struct holder user;
        struct holder target; /* failover target; equal to user where it goes nowhere */
        int app;              /* application slot in the holder's pair, -1 */
};

/* Where a VM's rows are; 0 where it has none. */
struct table_vm {
        unsigned system, apps[POLICY_APPLICATIONS_MAX];
};

struct table {
        uint64_t governed_bytes;
        struct region *rows; /* owned; [0..3] monitor, overhead, reserve, unused */
        size_t n_rows, n_allocated;
        struct table_vm *vms; /* owned; by pair and side: what a step costs does not grow with the number of pairs */
        size_t n_vms;
};

/* A table in which everything but the monitor's part and the reserve is unused. -ENOSPC where those two exceed
 * `governed_bytes`, -ENOMEM. */
int table_init(struct table *table, uint64_t governed_bytes, uint64_t monitor_bytes, uint64_t reserve_bytes);
void table_deinit(struct table *table);

/* Aborts unless the rows add up, each row's kind fits its holder and no region has two rows. */
void table_check(const struct table *table);

uint64_t table_unused(const struct table *table);
uint64_t table_reserve(const struct table *table);
/* What is counted for failoverd, memory servers and VMs that stand alone; and for QEMU itself. */
uint64_t table_monitor(const struct table *table);
uint64_t table_overhead(const struct table *table);
/* Row of a VM's system, or of an application's region at a VM; NULL where there is none. */
struct region *table_find_system(const struct table *table, struct holder vm);
struct region *table_find_application(const struct table *table, struct holder vm, int app);

/* A VM comes under management: `bytes` for its system and `overhead_bytes` for QEMU, out of unused. -ENOSPC,
 * -EEXIST. */
int table_add_vm(struct table *table, struct holder vm, const char *name, uint64_t bytes, uint64_t overhead_bytes);

/* The VM's system gets `bytes` more out of unused. -ENOSPC. (H: the monitor arbitrates) */
int table_grant(struct table *table, struct holder vm, uint64_t bytes);
/* The same for an application there: its region grows where it has a row of its own already. */
int table_grant_application(struct table *table, struct holder vm, int app, uint64_t bytes);
/* The VM's system gives `bytes` back. */
int table_release(struct table *table, struct holder vm, uint64_t bytes);
/* The VM's agent has told that an application uses `bytes` of what the VM's system holds: a row of its own.
 * -ENOSPC where the system does not hold so much above `floor_bytes`. (H: tells the monitor) */
int table_carve(struct table *table, struct holder vm, uint64_t floor_bytes, int app, const char *name,
                uint64_t bytes, struct holder target);
/* The same for a rehearsal of that application, which the VM does not run: it goes back to the monitor. -ENOSPC,
 * -EEXIST, -ENOMEM. */
int table_carve_rehearsal(struct table *table, struct holder vm, uint64_t floor_bytes, int app, const char *name,
                          uint64_t bytes);
/* A rehearsal's row; NULL where there is none. A VM has one or the other of an application, not both. */
struct region *table_find_rehearsal(const struct table *table, struct holder vm, int app);
/* A rehearsal's memory becomes part of its VM's system's. */
void table_join_system(struct table *table, struct region *region);
/* `bytes` of a region become unused; with nothing left its row goes. */
void table_shrink(struct table *table, struct region *region, uint64_t bytes);
/* The region changes hands: new user and new target. */
void table_move(struct table *table, struct region *region, struct holder user, struct holder target);
/* The region gets up to `bytes` more out of unused. Returns what it got. */
uint64_t table_grow(struct table *table, struct region *region, uint64_t bytes);
/* The region goes back to the monitor and becomes unused. */
void table_give_back(struct table *table, struct region *region);
/* `bytes` of a region were lost: they leave the memory governed, and the same amount comes in out of the
 * reserve, then out of unused. Returns what was replaced. */
uint64_t table_replace_lost(struct table *table, struct region *region, uint64_t bytes);
