/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An event as one line of text, complete, and back:
 *
 *   +250013~-1 wake 3 -87
 *   +102 message 3b message.nonce=18
 *   +7 domain 3a domain=crashed reason=panicked
 *
 * Time since the event before, on CLOCK_BOOTTIME in microseconds; behind "~" by how much CLOCK_REALTIME went another
 * way; kind; slot of the pair ("-": none) and side; for a wake, how far the instant that was asked for lies from its
 * own; fields that are not zero. A policy follows as a block of lines (policy-block.h).
 *
 * Nearly all events are pongs that say what the last one said, so of a pong only the difference to the last one of the
 * same VM is written. Both ends keep that one, from the beginning of a segment on.
 */

#include "daemon/base/buffer.h"
#include "daemon/core/event.h"
#include "daemon/core/handover.h"
#include "daemon/core/record.h"
#include "daemon/replay/layout.h"

#define RECORDING_SLOTS_MAX (4 * POLICY_PAIRS_MAX)

/* The last pong of each VM. Zero-initialise. */
struct pong_memory {
        struct message **messages; /* two a slot, NULL where there was none yet. Owned */
        size_t n_messages;
};

void pong_memory_deinit(struct pong_memory *memory);

/* Instants of the event before. */
struct event_clock {
        usec_t time_usec, real_usec;
};

/* Appends the line, and the block that belongs to it. Returns 0 or -ENOMEM. */
int event_text_write(struct buffer *out, const struct event *event, struct event_clock before,
                     struct pong_memory *pongs);

/* An event with all that it borrows. */
struct event_storage {
        struct event event;
        struct policy *policy; /* owned */
        struct record record;
        struct message message;
        struct preflight preflight;
        struct operator_command command;
        struct usage usage;
};

void event_storage_deinit(struct event_storage *storage);

/* Reads a line (without its newline). What the engine relies on is made sure: slot and side of what is about a VM,
 * words, numbers in their range, parts that its kind has. The policy of EVENT_POLICY is the caller's to add: its block
 * comes next. -EBADMSG with the reason, -ENOMEM. */
int event_text_parse(const char *line, struct event_clock before, struct pong_memory *pongs,
                     struct layout_reading *reading, struct event_storage *ret, struct error *error);
