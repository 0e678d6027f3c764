/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The file that pages are spilled to. It has no name once it is open: it belongs to this run, and the kernel takes it
 * away with the process. Slots in use take room on the disk, others none.
 */

#include "daemon/base/error.h"
#include "daemon/memserver/page-store.h"

struct spill;

/* A new file beside `path`, which names no other file. `bytes` is what it may grow to. */
int spill_open(const char *path, uint64_t bytes, struct spill **ret, struct error *error);
struct spill *spill_free(struct spill *spill);
/* For struct page_store_options. Outlived by the store. */
struct page_spill spill_functions(struct spill *spill);
