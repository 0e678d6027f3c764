/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One region on its way from a VM that lives on to the other one (N: two rights). Its management has moved; the old
 * user's pages follow, extent by extent: released by its guest, or paged out as the new manager touches the extent.
 */

#include "daemon/core/early-release.h"
#include "daemon/core/rights.h"

#define USAGE_EXTENTS_MAX 1024
#define USAGE_PAGE_BYTES 4096

/* What a look at a region's memory in both QEMUs has found, extent by extent. */
struct usage {
        uint64_t extent_bytes; /* usage_extent_bytes() of the region */
        unsigned n_extents;
        bool known[SIDE_MAX];  /* that side's QEMU could be looked at */
        uint16_t pages[SIDE_MAX][USAGE_EXTENTS_MAX]; /* really resident there, of USAGE_PAGE_BYTES; the most that
                                                      * can be told is UINT16_MAX */
};

/* Size of the extents that a region's usage is followed in: 2 MiB, or as much larger, by powers of two, as keeps their
 * number within USAGE_EXTENTS_MAX. */
uint64_t usage_extent_bytes(uint64_t region_bytes);
/* Number of them; the last may reach past the region's end. */
unsigned usage_n_extents(uint64_t region_bytes);

struct request;

struct handover {
        struct rights rights;    /* owned; places are offsets in the region's devices */
        struct early_release early; /* owned */
        usec_t early_usec;       /* when it was last looked for what to take back in the background */
        enum side from;          /* the old user */
        usec_t begun_usec;
        uint64_t begun_bytes;    /* what the old user had then */
        uint64_t paged_bytes;    /* how much of it was asked to be paged out */
        struct usage usage;      /* the latest */
        usec_t usage_usec;       /* when it was taken, 0: never */
        uint8_t accessed[USAGE_EXTENTS_MAX / 8]; /* bits: extents that the old user accessed between the last two
                                                  * looks */
        struct span paging;      /* what is being paged out, or was last; the next looks from its end on */
};

/* The old side uses all of the region, the other manages it. NULL when out of memory. */
struct handover *handover_new(uint64_t region_bytes, struct holder from, struct holder to, usec_t now_usec);
struct handover *handover_free(struct handover *handover);

/* Brings the rights in step with what was seen: what the old user no longer has is free or its next user's; what the
 * manager touches is decided (N: access decision). -EINVAL where the extents are others. After -ENOMEM
 * the next look does what is left. */
int handover_see(struct handover *handover, struct holder from, struct holder to, const struct usage *usage,
                 usec_t now_usec);
/* Has extents taken back before the manager needs them, as the policy says (N: variant 3). -ENOMEM: the next look does
 * it. */
int handover_take_back_early(struct handover *handover, const struct early_release_keys *keys, usec_t now_usec);
/* What was asked to be paged out is taken to be gone until the next look tells. */
void handover_paged(struct handover *handover);
/* The next stretch that the old user has in memory and has to release, or has no right to: from where the last one
 * ended, around, at most `limit_bytes`. Empty where there is none. */
struct span handover_next_page_out(const struct handover *handover, struct holder from, uint64_t limit_bytes);
