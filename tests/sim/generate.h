/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/error.h"
#include "policy/policy.h"

/* A world made out of a seed: policies and a timeline of faults as texts, in the languages that operators write. */

#define GENERATED_LINES_MAX 64
#define GENERATED_LINE_LEN 96
#define GENERATED_POLICY_LEN (96 * 1024)
#define GENERATED_POLICIES_MAX 5

struct generated {
        /* The first, what `apply policy-N.yaml` brings, and, where there are any such, one more: in force at last. */
        char policies[GENERATED_POLICIES_MAX][GENERATED_POLICY_LEN];
        size_t n_policies; /* without the one in force at last */
        char lines[GENERATED_LINES_MAX][GENERATED_LINE_LEN]; /* of the safety phase */
        size_t n_lines;
        unsigned n_pairs;
        unsigned heal_sec; /* then everything is healed */
};

/* `calm`: nobody lies or changes the policy, nothing that is written is lost, and the pool has room for little more
 * than what a policy must have. */
void generate(uint64_t seed, unsigned pairs_max, bool calm, struct generated *ret);
/* The name under which a timeline has a policy: "policy.yaml", "policy-1.yaml". Returns `buffer`. */
#define GENERATED_NAME_LEN 40
const char *generated_policy_name(size_t number, char buffer[GENERATED_NAME_LEN]);
/* The policy of that name, for simulate_options. `userdata` is the struct generated. */
int generated_load(void *userdata, const char *file, struct policy **ret, struct error *error);
