/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A file system (FUSE) with one file, which is read-only, executable, and read when somebody touches it. */

#include <stdint.h>

#include "daemon/base/error.h"

struct program_file {
        const char *name;
        uint64_t size_bytes, modified_usec; /* since 1970 */
        /* Negative errno: the reader gets EIO, or SIGBUS where it touched a page. */
        int (*read)(void *userdata, void *buffer, uint64_t length, uint64_t offset);
        void *userdata;
};

struct program_mount;

/* Mounts it in a new directory of this user's. -EOPNOTSUPP where this was built without libfuse, else why it cannot be
 * mounted. */
int program_mount_new(const struct program_file *file, struct program_mount **ret, struct error *error);
/* Path of the file; the mount's. */
const char *program_mount_path(const struct program_mount *mount);
/* Serves it. Once `fd` hangs up, the mount goes out of everybody's sight, and it is served on for as long as somebody
 * has it open or mapped. 0 when nobody has any more. */
int program_mount_serve(struct program_mount *mount, int fd);
struct program_mount *program_mount_free(struct program_mount *mount);
