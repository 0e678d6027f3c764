/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/share-header.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void share_wait(struct share_header *header, uint32_t seen, uint64_t timeout_usec) {
        struct timespec timeout = { (time_t) (timeout_usec / 1000000), (long) (timeout_usec % 1000000 * 1000) };

        (void) syscall(SYS_futex, &header->changed, FUTEX_WAIT, seen, &timeout, NULL, 0);
}

void share_tell(struct share_header *header) {
        header->changed++;
        (void) syscall(SYS_futex, &header->changed, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
