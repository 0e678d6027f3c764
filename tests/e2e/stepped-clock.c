/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * failoverd-crash lives in a host whose wall clock can be set: CLOCK_REALTIME is off by the seconds, a 64-bit number,
 * in the file FAILOVERD_CLOCK. Setting the machine's own is not a test's to do, and time namespaces do not cover it.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *offset_sec;

__attribute__((constructor)) static void open_clock(void) {
        const char *path = getenv("FAILOVERD_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*offset_sec), PROT_READ, MAP_SHARED, fd, 0);

        if (fd >= 0)
                close(fd);
        if (at != MAP_FAILED)
                offset_sec = at;
}

/* In the C library's place, for the libraries too. */
int clock_gettime(clockid_t clock, struct timespec *ret) {
        int r = (int) syscall(SYS_clock_gettime, clock, ret);

        if (r == 0 && clock == CLOCK_REALTIME && offset_sec)
                ret->tv_sec += *offset_sec;
        return r;
}
