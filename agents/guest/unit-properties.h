/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A unit's properties, as systemd tells them. */

#include <systemd/sd-bus.h>

#include "agents/guest/units.h"

/* Reads the answer to GetAll of a unit into `status`; what it does not tell stays as it is. 0, or -errno where it is
 * malformed: then part of it may have been taken. */
int unit_properties_read(sd_bus_message *m, struct unit_status *status);
