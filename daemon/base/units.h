/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sizes and durations with units, as people write and read them. */

#include <stdint.h>

typedef uint64_t usec_t; /* microseconds; a point on CLOCK_BOOTTIME or a span, as the name says */

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_INFINITY UINT64_MAX

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

/* "512MiB", "4GiB", "1.5GiB", "64KiB", "0"; a bare number other than 0 has no unit and is refused. Units are
 * B, KiB, MiB, GiB, TiB. Returns -EINVAL for anything else and -ERANGE past 2^63. */
int size_parse(const char *text, uint64_t *ret_bytes);

/* "500ms", "2s", "1.5s", "10min", "1h", "2d", "0"; units us, ms, s, min, h, d. Same errors. */
int duration_parse(const char *text, usec_t *ret_usec);

#define UNITS_TEXT_MAX 32

/* Shortest text that reads back as the same number: "512MiB", "1536KiB", "500ms". Returns `buffer`. */
const char *size_format(char buffer[UNITS_TEXT_MAX], uint64_t bytes);
const char *duration_format(char buffer[UNITS_TEXT_MAX], usec_t usec);
