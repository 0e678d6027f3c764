/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/region-table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define WORD_BITS 64

static uint64_t n_words(uint64_t n_pages) {
        return (n_pages + WORD_BITS - 1) / WORD_BITS;
}

static bool get_bit(const uint64_t *bits, uint64_t i) {
        return bits[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

static void set_bit(uint64_t *bits, uint64_t *count, uint64_t i) {
        *count += !get_bit(bits, i);
        bits[i / WORD_BITS] |= UINT64_C(1) << (i % WORD_BITS);
}

static void clear_bit(uint64_t *bits, uint64_t *count, uint64_t i) {
        *count -= get_bit(bits, i);
        bits[i / WORD_BITS] &= ~(UINT64_C(1) << (i % WORD_BITS));
}

/* The first bit from `from` on, `end` where there is none before it. */
static uint64_t next_bit(const uint64_t *bits, uint64_t from, uint64_t end) {
        while (from < end) {
                uint64_t word = bits[from / WORD_BITS] >> (from % WORD_BITS);

                if (word) {
                        from += (uint64_t) __builtin_ctzll(word);
                        return from < end ? from : end;
                }
                from = (from / WORD_BITS + 1) * WORD_BITS;
        }
        return end;
}

int region_table_init(struct region_table *table, uint64_t size_bytes) {
        uint64_t n = size_bytes / REGION_PAGE_BYTES + (size_bytes % REGION_PAGE_BYTES > 0);
        struct region_table made = { .n_pages = n };

        if (n == 0)
                return -EINVAL;
        made.entries = calloc(n, sizeof(*made.entries));
        made.dirty = calloc(n_words(n), sizeof(uint64_t));
        made.writing = calloc(n_words(n), sizeof(uint64_t));
        if (!made.entries || !made.dirty || !made.writing) {
                region_table_deinit(&made);
                return -ENOMEM;
        }
        *table = made;
        return 0;
}

void region_table_deinit(struct region_table *table) {
        free(table->entries);
        free(table->dirty);
        free(table->writing);
        *table = (struct region_table) { 0 };
}

void region_table_set_remote(struct region_table *table, uint64_t first, uint64_t n, uint64_t channel) {
        assert(first <= table->n_pages && n <= table->n_pages - first && channel <= REGION_FIELD_MASK);
        for (uint64_t i = first; i < first + n; i++)
                if (!(table->entries[i] & REGION_PRESENT))
                        table->entries[i] = REGION_REMOTE | channel;
}

void region_table_set_disk(struct region_table *table, uint64_t first, uint64_t n, uint64_t sector) {
        assert(first <= table->n_pages && n <= table->n_pages - first && sector <= REGION_FIELD_MASK - n);
        for (uint64_t i = first; i < first + n; i++)
                if (!(table->entries[i] & REGION_PRESENT))
                        table->entries[i] = REGION_DISK | (sector + i - first);
}

void region_table_set_error(struct region_table *table, uint64_t page) {
        assert(page < table->n_pages);
        if (!(table->entries[page] & REGION_PRESENT))
                table->entries[page] = 0;
}

enum region_verdict region_table_fault(struct region_table *table, uint64_t page, uint64_t *ret_field) {
        uint64_t entry = page < table->n_pages ? table->entries[page] : 0, field = entry & REGION_FIELD_MASK;

        if (entry & REGION_IN_PROGRESS)
                return REGION_WAIT;
        if (entry & REGION_PRESENT)
                return REGION_THERE;
        if (!(entry & (REGION_REMOTE | REGION_DISK)))
                return REGION_ACCESS_ERROR;
        if (entry & REGION_REMOTE && field == REGION_NAME_SERVER)
                return REGION_ASK_NAME;
        table->entries[page] = entry | REGION_PRESENT | REGION_IN_PROGRESS;
        *ret_field = field;
        return entry & REGION_REMOTE ? REGION_FETCH : REGION_READ_DISK;
}

uint64_t region_table_take_along(struct region_table *table, uint64_t page, uint64_t most, uint64_t channel) {
        uint64_t n = 0;

        while (n < most && page + n < table->n_pages && table->entries[page + n] == (REGION_REMOTE | channel)) {
                table->entries[page + n] |= REGION_PRESENT | REGION_IN_PROGRESS;
                n++;
        }
        return n;
}

void region_table_filled(struct region_table *table, uint64_t first, uint64_t n, uint64_t frame) {
        for (uint64_t i = first; i < first + n; i++) {
                assert(region_table_in_progress(table, i));
                table->entries[i] = REGION_PRESENT | ((frame + i - first) & REGION_FIELD_MASK);
                table->n_present++;
        }
}

void region_table_failed(struct region_table *table, uint64_t first, uint64_t n, uint64_t channel) {
        for (uint64_t i = first; i < first + n; i++) {
                assert(region_table_in_progress(table, i));
                table->entries[i] = REGION_REMOTE | (channel & REGION_FIELD_MASK);
        }
}

bool region_table_in_progress(const struct region_table *table, uint64_t page) {
        return page < table->n_pages && table->entries[page] & REGION_IN_PROGRESS;
}

bool region_table_present(const struct region_table *table, uint64_t page) {
        return page < table->n_pages && table->entries[page] & REGION_PRESENT && !region_table_in_progress(table, page);
}

bool region_table_evict(struct region_table *table, uint64_t page, uint64_t channel) {
        if (!region_table_present(table, page) || get_bit(table->dirty, page) || get_bit(table->writing, page))
                return false;
        table->entries[page] = REGION_REMOTE | (channel & REGION_FIELD_MASK);
        table->n_present--;
        return true;
}

void region_table_touch(struct region_table *table, uint64_t page) {
        assert(page < table->n_pages);
        set_bit(table->dirty, &table->n_dirty, page);
}

bool region_table_dirty(const struct region_table *table, uint64_t page) {
        return page < table->n_pages && get_bit(table->dirty, page);
}

bool region_table_take_dirty(struct region_table *table, uint64_t from, uint64_t most, uint64_t *ret_first,
                             uint64_t *ret_n) {
        uint64_t first = from, n = 0;

        if (table->n_dirty == 0)
                return false;
        while ((first = next_bit(table->dirty, first, table->n_pages)) < table->n_pages &&
               get_bit(table->writing, first))
                first++;
        while (n < most && first + n < table->n_pages && get_bit(table->dirty, first + n) &&
               !get_bit(table->writing, first + n)) {
                clear_bit(table->dirty, &table->n_dirty, first + n);
                set_bit(table->writing, &table->n_writing, first + n);
                n++;
        }
        if (n == 0)
                return false;
        *ret_first = first;
        *ret_n = n;
        return true;
}

void region_table_written(struct region_table *table, bool done) {
        for (uint64_t i = 0; table->n_writing > 0 && i < table->n_pages; i++) {
                i = next_bit(table->writing, i, table->n_pages);
                if (i == table->n_pages)
                        break;
                clear_bit(table->writing, &table->n_writing, i);
                if (!done)
                        set_bit(table->dirty, &table->n_dirty, i);
        }
}
