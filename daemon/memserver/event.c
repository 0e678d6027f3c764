/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/event.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

static const char *const event_kind_table[] = {
        [EVENT_OPENED] = "opened",
        [EVENT_GRANTED] = "granted",
        [EVENT_DROPPED] = "dropped",
        [EVENT_PROMOTED] = "promoted",
        [EVENT_FILLING] = "filling",
        [EVENT_MIRRORED] = "mirrored",
        [EVENT_MIRROR_LOST] = "mirror-lost",
        [EVENT_ALONE] = "alone",
        [EVENT_MOVING] = "moving",
        [EVENT_MOVED] = "moved",
        [EVENT_MOVE_LOST] = "move-lost",
        [EVENT_REPLACED] = "replaced",
};
DEFINE_ENUM_TABLE(space_event_kind, event_kind_table)

/* Made once and kept for ever. */
static const char *const message_ids[] = {
        [EVENT_OPENED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5000",
        [EVENT_GRANTED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5001",
        [EVENT_DROPPED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5002",
        [EVENT_PROMOTED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5003",
        [EVENT_FILLING] = "b2f6a91c07d84e5f9a3d6c1e8f4b5004",
        [EVENT_MIRRORED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5005",
        [EVENT_MIRROR_LOST] = "b2f6a91c07d84e5f9a3d6c1e8f4b5006",
        [EVENT_ALONE] = "b2f6a91c07d84e5f9a3d6c1e8f4b5007",
        [EVENT_MOVING] = "b2f6a91c07d84e5f9a3d6c1e8f4b5008",
        [EVENT_MOVED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5009",
        [EVENT_MOVE_LOST] = "b2f6a91c07d84e5f9a3d6c1e8f4b5010",
        [EVENT_REPLACED] = "b2f6a91c07d84e5f9a3d6c1e8f4b5011",
};

const char *event_message_id(enum space_event_kind kind) {
        return kind >= 0 && kind < EVENT_KIND_MAX ? message_ids[kind] : NULL;
}

struct events {
        pthread_mutex_t lock;
        pthread_cond_t added;
        void (*tell)(const struct event *event);
        uint64_t latest;
        struct event ring[EVENTS_MAX]; /* number n at n % EVENTS_MAX */
};

struct events *events_new(void (*tell)(const struct event *event)) {
        struct events *events = calloc(1, sizeof(*events));

        if (!events)
                return NULL;
        events->tell = tell;
        (void) pthread_mutex_init(&events->lock, NULL);
        condition_init(&events->added);
        return events;
}

struct events *events_free(struct events *events) {
        if (events) {
                (void) pthread_cond_destroy(&events->added);
                (void) pthread_mutex_destroy(&events->lock);
                free(events);
        }
        return NULL;
}

void events_add(struct events *events, enum space_event_kind kind, const struct space_name *name,
                const char *format, ...) {
        struct event event = { .kind = kind, .name = *name, .at_usec = clock_usec(CLOCK_BOOTTIME) };
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(event.text, sizeof(event.text), format, ap);
        va_end(ap);
        pthread_mutex_lock(&events->lock);
        event.number = ++events->latest;
        events->ring[event.number % EVENTS_MAX] = event;
        pthread_cond_broadcast(&events->added);
        pthread_mutex_unlock(&events->lock);
        if (events->tell)
                events->tell(&event);
}

uint64_t events_latest(struct events *events) {
        uint64_t latest;

        pthread_mutex_lock(&events->lock);
        latest = events->latest;
        pthread_mutex_unlock(&events->lock);
        return latest;
}

int events_next(struct events *events, uint64_t after, usec_t timeout_usec, struct event *ret) {
        int r = 0;

        pthread_mutex_lock(&events->lock);
        if (events->latest <= after)
                condition_wait(&events->added, &events->lock, timeout_usec);
        if (events->latest > after) {
                uint64_t oldest = events->latest > EVENTS_MAX ? events->latest - EVENTS_MAX + 1 : 1;
                *ret = events->ring[(after + 1 > oldest ? after + 1 : oldest) % EVENTS_MAX];
                r = 1;
        }
        pthread_mutex_unlock(&events->lock);
        return r;
}
