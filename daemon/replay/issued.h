/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the engine asks for is answered by a number, and numbers are given out one after another: an engine that asks
 * for one thing more gives other numbers to all that follows. A scenario that was recorded is to outlive that. So it
 * tells what each number was given to, by what is asked and of whom ("send-start 0b db"); a replay pairs that with what
 * the engine asks for now, and the answers get the numbers of today.
 */

#include "daemon/base/buffer.h"
#include "daemon/core/event.h"
#include "daemon/core/update.h"

#define ISSUED_KEY_LEN (NAME_LEN + 48)

/* What an action asks for, and under which number. False where nothing answers it. */
bool issued_key(const struct action *action, char key[static ISSUED_KEY_LEN], uint64_t *ret_id);

struct issued {
        char key[ISSUED_KEY_LEN];
        uint64_t id;
};

struct issued_list {
        struct issued *items; /* owned */
        size_t n, n_allocated;
};

/* Zero-initialise. */
struct issued_map {
        struct issued_list recorded, now; /* that have no partner yet, the oldest first */
        uint64_t (*pairs)[2];             /* recorded number, number of today; owned */
        size_t n_pairs, n_pairs_allocated;
};

void issued_map_deinit(struct issued_map *map);
/* It was asked for when it was recorded. -ENOMEM. */
int issued_map_recorded(struct issued_map *map, const char *key, uint64_t id);
/* It is asked for now. -ENOMEM. */
int issued_map_now(struct issued_map *map, const char *key, uint64_t id);
/* The number of today for one that was recorded; UINT64_MAX where it is not asked for now, the same where nothing is
 * known of it. */
uint64_t issued_map_find(const struct issued_map *map, uint64_t recorded_id);
