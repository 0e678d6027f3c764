/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * All processes of one application, however they forked. With cgroup v2 the kernel keeps that account. Without
 * it they are found in /proc: by session, by process group, and by the environment variable that the agent set
 * and children inherit (so also a daemon that began a session of its own). "None is left" is what lets the other
 * side start, so errors count as "somebody is left".
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agents/guest/file.h"
#include "policy/policy.h"

#define GROUP_VARIABLE "FAILOVER_APPLICATION"

struct group {
        char app[NAME_LEN];
        char cgroup_dir[PATH_LENGTH]; /* empty: none */
        pid_t leader;                 /* session and process group to look for; 0: none */
};

/* Whether `dir` is where a cgroup v2 hierarchy is mounted. */
bool cgroup_is_mounted(const char *dir);

/* Makes the cgroup ROOT/failover/APP, confined to the memory of `node` unless that is -1 or the controller is
 * missing. Without a cgroup v2 at `cgroup_root` the group goes by /proc. Returns 0 or -errno. */
int group_init(struct group *group, const char *cgroup_root, const char *app, int node);

/* Removes its cgroup if that is one of ours and empty. */
void group_remove(struct group *group, const char *cgroup_root);

/* How many live processes it has (zombies hold nothing and do not count), or -errno. */
int group_count(const struct group *group);

/* Sends a signal to each; SIGKILL reaches also those that fork meanwhile where the kernel has cgroup.kill. */
int group_signal(const struct group *group, int signal_number);

/* Processes that the out-of-memory killer has taken: of the group, or of the whole guest without a cgroup. */
uint64_t group_oom_kills(const struct group *group);

/* Memory that the group uses, 0 where nobody counts it. */
uint64_t group_memory(const struct group *group);
