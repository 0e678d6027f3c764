/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Takes a recording (recorder.h) apart, item by item. The text may come from anywhere: all that the engine relies on
 * is made sure, and what is wrong is told with its line. A last line without an end was torn when failoverd was killed;
 * it is left out and told.
 */

#include "daemon/replay/event-text.h"
#include "daemon/replay/layout.h"
#include "daemon/replay/recorder.h"

enum recording_item {
        RECORDING_END,
        RECORDING_SEGMENT,  /* head; engine: as it was. The caller takes it out with steal_ptr() */
        RECORDING_EVENT,    /* event; valid until the next call */
        RECORDING_DECISION, /* text; the same */
        RECORDING_DIGEST,   /* digest */
        RECORDING_ISSUED,   /* id, and text: what it was given to */
};

struct recording_reader {
        /* settings */
        const struct policy *policy; /* what "policy beside" in a snapshot stands for; NULL: refused. Borrowed */

        const char *at, *end;
        unsigned long line; /* number of the one read last */
        char *copy;         /* of it */
        bool torn;
        struct layout_reading reading;
        struct pong_memory pongs;
        struct event_clock clock;

        /* the latest item */
        struct segment_head head;
        struct engine *engine;
        struct event_storage event;
        const char *text;
        uint64_t digest, id;
};

/* Time since a recording's beginning. */
struct recording_time {
        bool begun;
        usec_t since_usec, real_usec; /* of the latest event */
};

/* A segment begins with this engine. */
void recording_time_segment(struct recording_time *time, const struct engine *engine);
/* The engine will be given this event next. */
void recording_time_event(struct recording_time *time, const struct engine *engine, const struct event *event);

/* Begins to read. The text is borrowed. -EBADMSG where it holds a NUL byte. */
int recording_reader_init(struct recording_reader *reader, const char *text, size_t n, struct error *error);
void recording_reader_deinit(struct recording_reader *reader);
/* The next item's kind, or -EBADMSG with line and reason, or -ENOMEM. After RECORDING_SEGMENT the events are those of
 * that engine. */
int recording_reader_next(struct recording_reader *reader, struct error *error);
