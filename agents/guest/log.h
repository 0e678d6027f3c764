/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One line to standard error, with a priority prefix that journald and the kernel log understand. A guest
 * without a log daemon redirects it to /dev/kmsg (`--kmsg`). */

#include <syslog.h>

void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
