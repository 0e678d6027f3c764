/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How many of the helper's children may be at work of each kind. What waits for a process's memory, for the swap or for
 * systemd may be held up in the kernel, where no signal ends it: it must not use up the children that fencing needs.
 *
 * A slot is a lock of its process on one byte of a file without a name. So it is free again when that process is
 * really gone, however it ended, and not before.
 */

#include "daemon/helper/protocol.h"

/* Children that can be at work of all kinds together; open and the signals need no slot. */
#define SLOTS_MAX 7

/* Returns a descriptor for all children, or a negative errno. */
int slots_open(void);
/* For a child, once: it has a slot for this work until it ends. -EAGAIN: as many as may are at work. */
int slots_take(int fd, enum helper_op op);
