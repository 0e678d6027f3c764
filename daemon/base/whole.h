/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reading and writing all of it, however often the kernel has to be asked. 0; or a negative errno, -EIO where nothing
 * more comes or goes, and a part of it may then have been done. */

#include <stddef.h>
#include <stdint.h>

int whole_write(int fd, const void *bytes, size_t n);
int whole_pwrite(int fd, const void *bytes, uint64_t n, uint64_t offset);
int whole_pread(int fd, void *bytes, uint64_t n, uint64_t offset);
