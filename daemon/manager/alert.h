/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "daemon/core/update.h"

/* Starts the policy's `on-event` unit ("alert@.service": the pair's name becomes the instance; "%i" is replaced by
 * it) where the kind of record is one that a person should hear of. Does not wait; what goes wrong is logged. */
void alert_record(sd_event *loop, bool user, enum record_kind kind, const char *unit, const char *pair);
