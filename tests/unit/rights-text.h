/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A space as text, for comparing: "0-1GiB 1/1, 1GiB-2GiB 2/1>2" is managed and used by OS1 up to 1 GiB; OS2 manages
 * the rest, which OS1 uses and is being made to release to OS2. "-" is nobody. */

#include <stdio.h>

#include "daemon/core/rights.h"

#define OS1 \
        (struct holder) { .pair = 1 }
#define OS2 \
        (struct holder) { .pair = 2 }
#define OS3 \
        (struct holder) { .pair = 3 }

#define SPAN(from, to) \
        (struct span) { .start = (from), .end = (to) }

static inline const char *holder_text(struct holder holder) {
        static const char *const texts[] = { "-", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" };

        return texts[(holder.pair + 1) % 11];
}

#define RIGHTS_TEXT_LEN 8192

static inline const char *rights_text(const struct rights *rights) {
        static char text[RIGHTS_TEXT_LEN];
        size_t used = 0;

        for (size_t i = 0; i < rights->n_ranges && used < sizeof(text); i++) {
                const struct rights_range *range = &rights->ranges[i];
                char from[UNITS_TEXT_MAX], to[UNITS_TEXT_MAX];

                used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%s-%s %s/%s%s%s", i ? ", " : "",
                                          size_format(from, range->span.start), size_format(to, range->span.end),
                                          holder_text(range->manager), holder_text(range->user),
                                          range->releasing ? ">" : "",
                                          range->releasing ? holder_text(range->next) : "");
        }
        return text;
}
