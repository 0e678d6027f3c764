/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/resident.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

int resident_read(const char *directory, uint64_t *ret_bytes) {
        _cleanup_fclose_ FILE *f = NULL;
        uint64_t pages;
        char path[128];

        snprintf(path, sizeof(path), "%s/statm", directory);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        if (fscanf(f, "%*u %" SCNu64, &pages) != 1)
                return -EIO;
        *ret_bytes = pages * (uint64_t) sysconf(_SC_PAGESIZE);
        return 0;
}
