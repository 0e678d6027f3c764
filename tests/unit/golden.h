/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Comparing text with a file of the source tree. With TEST_UPDATE=1 in the environment the file is written in
 * place of being compared, to be looked at before it is committed. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `path` is one below the source tree. */
static inline bool golden_file_matches(const char *file, const char *text) {
        char path[512], *expected = NULL;
        size_t n = 0;
        bool same;
        FILE *f;

        snprintf(path, sizeof(path), "%s/%s", getenv("TEST_SOURCE_DIR"), file);
        if (getenv("TEST_UPDATE")) {
                f = fopen(path, "we");
                if (!f)
                        return false;
                fputs(text, f);
                return fclose(f) == 0;
        }
        f = fopen(path, "re");
        if (!f || getdelim(&expected, &n, 0, f) < 0) {
                fprintf(stderr, "%s cannot be read\n", path);
                same = false;
        } else
                same = strcmp(expected, text) == 0;
        if (!same)
                fprintf(stderr, "--- %s, this came instead:\n%s---\n", path, text);
        if (f)
                fclose(f);
        free(expected);
        return same;
}

/* tests/ctl/NAME.expect */
static inline bool golden_matches(const char *name, const char *text) {
        char file[128];

        snprintf(file, sizeof(file), "tests/ctl/%s.expect", name);
        return golden_file_matches(file, text);
}
