/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is the host itself in trouble? Once a second: which share of the last second did all tasks stall, waiting for
 * memory or for I/O (PSI `full`; for processors there is none of the whole system)? And did any wait for memory?
 */

#include <systemd/sd-event.h>

#include "daemon/host/sink.h"

#define PRESSURE_MIN_PPM 100000 /* told from here on, and once more when it falls below */
#define PRESSURE_SHORT_PPM 10000 /* of a second in which some task waited for memory: it is short */

struct pressure;

/* `directory` is /proc/pressure. `memory_short` is called after each second in which memory was: whose it was is to be
 * looked for. -ENOENT or -EOPNOTSUPP where the kernel has no PSI. */
int pressure_new(sd_event *loop, const char *directory, const struct sink *sink, void (*memory_short)(void *userdata),
                 void *userdata, struct pressure **ret_pressure);
struct pressure *pressure_free(struct pressure *pressure);

/* Total stall time of the line "some" or "full" in a PSI file's text. -ENODATA where there is no such line. */
int pressure_parse(const char *text, const char *which, usec_t *ret_total_usec);
