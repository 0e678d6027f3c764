/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/crash-point.h"

void crash_point_action(const struct action *action, bool issued) {
}

void crash_point_event(const struct event *event) {
}
