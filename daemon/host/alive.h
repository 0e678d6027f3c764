/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file that a program holds a record lock on for as long as it lives: the one truth about whether it does. */

/* Makes the file and takes the lock; the descriptor is not given out, and lasts as long as the process. -EBUSY where
 * another process has it. */
int alive_take(const char *path);
/* The process that has it; 0: nobody. Or -errno, when that cannot be told (no right to look, no descriptors left). */
int alive_holder(const char *path);
