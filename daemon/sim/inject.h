/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/base/error.h"
#include "daemon/sim/timeline.h"

struct sim;

/* Could this line be carried out under the policy at the beginning? Returns 0 or -EINVAL with the reason. */
int inject_check(const struct sim *sim, const struct line *line, struct error *error);
/* Carries it out now. */
void inject(struct sim *sim, const struct line *line);
/* The words with which the i-th form of a line begins; `ret_second` is NULL where its arguments follow at once. NULL
 * past the last one. */
const char *inject_form(size_t i, const char **ret_second);
