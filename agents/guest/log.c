/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

void log_line(int priority, const char *format, ...) {
        char line[512];
        va_list ap;
        int prefix, n;

        prefix = snprintf(line, sizeof(line), "<%d>failover-agent: ", priority);
        va_start(ap, format);
        n = vsnprintf(line + prefix, sizeof(line) - (size_t) prefix - 1, format, ap);
        va_end(ap);
        if (n < 0)
                return;
        n += prefix;
        if (n > (int) sizeof(line) - 2)
                n = (int) sizeof(line) - 2;
        line[n] = '\n';
        /* One write, so that the kernel log takes it as one record. A full or closed log is not our trouble. */
        if (write(STDERR_FILENO, line, (size_t) n + 1) < 0)
                return;
}
