/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/status-file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

int status_file_replace(const char *path, const char *text) {
        _cleanup_free_ char *aside = NULL;
        _cleanup_fclose_ FILE *file = NULL;
        bool written;

        if (asprintf(&aside, "%s.new", path) < 0)
                return -ENOMEM;
        file = fopen(aside, "we");
        if (!file)
                return -errno;
        written = fprintf(file, "%s\n", text) > 0 && fflush(file) == 0;
        return written && rename(aside, path) == 0 ? 0 : -errno;
}
