/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Spaces that are on disk too, so that their server may lose power (I: a mirror may also write to disk). Each has two
 * files in one directory, named by the space: its pages, sparse, and its label. A save is in the kernel's hands when it
 * is acknowledged, which outlives this process, and on the disk once it was flushed.
 */

#include "daemon/base/error.h"
#include "daemon/memserver/label.h"

struct persist_file;

/* Nothing of that space may be there: -EEXIST. `directory` is borrowed, and outlives the file. */
int persist_create(const char *directory, const struct label *label, struct persist_file **ret, struct error *error);
/* Closes it. The files stay. */
struct persist_file *persist_free(struct persist_file *file);
/* Takes the files away. */
void persist_remove(struct persist_file *file);

/* Negative errnos. Ranges are the caller's to keep apart. */
int persist_write(struct persist_file *file, const void *buffer, uint64_t length, uint64_t offset);
int persist_trim(struct persist_file *file, uint64_t length, uint64_t offset);
/* What was written is on the disk. */
int persist_flush(struct persist_file *file);
/* The same where more than that was written since. */
int persist_bound(struct persist_file *file, uint64_t most_bytes);
/* Puts another label in place of the old one, on the disk when it returns. */
int persist_relabel(struct persist_file *file, const struct label *label);

/* Calls `found` for each space in the directory; it takes the file over. Files that are none are named in `error`, and
 * the call goes on. Returns how many there were, or a negative errno. */
int persist_each(const char *directory, int (*found)(const struct label *label, struct persist_file *file,
                                                     void *userdata), void *userdata, struct error *error);
/* The next stretch of data from `*offset` on: 1, and 0 at the end. */
int persist_next(struct persist_file *file, uint64_t *offset, uint64_t *ret_length);
int persist_read(struct persist_file *file, void *buffer, uint64_t length, uint64_t offset);
