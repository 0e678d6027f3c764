/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/* Starts a program that outlives this one: in a session of its own, so that no signal to failoverd's reaches it, with
 * signals as they are for a new program, its output in the file, and nothing else of what failoverd was told. */
int spawn_apart(char *const argv[], const char *log_path, pid_t *ret);
/* Takes those that have ended, and are waited for with this, out of `pids`. Does not wait. */
void spawn_apart_reap(pid_t *pids, size_t *n);
