/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What has happened to spaces, kept for those who watch: the last EVENTS_MAX, each with a number that rises by one. */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/enum-table.h"
#include "daemon/base/units.h"
#include "daemon/memserver/space-name.h"

#define EVENTS_MAX 256
#define EVENT_TEXT_LEN 160

enum space_event_kind {
        EVENT_OPENED,
        EVENT_GRANTED,
        EVENT_DROPPED,
        EVENT_PROMOTED,    /* a mirror has become the primary */
        EVENT_FILLING,     /* its mirror is being filled */
        EVENT_MIRRORED,
        EVENT_MIRROR_LOST, /* its mirror does not answer: saves wait */
        EVENT_ALONE,       /* it goes on without its mirror */
        EVENT_MOVING,      /* it is being handed over */
        EVENT_MOVED,
        EVENT_MOVE_LOST,   /* the server that it is handed over to does not answer */
        EVENT_REPLACED,    /* another server has become its primary */
        EVENT_KIND_MAX,
        EVENT_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(space_event_kind); /* "opened", "granted", "dropped", "promoted", "filling", "mirrored",
                                 "mirror-lost", "alone", "moving", "moved", "move-lost", "replaced" */

/* MESSAGE_ID of a kind, 32 hexadecimal digits; etc/failover-memserver.catalog tells what to do. */
const char *event_message_id(enum space_event_kind kind);

struct event {
        uint64_t number; /* from 1 */
        usec_t at_usec;  /* CLOCK_BOOTTIME */
        enum space_event_kind kind;
        struct space_name name;
        char text[EVENT_TEXT_LEN];
};

struct events;

/* `tell`, which may be NULL, is told of each event as it happens, from whatever thread. */
struct events *events_new(void (*tell)(const struct event *event));
struct events *events_free(struct events *events);
void events_add(struct events *events, enum space_event_kind kind, const struct space_name *name,
                const char *format, ...)
        __attribute__((format(printf, 4, 5)));
/* Number of the latest; 0 where there was none. */
uint64_t events_latest(struct events *events);
/* The first kept event after number `after`; where that is more than one further, some were missed. Waits for it at
 * most `timeout_usec`, perhaps not so long. 1 or 0. */
int events_next(struct events *events, uint64_t after, usec_t timeout_usec, struct event *ret);
