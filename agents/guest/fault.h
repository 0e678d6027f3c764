/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Drills: faults that the host asks for, to see the failover happen. */

/* "panic", "hang" or "agent-stop". Panic does not return when it works. 0, or -EINVAL for another word, or
 * -errno. */
int fault_inject(const char *proc_dir, const char *text);
