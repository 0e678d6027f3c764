/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Ranges of pages of a space that are being worked on: who needs one waits for whoever has a part of it. So two saves
 * of one page reach a copy in the order in which they were done here. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/units.h"

struct range {
        uint64_t begin, end; /* pages */
        struct range *next;
};

struct ranges {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct range *taken;
};

void ranges_init(struct ranges *ranges);
void ranges_deinit(struct ranges *ranges);
/* The pages of some bytes. `range` is the caller's, and stays where it is until it is given back, by whatever thread.
 * Nobody takes a second one while holding one. */
void range_take(struct ranges *ranges, struct range *range, uint64_t length, uint64_t offset);
/* The same, where it can be had within that time; false where it cannot. */
bool range_take_within(struct ranges *ranges, struct range *range, uint64_t length, uint64_t offset,
                       usec_t timeout_usec);
void range_give(struct ranges *ranges, struct range *range);
