/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Copies of pages that are not the truth any more: a page was saved elsewhere, and its old holder has not trimmed it
 * yet. One bit a page and holder. A page must not go where it has one: what is trimmed there could be the new copy.
 *
 * Pure; the caller has the lock.
 */

#include <stdbool.h>
#include <stdint.h>

#include "agents/pager/page-map.h"

struct leftovers {
        unsigned char *pages;
        uint64_t n_pages;
        uint64_t n_left[PAGE_HOLDERS_MAX + 1]; /* pages, by holder */
};

/* None. -ENOMEM. */
int leftovers_init(struct leftovers *leftovers, uint64_t n_pages);
void leftovers_deinit(struct leftovers *leftovers);

void leftovers_add(struct leftovers *leftovers, unsigned holder, uint64_t first, uint64_t n_pages);
/* They have been trimmed. */
void leftovers_clear(struct leftovers *leftovers, unsigned holder, uint64_t first, uint64_t n_pages);
/* Who has one of any of these pages, as bits: holder h is bit h - 1. */
unsigned leftovers_at(const struct leftovers *leftovers, uint64_t first, uint64_t n_pages);
/* The first run of the holder's from page `from` on, of `most` pages at most: false where there is none. */
bool leftovers_next(const struct leftovers *leftovers, unsigned holder, uint64_t from, uint64_t most,
                    uint64_t *ret_first, uint64_t *ret_n);
