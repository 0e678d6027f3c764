/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/leftover.h"

#include <errno.h>
#include <stdlib.h>

int leftovers_init(struct leftovers *leftovers, uint64_t n_pages) {
        unsigned char *pages = calloc(n_pages, 1);

        if (!pages)
                return -ENOMEM;
        *leftovers = (struct leftovers) { .pages = pages, .n_pages = n_pages };
        return 0;
}

void leftovers_deinit(struct leftovers *leftovers) {
        free(leftovers->pages);
        *leftovers = (struct leftovers) { 0 };
}

static unsigned bit_of(unsigned holder) {
        return 1u << (holder - 1);
}

void leftovers_add(struct leftovers *leftovers, unsigned holder, uint64_t first, uint64_t n_pages) {
        for (uint64_t page = first; page < first + n_pages; page++) {
                leftovers->n_left[holder] += !(leftovers->pages[page] & bit_of(holder));
                leftovers->pages[page] |= (unsigned char) bit_of(holder);
        }
}

void leftovers_clear(struct leftovers *leftovers, unsigned holder, uint64_t first, uint64_t n_pages) {
        for (uint64_t page = first; page < first + n_pages; page++) {
                leftovers->n_left[holder] -= (leftovers->pages[page] & bit_of(holder)) != 0;
                leftovers->pages[page] &= (unsigned char) ~bit_of(holder);
        }
}

unsigned leftovers_at(const struct leftovers *leftovers, uint64_t first, uint64_t n_pages) {
        unsigned holders = 0;

        for (uint64_t page = first; page < first + n_pages; page++)
                holders |= leftovers->pages[page];
        return holders;
}

bool leftovers_next(const struct leftovers *leftovers, unsigned holder, uint64_t from, uint64_t most,
                    uint64_t *ret_first, uint64_t *ret_n) {
        uint64_t first = from, n = 0;

        if (leftovers->n_left[holder] == 0)
                return false;
        while (first < leftovers->n_pages && !(leftovers->pages[first] & bit_of(holder)))
                first++;
        while (n < most && first + n < leftovers->n_pages && leftovers->pages[first + n] & bit_of(holder))
                n++;
        if (n == 0)
                return false;
        *ret_first = first;
        *ret_n = n;
        return true;
}
