/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <string.h>

#include "policy/policy.h"

/* Whose a space is. Every page carries it by the space that it lies in. */
struct space_name {
        char node[NAME_LEN];  /* host of the client */
        char owner[NAME_LEN]; /* VM or process */
        char space[NAME_LEN]; /* which of its spaces */
};

/* Nodes, owners and spaces: as a policy's names, and what host names, process numbers and addresses have besides.
 * Non-zero where it is one; how long it may be is its place's matter. */
int space_word_is_valid(const char *word);

static inline bool space_name_equal(const struct space_name *a, const struct space_name *b) {
        return strcmp(a->node, b->node) == 0 && strcmp(a->owner, b->owner) == 0 && strcmp(a->space, b->space) == 0;
}
