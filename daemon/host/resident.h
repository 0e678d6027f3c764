/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* Resident memory of a process, from `directory`/statm ("/proc/PID"). In bytes. -ENOENT, -EIO. */
int resident_read(const char *directory, uint64_t *ret_bytes);
