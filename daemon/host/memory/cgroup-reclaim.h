/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Making room below a limit of a control group before it is set: who writes a limit below what is in use waits for the
 * swap, and is that systemd, everybody does. May wait for the kernel for seconds: for workers. */

#include "daemon/host/memory/cgroup.h"

/* Has what is above a limit somewhere to go, as far as groups say? */
bool cgroup_may_swap(const char *root, const char *group);
/* So much more a group's processes may have in the swap, by its own limit and those above; CGROUP_NO_LIMIT. */
uint64_t cgroup_swap_left(const char *root, const char *group);
/* What is above the limit goes to the swap, for some seconds at most, and not for an asker who is gone. */
void cgroup_reclaim(const char *root, const char *group, uint64_t limit_bytes, int asker_fd);
/* With the lock held: raises a limit to one that holds nobody up. What is in use now has not been taken back, because
 * it cannot be (locked, no swap left) or not so soon: a limit below it, or right at it, would stop QEMU at each page.
 * Where systemd is to write it, it grows meanwhile. */
int cgroup_bearable(const char *root, const char *group, uint64_t *limit_bytes);
/* Whether the other end of a connection is closed; false for -1. */
bool cgroup_asker_is_gone(int fd);
