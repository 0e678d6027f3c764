/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where a page goes (T: three independent choices). Where to save: at one server for all of the client's life, or at
 * one that is chosen anew for each save. Where to return from: from whom it was saved to, or from whoever has it when
 * asked, so that servers may move pages among themselves. Who decides: the client, out of the answers of all servers
 * that a broadcast reached, or an arbitrator.
 *
 * Holders are counted from 1, as in the page table. What they answered grows old: the caller notes each page that it
 * saves in between, so that many saves do not all go to the one that was empty when it was asked.
 *
 * Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agents/pager/page-map.h"
#include "daemon/base/enum-table.h"

enum placement_save {
        SAVE_FIXED,
        SAVE_PER_SAVE,
        PLACEMENT_SAVE_MAX,
        PLACEMENT_SAVE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(placement_save); /* "fixed", "per-save" */

enum placement_return {
        RETURN_REMEMBERED,
        RETURN_ASKED,
        PLACEMENT_RETURN_MAX,
        PLACEMENT_RETURN_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(placement_return); /* "remembered", "asked" */

enum placement_decider {
        DECIDED_BROADCAST,
        DECIDED_ARBITRATOR,
        PLACEMENT_DECIDER_MAX,
        PLACEMENT_DECIDER_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(placement_decider); /* "broadcast", "arbitrator" */

/* What one holder has answered, and what was saved there since. */
struct placement_answer {
        bool known;   /* it has answered; the rest means nothing otherwise */
        bool willing; /* takes pages */
        uint64_t total_pages, free_pages;
        uint64_t saved_pages; /* since that answer, by this client */
};

struct placement {
        struct placement_answer answers[PAGE_HOLDERS_MAX]; /* of holder i + 1 */
        size_t n_answers;
        unsigned pick; /* the arbitrator's; 0: none, or nobody has answered */
};

/* Holders that have to be left out, or are looked at, as bits: holder h is bit h - 1. */
#define HOLDER_BIT(holder) (1u << ((holder) - 1))

/* Pages of a holder that are still free, as far as it is known. One that has not answered has none: it is tried after
 * all others. */
uint64_t placement_room(const struct placement_answer *answer);
void placement_note_saved(struct placement *placement, unsigned holder, uint64_t n_pages);
/* It took no page, whatever it had answered or not. */
void placement_note_full(struct placement *placement, unsigned holder);

/* Whom to begin with: the arbitrator's pick, or who has the greatest part of its memory free. Where nobody has
 * answered, the first that is not left out; 0 where all are. */
unsigned placement_open(const struct placement *placement, unsigned left_out);
/* Where `n_pages` of one save go that are at `present` now (PAGE_NOBODY: nowhere, or at several). They stay unless it
 * has no room for more or another one is far emptier: a page that moves costs a trim more. 0 where all are left out
 * or none has room. */
unsigned placement_save(const struct placement *placement, unsigned present, uint64_t n_pages, unsigned left_out);
/* Whether `held_pages` that are at `from` should move, and to whom: 0 where they had better stay. A move makes the two
 * more equal and never the other way round, so that pages do not go to and fro. `settled` is false as long as answers
 * may not show the last move yet. */
unsigned placement_balance(const struct placement *placement, unsigned from, uint64_t held_pages, unsigned left_out,
                           bool settled);
