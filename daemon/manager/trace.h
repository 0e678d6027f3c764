/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* --debug: every event and action but heartbeats, one line each, on standard error. */

#include "daemon/core/update.h"

void trace_event(const struct event *event);
void trace_action(const struct action *action);
