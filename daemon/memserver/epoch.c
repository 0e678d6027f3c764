/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/epoch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"

#define WORD_BITS 64

/* Used by one thread at a time. */
struct epoch {
        struct page_space *pages, *staged;
        struct page_space *parts; /* of pages staged in part: bytes that are not 0 where it is so. NULL: none */
        uint64_t n_pages, n_marked;
        uint64_t first, end; /* all marks lie in between */
        uint64_t *marks;     /* one bit a page: it is staged, be it as zeroes */
};

DEFINE_CLEANUP(struct epoch *, epoch_free)

int epoch_new(struct page_space *pages, struct epoch **ret) {
        uint64_t size = page_space_size(pages);
        _cleanup_(epoch_freep) struct epoch *epoch = NULL;
        int r;

        if (size > EPOCH_SPACE_BYTES_MAX)
                return -EFBIG;
        epoch = calloc(1, sizeof(*epoch));
        if (!epoch)
                return -ENOMEM;
        epoch->pages = pages;
        epoch->n_pages = epoch->first = size / PAGE_BYTES;
        epoch->marks = calloc((epoch->n_pages + WORD_BITS - 1) / WORD_BITS, sizeof(*epoch->marks));
        if (!epoch->marks)
                return -ENOMEM;
        r = page_space_new_beside(pages, &epoch->staged);
        if (r < 0)
                return r;
        *ret = steal_ptr(epoch);
        return 0;
}

struct epoch *epoch_free(struct epoch *epoch) {
        if (epoch->staged)
                page_space_free(epoch->staged);
        if (epoch->parts)
                page_space_free(epoch->parts);
        free(epoch->marks);
        free(epoch);
        return NULL;
}

static bool marked(const struct epoch *epoch, uint64_t page) {
        return epoch->marks[page / WORD_BITS] >> page % WORD_BITS & 1;
}

static void mark(struct epoch *epoch, uint64_t page) {
        if (marked(epoch, page))
                return;
        epoch->marks[page / WORD_BITS] |= UINT64_C(1) << page % WORD_BITS;
        epoch->n_marked++;
        epoch->first = page < epoch->first ? page : epoch->first;
        epoch->end = page >= epoch->end ? page + 1 : epoch->end;
}

static bool is_part(const struct epoch *epoch, uint64_t page) {
        uint64_t length;

        return epoch->parts && page_space_extent(epoch->parts, PAGE_BYTES, page * PAGE_BYTES, &length) == 1;
}

/* Which bytes of the page: what it has besides when all of it is applied is what it has then. */
static int note_part(struct epoch *epoch, size_t length, uint64_t offset) {
        char bytes[PAGE_BYTES];
        int r = epoch->parts ? 0 : page_space_new_beside(epoch->pages, &epoch->parts);

        memset(bytes, 1, length);
        return r == 0 ? page_space_write(epoch->parts, bytes, length, offset) : r;
}

/* A part of a page, NULL for zeroes. */
static int stage_part(struct epoch *epoch, const char *bytes, size_t length, uint64_t offset) {
        uint64_t page = offset / PAGE_BYTES;
        int r = 0;

        if (!marked(epoch, page) || is_part(epoch, page))
                r = note_part(epoch, length, offset);
        if (r == 0)
                r = bytes ? page_space_write(epoch->staged, bytes, length, offset)
                          : page_space_trim(epoch->staged, length, offset);
        if (r == 0)
                mark(epoch, page);
        return r;
}

static int stage_pages(struct epoch *epoch, const char *bytes, uint64_t length, uint64_t offset) {
        int r = bytes ? page_space_write(epoch->staged, bytes, length, offset)
                      : page_space_trim(epoch->staged, length, offset);

        if (r == 0 && epoch->parts)
                r = page_space_trim(epoch->parts, length, offset);
        for (uint64_t page = offset / PAGE_BYTES; r == 0 && page < (offset + length) / PAGE_BYTES; page++)
                mark(epoch, page);
        return r;
}

