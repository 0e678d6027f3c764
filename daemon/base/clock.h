/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <time.h>

#include "daemon/base/units.h"

/* The time on a clock of the kernel's (CLOCK_BOOTTIME, CLOCK_REALTIME, ...). For the shell alone: the core gets its
 * time with each event. */
usec_t clock_usec(clockid_t clock);
