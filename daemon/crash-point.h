/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where failoverd could end in the middle of its work. In the product these do nothing (crash-point-none.c). The test
 * program failoverd-crash is the same program with tests/e2e/crash-point.c in their place, and kills itself at the
 * point that it was told.
 */

#include "daemon/core/update.h"

/* An action is about to be carried out, or has been `issued` to who carries it out. */
void crash_point_action(const struct action *action, bool issued);
/* An event has come in and the engine has not seen it yet. */
void crash_point_event(const struct event *event);
