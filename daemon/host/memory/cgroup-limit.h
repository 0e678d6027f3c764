/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Limits of control groups that are given for a while. Each group that is changed keeps a note of what it had before in
 * an extended attribute of its own (user.failoverd.memory), written first. So nothing can be left behind: the note
 * lives as long as the group, and whoever comes after a crash finds it there. What an operator has set meanwhile is
 * left alone.
 *
 * A note is believed, and made, only in a directory that is this process's user's and nobody else's to write: in a unit
 * that is delegated to a user, that user may write what they like. What belongs to others is passed by.
 *
 * All of this may wait for systemd for seconds: for workers, and with the lock held.
 */

#include <errno.h>

#include "daemon/base/enum-table.h"
#include "daemon/host/memory/cgroup.h"

enum cgroup_limit {
        CGROUP_LIMIT_MIN,
        CGROUP_LIMIT_LOW,
        CGROUP_LIMIT_HIGH,
        CGROUP_LIMIT_HARD,
        CGROUP_LIMIT_MAX,
        CGROUP_LIMIT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(cgroup_limit); /* "memory.min", "memory.low", "memory.high", "memory.max" */

/* Groups above are common to many VMs, and several may be asked for at once: `path` is a file for that, which is made.
 * Returns a descriptor that holds the lock until it is closed; -EPERM where others than this process's user could open
 * the file; -EAGAIN where another process has been at work on the tree for seconds. */
int cgroup_lock(const char *path);
/* To MiB; CGROUP_NO_LIMIT stays. */
uint64_t cgroup_limit_round(uint64_t bytes);
/* Gives a group a limit, in bytes, again and again if need be, and no more than an operator's protection is lowered or
 * their limit raised. -EOPNOTSUPP and the like where a note cannot be kept; -EPERM for a group of others. */
int cgroup_limit_give(const char *root, const char *path, enum cgroup_limit limit, uint64_t bytes);
/* Is this value, found in the group, one that it was given? */
bool cgroup_limit_is_given(const char *root, const char *path, enum cgroup_limit limit, uint64_t bytes);
/* Brings a group back to what it had before; its hard limit only with `hard`. Returns 1 where it had been given
 * something, 0 where not, or a negative errno, and the note stays. */
int cgroup_limits_give_back(const char *root, const char *path, bool hard);
