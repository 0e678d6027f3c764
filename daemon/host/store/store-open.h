/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a store is found at the start: the order in which things are looked at and made, so that a crash in between
 * neither hides a loss nor invents one. For store.c alone. */

#include <sqlite3.h>

#include "daemon/host/store/store-history.h"
#include "daemon/host/store/store.h"

struct store_paths {
        char *owner, *steps; /* databases */
        char *installed, *lost, *reserve, *lock;
};

/* Also after a failed init, deinit is called. -ENOMEM. */
int store_paths_init(struct store_paths *paths, const struct store_options *options);
void store_paths_deinit(struct store_paths *paths);

struct store_contents {
        sqlite3 *databases[PERSIST_LEVEL_MAX];
        struct record *records[PERSIST_LEVEL_MAX]; /* sorted by pair */
        size_t n_records[PERSIST_LEVEL_MAX];
        struct history_told *told;
        size_t n_told;
};

void store_contents_deinit(struct store_contents *contents);

/* Makes the directories and takes the lock, which the returned descriptor holds. */
int store_prepare(const struct store_paths *paths, const struct store_options *options, int *ret_lock_fd,
                  struct error *error);

/* Opens both databases, reads them and judges what was found. `contents` is to be released also on failure. */
int store_open(const struct store_paths *paths, const struct store_options *options, struct store_contents *contents,
               struct store_finding *finding, struct error *error);
