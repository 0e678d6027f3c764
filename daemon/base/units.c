/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"

struct unit {
        const char *suffix;
        uint64_t factor;
};

static const struct unit size_units[] = {
        { "TiB", 1024 * GIB }, { "GiB", GIB }, { "MiB", MIB }, { "KiB", KIB }, { "B", 1 },
};

static const struct unit duration_units[] = {
        { "d", 86400 * USEC_PER_SEC }, { "h", 3600 * USEC_PER_SEC }, { "min", 60 * USEC_PER_SEC },
        { "s", USEC_PER_SEC },         { "ms", USEC_PER_MSEC },      { "us", 1 },
};

#define VALUE_LIMIT (UINT64_C(1) << 63)

/* Digits, optionally a point and up to six more digits, then a unit. Integer arithmetic throughout, so that
 * "1.1GiB" means the same number everywhere. */
static int parse(const char *text, const struct unit *units, size_t n_units, uint64_t *ret) {
        uint64_t whole = 0, fraction = 0, scale = 1;
        const char *p = text;
        __uint128_t value;

        if (!isdigit((unsigned char) *p))
                return -EINVAL;
        for (; isdigit((unsigned char) *p); p++) {
                if (whole > VALUE_LIMIT / 10 - 1)
                        return -ERANGE;
                whole = whole * 10 + (uint64_t) (*p - '0');
        }
        if (*p == '.') {
                if (!isdigit((unsigned char) *++p))
                        return -EINVAL;
                for (; isdigit((unsigned char) *p); p++) {
                        if (scale >= 1000000)
                                return -EINVAL;
                        fraction = fraction * 10 + (uint64_t) (*p - '0');
                        scale *= 10;
                }
        }
        if (*p == 0 && whole == 0 && fraction == 0) {
                *ret = 0;
                return 0;
        }
        for (size_t i = 0; i < n_units; i++) {
                if (strcmp(p, units[i].suffix) != 0)
                        continue;
                value = (__uint128_t) whole * units[i].factor + (__uint128_t) fraction * units[i].factor / scale;
                if (value >= VALUE_LIMIT)
                        return -ERANGE;
                *ret = (uint64_t) value;
                return 0;
        }
        return -EINVAL;
}

static const char *format(char *buffer, uint64_t value, const struct unit *units, size_t n_units) {
        if (value == 0)
                return strcpy(buffer, "0");
        for (size_t i = 0; i < n_units; i++)
                if (value % units[i].factor == 0) {
                        snprintf(buffer, UNITS_TEXT_MAX, "%" PRIu64 "%s", value / units[i].factor, units[i].suffix);
                        return buffer;
                }
        return buffer; /* not reached: the last unit's factor is 1 */
}

int size_parse(const char *text, uint64_t *ret_bytes) {
        return parse(text, size_units, ELEMENTSOF(size_units), ret_bytes);
}

int duration_parse(const char *text, usec_t *ret_usec) {
        return parse(text, duration_units, ELEMENTSOF(duration_units), ret_usec);
}

const char *size_format(char buffer[UNITS_TEXT_MAX], uint64_t bytes) {
        return format(buffer, bytes, size_units, ELEMENTSOF(size_units));
}

const char *duration_format(char buffer[UNITS_TEXT_MAX], usec_t usec) {
        return format(buffer, usec, duration_units, ELEMENTSOF(duration_units));
}
