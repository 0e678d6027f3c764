/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/standby-events.h"

#include <stdlib.h>
#include <string.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/host/children/standby-file.h"

FIELD_WORDS(standby_news)

static const struct field event_rows[] = {
        BYTES_FIELD(struct standby_event, time_usec),
        WORD_FIELD(struct standby_event, kind, standby_news),
        CHARS_FIELD(struct standby_event, text, text_valid),
};
static const struct fields event_fields = { event_rows, ELEMENTSOF(event_rows), FIELD_BIT(0) | FIELD_BIT(1) };

static int check(const void *object, struct error *error) {
        const struct standby_events *events = object;

        for (size_t i = 1; i < events->n_events; i++)
                if (events->events[i].time_usec <= events->events[i - 1].time_usec)
                        return error_set(error, -EBADMSG, "events[%zu] is no later than the one before", i);
        return 0;
}

static const struct field rows[] = {
        CHARS_FIELD(struct standby_events, domain, text_is_name),
        ARRAY_FIELD(struct standby_events, events, &event_fields, STANDBY_EVENTS_MAX, struct standby_event, 0),
};
static const struct fields events_fields = { rows, ELEMENTSOF(rows), FIELD_BIT(0), check };

void standby_events_add(struct standby_events *events, enum standby_news kind, const char *text, usec_t realtime_usec) {
        const size_t n = events->n_events;
        const usec_t last = n > 0 ? events->events[n - 1].time_usec : 0;
        struct standby_event *event;

        if (n == STANDBY_EVENTS_MAX)
                memmove(events->events, events->events + 1, sizeof(*event) * (n - 1));
        else
                events->n_events++;
        event = &events->events[events->n_events - 1];
        *event = (struct standby_event) { .time_usec = realtime_usec > last ? realtime_usec : last + 1,
                                          .kind = (int) kind };
        snprintf(event->text, sizeof(event->text), "%s", text);
        text_clean(event->text);
}

int standby_events_read(const char *dir, const char *domain, struct standby_events *ret, struct error *error) {
        _cleanup_free_ struct standby_events *events = calloc(1, sizeof(*events));
        int r;

        if (!events)
                return error_set(error, -ENOMEM, "out of memory");
        r = standby_file_read(dir, STANDBY_EVENTS_FILE, &events_fields, events, error);
        if (r == 0 && strcmp(events->domain, domain) != 0)
                r = error_set(error, -EBADMSG, "%s/" STANDBY_EVENTS_FILE " is of VM %s", dir, events->domain);
        if (r == 0)
                *ret = *events;
        return r;
}

int standby_events_write(const char *dir, const struct standby_events *events, bool synced, struct error *error) {
        return standby_file_write(dir, STANDBY_EVENTS_FILE, &events_fields, events, synced, error);
}
