/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks systemd to start or stop a unit, and does not wait for it. */

#include <stdbool.h>
#include <systemd/sd-event.h>

/* `method` is "StartUnit" or "StopUnit"; `user`: of the user's manager. `done` is called once, on the loop, with NULL
 * or what went wrong, unless this fails; not whether the unit came up, but whether systemd took the order. */
int unit_ask(sd_event *loop, bool user, const char *method, const char *unit,
             void (*done)(void *userdata, const char *error), void *userdata);
