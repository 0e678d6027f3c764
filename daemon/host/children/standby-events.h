/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the standby of a VM that stands alone (failover-standby(8)) has decided and done, for history and for people:
 * the latest of it, in a file beside its document that failoverd reads, and in one that survives a boot of the host. It
 * is written while failoverd is dead too, and known by its time: of two events of one VM no two have the same.
 */

#include "daemon/host/children/standby-document.h"

#define STANDBY_EVENTS_FILE "events.json"
#define STANDBY_EVENTS_MAX 64

struct standby_event {
        usec_t time_usec; /* CLOCK_REALTIME, and later than the one before */
        int kind;         /* enum standby_news */
        char text[STANDBY_NEWS_LEN];
};

struct standby_events {
        char domain[NAME_LEN];
        struct standby_event events[STANDBY_EVENTS_MAX]; /* the latest last */
        size_t n_events;
};

/* The oldest one goes where there is no room. `realtime_usec`: now. */
void standby_events_add(struct standby_events *events, enum standby_news kind, const char *text, usec_t realtime_usec);

/* As standby_file_read() and _write(); -EBADMSG also where they are another VM's, or not in the order of time. */
int standby_events_read(const char *dir, const char *domain, struct standby_events *ret, struct error *error);
int standby_events_write(const char *dir, const struct standby_events *events, bool synced, struct error *error);
