/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Without libfuse there is no file to start a program from. */
#include "daemon/pages/program-file.h"

#include <errno.h>
#include <stddef.h>

int program_mount_new(const struct program_file *file, struct program_mount **ret, struct error *error) {
        return error_set(error, -EOPNOTSUPP, "failoverctl was built without libfuse, which programs are started by");
}

const char *program_mount_path(const struct program_mount *mount) {
        return NULL;
}

int program_mount_serve(struct program_mount *mount, int fd) {
        return -EOPNOTSUPP;
}

struct program_mount *program_mount_free(struct program_mount *mount) {
        return NULL;
}
