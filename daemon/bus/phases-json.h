/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The timeline of one failover as JSON, the same in status, in history and in signals (failover-json(7)). */

#include "daemon/bus/json-build.h"
#include "daemon/core/flow.h"

/* Puts "phases", those that were reached in their order, and "recovery_usec", from the first of them to started, null
 * until then. `phase_usec` are instants on the builder's clock, 0 where a phase was not reached. */
void json_put_phases(struct json_builder *builder, struct json_object *parent, const usec_t phase_usec[PHASE_MAX]);

/* Span from the first phase known (the fault itself in a drill, its detection otherwise) to the last start;
 * USEC_INFINITY until then. */
usec_t phases_recovery(const usec_t phase_usec[PHASE_MAX]);
