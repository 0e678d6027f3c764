/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Writes down what the engine is told and what it decides, so that a replay can tell whether the same is decided
 * again. A recording is a sequence of segments, each of which can be replayed alone:
 *
 *   failoverd-recording 1 version="0.1.0" life=1790000000000000 segment=7 time_usec=123456789
 *   ... a snapshot of the engine (snapshot.h), to "end"
 *   +250013~-1 wake 3 -87             an event (event-text.h), then what came of it:
 *   > orders-a   [decided] ...        a decision of weight, in words (describe.h)
 *   = 5f2d...                         digest of all updates of the segment so far, to the last byte
 *
 * In the place of the latter two, a recording that is a scenario has
 *
 *   ! 25 send-start 0b db             what a number was given to, by which an answer refers to it (issued.h)
 *
 * Segments of one life of failoverd follow each other by their numbers. The digest stands behind each decision of
 * weight, and now and then where there was none.
 */

#include "daemon/base/buffer.h"
#include "daemon/core/engine.h"
#include "daemon/replay/event-text.h"

#define RECORDING_MAGIC "failoverd-recording"
#define RECORDING_FORMAT 1
#define RECORDER_DIGEST_EVERY 256 /* updates without a decision of weight */

struct recorder {
        struct buffer out; /* what was written and has not been taken yet: the caller takes it and empties it */
        unsigned digest_every; /* at least so often, in updates; 0: no decisions and digests, but what answers refer to
                                */
        bool policy_beside;    /* of the first segment: it is in a file of its own */

        struct event_clock clock; /* of the last event */
        struct pong_memory pongs;
        struct buffer policy; /* text of the policy in force */
        bool policy_known;
        struct buffer scratch; /* an update's text */
        uint64_t digest;
        unsigned n_undigested;
};

#define RECORDER_INIT \
        (struct recorder) { .digest_every = RECORDER_DIGEST_EVERY }

void recorder_deinit(struct recorder *recorder);

/* What a segment begins with beside the engine. */
struct segment_head {
        char version[32];        /* of failoverd; filled in by recorder_segment() */
        uint64_t life, segment;  /* tells lives of failoverd apart; number within one */
        usec_t time_usec;        /* CLOCK_BOOTTIME when it was begun */
};

extern const struct layout segment_head_layout;

/* Begins a segment with the engine as it is. -ENOMEM. */
int recorder_segment(struct recorder *recorder, const struct engine *engine, const struct segment_head *head);
/* An event, before the engine is given it. -ENOMEM: what comes behind it is of no use before another segment. */
int recorder_event(struct recorder *recorder, const struct event *event);
/* What came of it. Positive where something of weight was decided. -ENOMEM as above. */
int recorder_update(struct recorder *recorder, const struct engine *engine, const struct update *update);
