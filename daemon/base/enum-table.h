/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One string table for each enum. Every enum ends in X_MAX and has X_INVALID = -EINVAL. The table gives
 * x_to_string() (NULL outside the range) and x_from_string() (X_INVALID for an unknown word); the unit test
 * `every-enum-table-round-trips` walks them all.
 */

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define DECLARE_ENUM_TABLE(name)                               \
        const char *name##_to_string(enum name value);         \
        enum name name##_from_string(const char *string)

/* `table` is a static array of strings indexed by the enum. */
#define DEFINE_ENUM_TABLE(name, table)                                                      \
        const char *name##_to_string(enum name value) {                                     \
                int i = (int) value;                                                        \
                if (i < 0 || (size_t) i >= sizeof(table) / sizeof((table)[0]))              \
                        return NULL;                                                        \
                return (table)[i];                                                          \
        }                                                                                   \
        enum name name##_from_string(const char *string) {                                  \
                for (size_t i = 0; string && i < sizeof(table) / sizeof((table)[0]); i++)   \
                        if ((table)[i] && strcmp((table)[i], string) == 0)                  \
                                return (enum name) i;                                       \
                return (enum name) - EINVAL;                                                \
        }
