/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/clock.h"

usec_t clock_usec(clockid_t clock) {
        struct timespec time;

        (void) clock_gettime(clock, &time);
        return (usec_t) time.tv_sec * USEC_PER_SEC + (usec_t) time.tv_nsec / 1000;
}
