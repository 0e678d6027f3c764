/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a pager reads beside what it is asked for: a client that reads page after page, as a guest does that swaps its
 * memory in again, waits for a server once for many of them. Reads that follow each other make it grow; what is saved
 * meanwhile is forgotten.
 *
 * Pure: no I/O, clock or lock; the caller has the lock.
 */

#include <stdbool.h>
#include <stdint.h>

#define READ_AHEAD_BYTES (128 * 1024)             /* most at a time */
#define READ_AHEAD_ASKED_MAX (READ_AHEAD_BYTES / 4) /* longer requests are long enough */

/* Zero-initialised: there is nothing, and nothing was read yet. */
struct read_ahead {
        char *data;              /* READ_AHEAD_BYTES; NULL: there was no need yet */
        uint64_t offset, length; /* of the space, what is in `data`; length 0: nothing is */
        bool busy;               /* `data` is being filled, or others read there */
        uint64_t next, window;   /* bytes: where the last read ended, and how much was read ahead from there */
};

void read_ahead_deinit(struct read_ahead *ahead);
/* Fills in what was asked for where all of it is there. */
bool read_ahead_get(struct read_ahead *ahead, void *buffer, uint64_t length, uint64_t offset);
/* How much to read in place of `length`, which is not there, so that it ends at `end` at the latest: `length` where
 * nothing is to be read ahead. Where it is more, `data` is there and not busy. */
uint64_t read_ahead_want(struct read_ahead *ahead, uint64_t length, uint64_t offset, uint64_t end);
/* So much is in `data` now. */
void read_ahead_keep(struct read_ahead *ahead, uint64_t length, uint64_t offset);
/* A stretch of the space is about to be another. */
void read_ahead_forget(struct read_ahead *ahead, uint64_t length, uint64_t offset);
