/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the engine is told and decides, written down as it happens (failover-recording(5)), so that the latest of it can
 * be kept when it matters. A ring of files on the run-time directory's tmpfs: each begins with a snapshot and can be
 * replayed alone, the oldest are removed. It survives a crash of failoverd, not one of the host.
 *
 * It is written on the loop: a tmpfs does not block. Signs of life wait in memory for a while where nothing else has
 * happened lately; what is of weight is in the file before it is carried out. What goes wrong is said once and costs
 * nothing but the recording.
 */

#include <stddef.h>
#include <stdint.h>

#include "daemon/core/engine.h"

struct event_ring;

#define EVENT_RING_BYTES_MAX (16 * MIB) /* of all files together, but for the latest two */
#define EVENT_RING_FILES_MAX 16

/* `directory` is created (mode 0700); what a former life left there stays, as far as the bounds allow. -errno. */
int event_ring_new(const char *directory, struct event_ring **ret);
/* The files stay. Takes NULL; returns NULL. */
struct event_ring *event_ring_free(struct event_ring *ring);

/* An event, before the engine is given it. */
void event_ring_event(struct event_ring *ring, const struct engine *engine, const struct event *event);
/* What came of it, before it is carried out. */
void event_ring_update(struct event_ring *ring, const struct engine *engine, const struct update *update);

/* A file, and how much of it. */
struct event_ring_part {
        int fd; /* for reading */
        uint64_t bytes;
};

/* What was recorded from that instant (CLOCK_BOOTTIME) on, or little before it, up to now; of earlier lives of
 * failoverd too. At most `max_bytes` where there is more than one part: then the middle is left out. Returns the number
 * of parts, 0 where nothing is recorded, -errno. The caller ends with event_ring_parts_close(). */
int event_ring_take(struct event_ring *ring, usec_t from_usec, uint64_t max_bytes,
                    struct event_ring_part ret[static EVENT_RING_FILES_MAX]);
void event_ring_parts_close(struct event_ring_part *parts, int n_parts);
