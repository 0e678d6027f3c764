/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "agents/region/region-internal.h"

static _Thread_local char text[512];

int region_error_keep(struct error *error, const char *format, ...) {
        int n, r = error->code;
        va_list arguments;

        va_start(arguments, format);
        n = vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        if (n >= 0 && (size_t) n < sizeof(text))
                (void) snprintf(text + n, sizeof(text) - (size_t) n, ": %s", error_text(error));
        error_deinit(error);
        return r;
}

__attribute__((visibility("default"))) const char *failover_region_error(void) {
        return text;
}
