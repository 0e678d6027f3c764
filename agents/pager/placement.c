/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/placement.h"

#include <assert.h>

static const char *const placement_save_table[] = {
        [SAVE_FIXED] = "fixed",
        [SAVE_PER_SAVE] = "per-save",
};
DEFINE_ENUM_TABLE(placement_save, placement_save_table)

static const char *const placement_return_table[] = {
        [RETURN_REMEMBERED] = "remembered",
        [RETURN_ASKED] = "asked",
};
DEFINE_ENUM_TABLE(placement_return, placement_return_table)

static const char *const placement_decider_table[] = {
        [DECIDED_BROADCAST] = "broadcast",
        [DECIDED_ARBITRATOR] = "arbitrator",
};
DEFINE_ENUM_TABLE(placement_decider, placement_decider_table)

/* Free parts are compared in these, which no rounding of a page makes to and fro of. */
#define PARTS 1024
#define FAR_EMPTIER (PARTS / 8)      /* for a page that is somewhere already */
#define WORTH_MOVING (PARTS / 4)     /* for all of a space */
#define ROOM_LEFT_OVER (PARTS / 16)  /* free at whom a space moves to, once it is there */

uint64_t placement_room(const struct placement_answer *answer) {
        if (!answer->known || !answer->willing || answer->free_pages <= answer->saved_pages)
                return 0;
        return answer->free_pages - answer->saved_pages;
}

/* The free part, rounded down; `less` pages fewer. */
static uint64_t free_part(const struct placement_answer *answer, uint64_t less) {
        uint64_t room = placement_room(answer);

        if (room <= less || answer->total_pages == 0)
                return 0;
        room -= less;
        if (room >= answer->total_pages)
                return PARTS;
        /* totals are of 2^44 pages at most, but an answer is a stranger's word */
        return answer->total_pages > UINT64_MAX / PARTS ? room / (answer->total_pages / PARTS)
                                                        : room * PARTS / answer->total_pages;
}

static bool is_left_out(unsigned holder, unsigned left_out) {
        return left_out & HOLDER_BIT(holder);
}

static bool takes(const struct placement *placement, unsigned holder, uint64_t n_pages, unsigned left_out) {
        return holder > 0 && holder <= placement->n_answers && !is_left_out(holder, left_out) &&
               placement_room(&placement->answers[holder - 1]) >= n_pages;
}

/* Who has the greatest part free and room for so many, the first of several. 0: nobody. */
static unsigned emptiest(const struct placement *placement, uint64_t n_pages, unsigned left_out) {
        unsigned best = 0;
        uint64_t best_part = 0;

        for (unsigned h = 1; h <= placement->n_answers; h++) {
                uint64_t part;

                if (!takes(placement, h, n_pages, left_out))
                        continue;
                part = free_part(&placement->answers[h - 1], 0);
                if (best == 0 || part > best_part) {
                        best = h;
                        best_part = part;
                }
        }
        return best;
}

/* The first that nothing is known of: better than to refuse a save. 0: none. */
static unsigned unknown_one(const struct placement *placement, unsigned left_out) {
        for (unsigned h = 1; h <= placement->n_answers; h++)
                if (!placement->answers[h - 1].known && !is_left_out(h, left_out))
                        return h;
        return 0;
}

void placement_note_saved(struct placement *placement, unsigned holder, uint64_t n_pages) {
        assert(holder > 0 && holder <= placement->n_answers);
        placement->answers[holder - 1].saved_pages += n_pages;
}

void placement_note_full(struct placement *placement, unsigned holder) {
        assert(holder > 0 && holder <= placement->n_answers);
        placement->answers[holder - 1].known = true;
        placement->answers[holder - 1].willing = false;
}

/* Where a save goes that is nowhere yet. */
static unsigned choose(const struct placement *placement, uint64_t n_pages, unsigned left_out) {
        unsigned holder;

        if (takes(placement, placement->pick, n_pages, left_out))
                return placement->pick;
        holder = emptiest(placement, n_pages, left_out);
        return holder > 0 ? holder : unknown_one(placement, left_out);
}

unsigned placement_open(const struct placement *placement, unsigned left_out) {
        unsigned holder = choose(placement, 1, left_out);

        for (unsigned h = 1; holder == 0 && h <= placement->n_answers; h++)
                if (!is_left_out(h, left_out))
                        holder = h;
        return holder;
}

unsigned placement_save(const struct placement *placement, unsigned present, uint64_t n_pages, unsigned left_out) {
        unsigned other = choose(placement, n_pages, left_out);
        const struct placement_answer *here;

        if (present == 0 || present > placement->n_answers || is_left_out(present, left_out))
                return other;
        if (other == 0 || other == present)
                return present;
        here = &placement->answers[present - 1];
        if (here->known && !here->willing)
                return other;
        /* what is written anew where it is takes no room there */
        return free_part(&placement->answers[other - 1], 0) < free_part(here, 0) + FAR_EMPTIER ? present : other;
}

unsigned placement_balance(const struct placement *placement, unsigned from, uint64_t held_pages, unsigned left_out,
                           bool settled) {
        const struct placement_answer *here, *there;
        uint64_t before, after;
        unsigned to;

        if (!settled || held_pages == 0 || from == 0 || from > placement->n_answers)
                return 0;
        here = &placement->answers[from - 1];
        left_out |= HOLDER_BIT(from);
        to = takes(placement, placement->pick, held_pages, left_out) ? placement->pick
                                                                     : emptiest(placement, held_pages, left_out);
        if (!here->known || to == 0)
                return 0;
        there = &placement->answers[to - 1];
        before = free_part(here, 0); /* 0 for one that wants to be rid of pages */
        after = free_part(there, held_pages);
        return after >= ROOM_LEFT_OVER && after > before && free_part(there, 0) >= before + WORTH_MOVING ? to : 0;
}
