/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/page-out.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define CAPABILITY_SYS_NICE 23 /* linux/capability.h */

static int read_capabilities(uint64_t *ret) {
        _cleanup_fclose_ FILE *f = fopen("/proc/self/status", "re");
        char line[256];

        if (!f)
                return -errno;
        while (fgets(line, sizeof(line), f))
                if (sscanf(line, "CapEff: %" SCNx64, ret) == 1)
                        return 0;
        return -ENODATA;
}

uint64_t page_out_swap_bytes(void) {
        struct sysinfo info;

        return sysinfo(&info) < 0 ? 0 : (uint64_t) info.freeswap * info.mem_unit;
}

int page_out_possible(uint64_t swap_bytes) {
        uint64_t capabilities;
        int r;

        r = read_capabilities(&capabilities);
        if (r < 0)
                return r;
        if (!(capabilities & (UINT64_C(1) << CAPABILITY_SYS_NICE)))
                return -EPERM;
        return swap_bytes < PAGE_OUT_SWAP_LEAST_BYTES ? -ENOSPC : 0;
}

int page_out(int pidfd, uint64_t start, uint64_t bytes) {
        while (bytes > 0) {
                struct iovec range = { .iov_base = (void *) (uintptr_t) start, .iov_len = bytes };
                ssize_t n = syscall(SYS_process_madvise, pidfd, &range, 1, MADV_PAGEOUT, 0);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                start += (uint64_t) n;
                bytes -= (uint64_t) n < bytes ? (uint64_t) n : bytes;
        }
        return 0;
}
