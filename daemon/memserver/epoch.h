/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An epoch: saves that are staged beside a space and become its contents all at once, or never (R: kinds 3 and 4 write
 * back). Staged pages lie in the same store and count in the same quotas; a page that was staged is moved, so that
 * nothing can fail once an epoch is whole.
 *
 * A primary stages what its one writer of epochs saves, and applies it when that flushes. First its mirror gets all of
 * it, staged there too, and is told to apply it: whichever of the two dies in between, the other has the epoch whole or
 * not at all.
 */

#include <stdbool.h>

#include "daemon/memserver/page-store.h"

#define EPOCH_SPACE_BYTES_MAX (UINT64_C(1) << 40) /* one bit a page is kept of what is staged */

#define EPOCH_PART_BYTES (4 * MIB) /* that a mirror puts on disk between two signs of life */

struct epoch;

/* Of the space whose pages these are, which outlive it. -EFBIG above EPOCH_SPACE_BYTES_MAX, -ENOMEM, -EMFILE. */
int epoch_new(struct page_space *pages, struct epoch **ret);
struct epoch *epoch_free(struct epoch *epoch);

/* Stages; parts of pages are added to what is staged, or else to what is there. Errors as page_space_write(): the
 * epoch is then no more than it was, but for pages that were staged in it before. */
int epoch_write(struct epoch *epoch, const void *buffer, uint64_t length, uint64_t offset);
int epoch_trim(struct epoch *epoch, uint64_t length, uint64_t offset);

/* The first run of staged pages from `*page` on: 1 with where it begins and how many they are, at most `most`, or 0. */
int epoch_run(struct epoch *epoch, uint64_t *page, uint64_t most, uint64_t *ret_n);
/* Of pages that are staged. -EIO as page_space_read(). */
int epoch_read(struct epoch *epoch, void *buffer, uint64_t length, uint64_t offset);
/* From the first staged page to the last one; false where there is none. */
bool epoch_span(struct epoch *epoch, uint64_t *ret_offset, uint64_t *ret_length);
uint64_t epoch_bytes(const struct epoch *epoch); /* staged, with pages that read as zeroes */

/* Pages that were staged in part get the rest that is in the space now. To be called before what is staged is read and
 * applied, and nobody else saves these pages from then on. Fails as a save does, and may be called again. */
int epoch_complete(struct epoch *epoch);
/* What is staged becomes the contents; nothing is staged then. Cannot fail. */
void epoch_apply(struct epoch *epoch);
/* Forgets what is staged. */
void epoch_clear(struct epoch *epoch);
