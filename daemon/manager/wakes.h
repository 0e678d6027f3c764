/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * When the engine is woken for its pairs: one timer for all, so that what may be a little late shares a wake-up
 * with others. Called on the loop's thread; all but wakes_free() also from within the callback.
 */

#include <systemd/sd-event.h>

#include "daemon/base/units.h"

struct wakes;

/* The time set for a slot has come: `due_usec` is what was asked for. Nothing follows until it is set anew. */
typedef void (*wakes_due_t)(void *userdata, int slot, usec_t due_usec);

/* Negative errno. */
int wakes_new(sd_event *loop, wakes_due_t due, void *userdata, struct wakes **ret);
/* Takes NULL; returns NULL. */
struct wakes *wakes_free(struct wakes *wakes);

/* Wakes `slot` (a pair's, or NO_PAIR) at an instant of CLOCK_BOOTTIME, at most `slack_usec` later, in place of what was
 * set for it before; USEC_INFINITY: not at all. -ENOMEM, or what sd-event has against a timer. */
int wakes_set(struct wakes *wakes, int slot, usec_t due_usec, usec_t slack_usec);
