/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parameters that a pager was started with (failover-pager-plugin(1)), KEY=VALUE, one a line. */

#include <stdbool.h>

/* May a pager that was started with `old` serve where `new` is wanted, until its VM is off? So it is as long as the
 * guest has the same disk at the same memory servers: how these are reached (URI, key, order, TLS) and keys of which an
 * earlier version of failoverd knew nothing are no reason to take a guest's pages away. */
bool pager_parameters_bear(const char *old, const char *new);