/* Whole pages together, the two that may be cut each by itself. */
static int stage(struct epoch *epoch, const char *bytes, uint64_t length, uint64_t offset) {
        uint64_t size = epoch->n_pages * PAGE_BYTES, n;
        int r = offset > size || length > size - offset ? -EINVAL : 0;

        for (; r == 0 && length > 0; offset += n, length -= n) {
                uint64_t begin = offset % PAGE_BYTES, left = PAGE_BYTES - begin;

                if (begin == 0 && length >= PAGE_BYTES) {
                        n = length / PAGE_BYTES * PAGE_BYTES;
                        r = stage_pages(epoch, bytes, n, offset);
                } else {
                        n = length < left ? length : left;
                        r = stage_part(epoch, bytes, n, offset);
                }
                if (bytes)
                        bytes += n;
        }
        return r;
}

int epoch_write(struct epoch *epoch, const void *buffer, uint64_t length, uint64_t offset) {
        return stage(epoch, buffer, length, offset);
}

int epoch_trim(struct epoch *epoch, uint64_t length, uint64_t offset) {
        return stage(epoch, NULL, length, offset);
}

int epoch_run(struct epoch *epoch, uint64_t *page, uint64_t most, uint64_t *ret_n) {
        uint64_t at = *page < epoch->first ? epoch->first : *page, n = 0;

        while (at < epoch->end && !marked(epoch, at))
                at += epoch->marks[at / WORD_BITS] == 0 ? WORD_BITS - at % WORD_BITS : 1;
        while (at + n < epoch->end && n < most && marked(epoch, at + n))
                n++;
        if (n == 0)
                return 0;
        *page = at;
        *ret_n = n;
        return 1;
}

static int complete_page(struct epoch *epoch, uint64_t offset) {
        char now[PAGE_BYTES], page[PAGE_BYTES], part[PAGE_BYTES];
        int r = page_space_read(epoch->pages, now, PAGE_BYTES, offset);

        if (r == 0)
                r = page_space_read(epoch->staged, page, PAGE_BYTES, offset);
        if (r == 0)
                r = page_space_read(epoch->parts, part, PAGE_BYTES, offset);
        for (size_t i = 0; r == 0 && i < PAGE_BYTES; i++)
                page[i] = part[i] ? page[i] : now[i];
        return r == 0 ? page_space_write(epoch->staged, page, PAGE_BYTES, offset) : r;
}

int epoch_complete(struct epoch *epoch) {
        uint64_t size = epoch->n_pages * PAGE_BYTES, n;
        int r = 0;

        for (uint64_t at = 0; epoch->parts && r == 0 && at < size; at += n) {
                int found = page_space_extent(epoch->parts, size - at, at, &n);

                r = found < 0 ? found : 0;
                for (uint64_t i = 0; found == 1 && r == 0 && i < n; i += PAGE_BYTES)
                        r = complete_page(epoch, at + i);
        }
        return r;
}

int epoch_read(struct epoch *epoch, void *buffer, uint64_t length, uint64_t offset) {
        return page_space_read(epoch->staged, buffer, length, offset);
}

bool epoch_span(struct epoch *epoch, uint64_t *ret_offset, uint64_t *ret_length) {
        *ret_offset = epoch->first * PAGE_BYTES;
        *ret_length = epoch->n_marked > 0 ? (epoch->end - epoch->first) * PAGE_BYTES : 0;
        return epoch->n_marked > 0;
}

uint64_t epoch_bytes(const struct epoch *epoch) {
        return epoch->n_marked * PAGE_BYTES;
}

void epoch_apply(struct epoch *epoch) {
        uint64_t page = 0, n;

        for (; epoch_run(epoch, &page, UINT64_MAX, &n); page += n)
                for (uint64_t i = 0; i < n; i++)
                        page_space_take(epoch->pages, epoch->staged, page + i);
        epoch_clear(epoch);
}

void epoch_clear(struct epoch *epoch) {
        uint64_t first = epoch->first / WORD_BITS, end = (epoch->end + WORD_BITS - 1) / WORD_BITS;

        /* Also what a save left that failed. */
        (void) page_space_trim(epoch->staged, epoch->n_pages * PAGE_BYTES, 0);
        if (epoch->parts)
                epoch->parts = page_space_free(epoch->parts);
        if (epoch->n_marked > 0)
                memset(epoch->marks + first, 0, (end - first) * sizeof(*epoch->marks));
        epoch->n_marked = epoch->end = 0;
        epoch->first = epoch->n_pages;
}
