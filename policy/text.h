/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A policy as text: failoverd-policy(5). */

#include <stdio.h>

#include "policy/diagnostics.h"
#include "policy/policy.h"

/* Reads a regular file, not far past NODE_TEXT_MAX; the caller frees the text. One that cannot be read is a finding
 * too. */
int text_load(const char *path, char **ret, size_t *ret_n, struct diagnostics *d);
int policy_parse(const char *text, size_t n, const char *name, struct policy **ret, struct diagnostics *d);
/* The same for one that worked until now, though another failoverd may have taken it: what only makes it unfit is a
 * warning, and counted in d->n_tolerated. */
int policy_parse_in_force(const char *text, size_t n, const char *name, struct policy **ret, struct diagnostics *d);
int policy_load(const char *path, struct policy **ret, struct diagnostics *d);
/* Adds an error about the value at `path` ("pairs[0].active.domain") of a text that policy_parse() takes. -ENOMEM. */
int policy_add_error(const char *text, size_t n, const char *path, struct diagnostics *d, const char *message);
int policy_write(const struct policy *policy, FILE *f);
