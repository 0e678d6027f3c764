/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Small files, as sysfs, procfs and /run have them. Paths are formatted. */

#include <stddef.h>
#include <stdint.h>

#define PATH_LENGTH 512

/* Reads at most size - 1 bytes and ends them with NUL, without the last newline. Returns the length or -errno. */
int file_read(char *buffer, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Writes one text in one write(2), as sysfs wants it; the file must exist. 0 or -errno. */
int file_write(const char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Replaces a file as a whole: write aside, fsync, rename. Readers see the old or the new text, never a part. */
int file_replace(const char *text, size_t length, const char *path);

/* The number behind "KEY" at the beginning of a line, or after the last "KEY" word of it, in `text`;
 * -ENOENT without one. */
int text_number(const char *text, const char *key, uint64_t *ret);
