/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Whether each change of a pair's state that random worlds come to is in some scenario, where a person has read that
 * it is right.
 */

#include <stdbool.h>

#include "daemon/core/pair.h"

/* Marks in `known` what the scenarios below `directory` have in their `expect`. Returns how many lines told of a
 * change, or a negative errno. */
int transitions_read(const char *directory, bool known[PAIR_STATE_MAX][PAIR_STATE_MAX]);
