/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "tests/unit/test.h"

/* Whatever is written to the journal under an id has its entry in the catalog, and the other way round. */
static inline void check_catalog(const char *name, const char *(*message_id)(int event), int n_events) {
        _cleanup_free_ char *path = NULL;
        _cleanup_fclose_ FILE *file = NULL;
        char line[256], entry[64];
        int n = 0;

        REQUIRE(asprintf(&path, "%s/etc/%s.catalog", getenv("TEST_SOURCE_DIR") ?: ".", name) > 0);
        file = fopen(path, "re");
        REQUIRE(file != NULL);
        while (fgets(line, sizeof(line), file))
                if (strncmp(line, "-- ", 3) == 0) {
                        REQUIRE(n < n_events);
                        snprintf(entry, sizeof(entry), "-- %s\n", message_id(n++));
                        CHECK_TEXT(line, entry);
                }
        CHECK(n == n_events && message_id(n_events) == NULL);
}
