/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where the adapters hand in what happened. Always called on the loop's thread. The adapter fills in everything
 * but the time; the manager stamps it. Pointers in the event are borrowed for the call.
 */

#include "daemon/core/event.h"

struct sink {
        void (*event)(void *userdata, const struct event *event);
        void *userdata;
};

static inline void sink_event(const struct sink *sink, const struct event *event) {
        sink->event(sink->userdata, event);
}
