/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Values of nbdkit parameters, as both plugins take them (the memory server's and the pager's). 0, or -1 after
 * nbdkit has been told what is wrong; outputs are then as they were, but for a path, which is freed. */

#include <stdbool.h>
#include <stdint.h>

int plugin_value_size(const char *key, const char *value, uint64_t *ret);
int plugin_value_bool(const char *value, bool *ret);
/* Made absolute, since nbdkit changes its directory; `*ret`, which the caller frees, is replaced. */
int plugin_value_path(const char *value, char **ret);
/* Tells nbdkit; returns -1. */
int plugin_value_refuse(const char *key, const char *value, const char *text);
