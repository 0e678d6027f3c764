/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Events and actions in words, for people: what a simulation, a scenario and a replay show. */

#include <stdbool.h>

#include "daemon/core/engine.h"

#define DESCRIBE_LEN 768

/* What the engine wants done, in a line such as "orders-a   resize orders-db to 1024 MiB". False, and nothing, for
 * what does not weigh: heartbeats, looks, wakes. `pair` is the pair's name, `policy` its policy; both may be NULL where
 * it is no more. Control characters are replaced. */
bool describe_action(const struct action *action, const char *pair, const struct pair_policy *policy,
                     char text[static DESCRIBE_LEN]);

/* What the engine is told, before it is told. False, and nothing, for signs of life, wakes, what is known already, and
 * answers that all is well. */
bool describe_event(const struct event *event, const struct engine *engine, char text[static DESCRIBE_LEN]);
