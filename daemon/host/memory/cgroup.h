/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Control groups of version 2, as files. `root` is where their file system is mounted; a `path` is a group's in it, as
 * in /proc/PID/cgroup: "/machine.slice/x.scope"; "" is the root's.
 */

#include <stdbool.h>
#include <stdint.h>

#define CGROUP_PATH_LEN 512
#define CGROUP_NO_LIMIT UINT64_MAX /* "max" */

/* Where the whole tree is mounted, with the memory controller, as `mountinfo` ("/proc/self/mountinfo") tells.
 * -EOPNOTSUPP where it is not, as where that controller is of version 1. */
int cgroup_find_root(const char *mountinfo, char ret_root[CGROUP_PATH_LEN]);
/* A process's group, out of `file` ("/proc/PID/cgroup"). -EOPNOTSUPP where it has none that can be seen from here. */
int cgroup_of_process(const char *file, char ret_path[CGROUP_PATH_LEN]);
/* Cuts the last name off. False, with the path untouched, where it is the root's. */
bool cgroup_parent(char path[CGROUP_PATH_LEN]);
bool cgroup_has(const char *root, const char *path, const char *file);
/* One number of a group. -ENOENT: the group is gone, or has not this file. */
int cgroup_read(const char *root, const char *path, const char *file, uint64_t *ret);
int cgroup_write(const char *root, const char *path, const char *file, uint64_t value);
/* The unit of the system's systemd that a group is by its path, which it points into: only slices lead there. NULL
 * where a group is none. -EPERM where its name is a unit's but the unit another manager's: a user's, a container's. */
int cgroup_unit_of_path(const char *path, const char **ret_unit);
/* The same for a group of this host: NULL as well where systemd does not run here. */
int cgroup_unit(const char *root, const char *path, const char **ret_unit);
/* Sets a property of such a unit until the next boot, with systemd's knowledge: it would overwrite what others write
 * into its groups. Waits up to 3 s. */
int cgroup_set_unit(const char *unit, const char *property, uint64_t value);
