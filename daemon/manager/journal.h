/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* State changes in the journal: MESSAGE_ID by kind (etc/failoverd.catalog tells what to do), PAIR=, VM=,
 * FAILOVER_ID=, PHASE=, EVENTS= (the file with the recording of it). Where there is no journal, lines on standard
 * error. */

#include "daemon/core/update.h"

/* `pair`, `vm` and `events` (a file) may be NULL. */
void journal_record(enum record_kind kind, const char *pair, const char *vm, const char *text, const char *events);
void journal_phase(const char *pair, const char *id, enum phase phase, const struct flow *flow);
void journal_flow_ended(const char *pair, const char *id, int result, const char *text, const char *events);

/* MESSAGE_ID of a kind of record, 32 hexadecimal digits. */
const char *journal_message_id(enum record_kind kind);
/* Of phases and ended flows. */
#define JOURNAL_PHASE_ID "4fa70e4ff1d24e3c8dbfd0b2d1a8f0c1"
#define JOURNAL_FLOW_ENDED_ID "4fa70e4ff1d24e3c8dbfd0b2d1a8f0c2"
