/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading and writing all of it, however often the kernel has to be asked. 0; or a negative errno, -EIO where nothing
 * more comes or goes, and a part of it may then have been done. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

int whole_write(int fd, const void *bytes, size_t n);
int whole_pwrite(int fd, const void *bytes, uint64_t n, uint64_t offset);
int whole_pread(int fd, void *bytes, uint64_t n, uint64_t offset);

/* The text of a regular file of at most `max` bytes, with a NUL behind it, and its length. Its writer may be another
 * user, who is not believed to keep to sizes: no link is followed, and no pipe waited for. -EBADMSG where it is no such
 * file. */
int whole_read_text(const char *path, size_t max, char **ret_text, size_t *ret_n);

/* Puts a file's contents beside it (".new") and moves them over it: who reads it has the old ones or these. `synced`:
 * they are on the disk by then; that they are moved is so once the directory is synced too. */
int whole_replace(const char *path, const void *bytes, size_t n, mode_t mode, bool synced);
