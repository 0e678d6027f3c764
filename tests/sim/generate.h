/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A world made out of a seed: a policy and a timeline of faults as texts, in the languages that operators write. */

#define GENERATED_LINES_MAX 64
#define GENERATED_LINE_LEN 96
#define GENERATED_POLICY_LEN (64 * 1024)

struct generated {
        char policy[GENERATED_POLICY_LEN];
        char lines[GENERATED_LINES_MAX][GENERATED_LINE_LEN]; /* of the safety phase */
        size_t n_lines;
        unsigned n_pairs;
        unsigned heal_sec; /* then everything is healed */
};

/* `tight`: the pool has room for little more than what a policy must have. */
void generate(uint64_t seed, unsigned pairs_max, bool tight, struct generated *ret);
