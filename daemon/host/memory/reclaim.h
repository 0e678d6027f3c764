/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Memory that changes hands while both VMs live (N: two rights): looks at a region in both QEMUs again and again, and
 * has the kernel page parts of it out of one. It tells EVENT_RECLAIM (can memory be taken back by force here, and what
 * the kernel holds the pool to: at the beginning, and whenever that changes), EVENT_USAGE, and EVENT_DONE for each
 * ACTION_PAGE_OUT.
 *
 * Two threads of its own do what takes time, one looking and one paging out, so that a large page-out delays no look.
 * While the new user goes on touching, a look comes every 20 ms and reads only what it has not touched yet; the old
 * user's pages are read four times a second. Where nothing moves, looks come less and less often, down to one a second.
 * Meanwhile each VM has its share of memory in the kernel's terms, too (shares.h).
 */

#include "daemon/host/memory/shares.h"
#include "daemon/host/sink.h"

#include <systemd/sd-event.h>

struct reclaim;
struct action;

struct reclaim_options {
        const char *helper_path; /* socket of failoverd-helper; NULL: QEMUs are this user's own */
        const char *lock_path;   /* a file in a directory of this user's, locked for work on control groups */
        const char *mountinfo;   /* "/proc/self/mountinfo": has this host control groups of version 2? */
};

/* Options are copied. -ENOMEM or another errno. */
int reclaim_new(sd_event *loop, const struct reclaim_options *options, const struct sink *sink, struct reclaim **ret);
/* Threads that are at work end by themselves. Takes NULL; returns NULL. */
struct reclaim *reclaim_free(struct reclaim *reclaim);

/* One region in both VMs. */
struct reclaim_region {
        int pair, app;
        enum side from;            /* the old user */
        char app_name[NAME_LEN];
        char domains[SIDE_MAX][NAME_LEN];
        int pids[SIDE_MAX];        /* of their QEMUs; 0: not known, that side stays unknown */
        uint64_t bytes;
};

/* Follows a region until reclaim_forget(); one that is followed already, as it is told now. -ENOMEM. */
int reclaim_follow(struct reclaim *reclaim, const struct reclaim_region *region);
void reclaim_forget(struct reclaim *reclaim, int pair, int app);
/* What a VM of a followed region is and manages: before that is followed, and again whenever it may have changed. */
void reclaim_set_vm(struct reclaim *reclaim, const struct shares_vm *vm);
/* The group with this name above the VMs that are told of gets a hard limit; empty: none does (shares_set_pool()). */
void reclaim_set_pool(struct reclaim *reclaim, const char *group, uint64_t bytes);
/* That limit, for people; empty where none is wanted. */
void reclaim_describe_pool(struct reclaim *reclaim, char text[POOL_LIMIT_TEXT_LEN]);
/* ACTION_PAGE_OUT of a region that is followed: -ENOENT where it is not, -ENOMEM. */
int reclaim_page_out(struct reclaim *reclaim, const struct action *action);
/* What protects and bounds a VM while a region of it changes hands, for people; empty: no region does. */
void reclaim_describe(struct reclaim *reclaim, int pair, enum side side, char text[SHARES_TEXT_LEN]);
