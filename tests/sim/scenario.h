/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The scenarios of tests/scenarios, for programs that run them all in one process.
 */

#include "daemon/base/error.h"
#include "policy/policy.h"

struct scenario {
        char *directory;
        struct policy *policy;
        char *timeline;
};

/* Reads the policy `file` of the scenario in `directory`, as simulate_options.load_policy does. */
int scenario_load_policy(void *directory, const char *file, struct policy **ret, struct error *error);

/* Calls `run` for each scenario below `directory`, in the order of their names. Returns how many there were, -ENOENT
 * where there are none, what is wrong with the first that cannot be read (which is said on standard error), or the
 * first negative errno of `run`. */
int scenarios_run(const char *directory, int (*run)(const struct scenario *scenario));
