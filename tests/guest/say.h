/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an application that counts tells its test: numbers, each in a file of its own, /run/NAME.WHAT. */

#include <stdio.h>
#include <stdlib.h>

/* The file is whole whenever it is read. Ends the program where that cannot be. */
static inline void say(const char *name, const char *what, unsigned long long number) {
        char path[128], aside[140];
        FILE *f;

        snprintf(path, sizeof(path), "/run/%s.%s", name, what);
        snprintf(aside, sizeof(aside), "%s.new", path);
        f = fopen(aside, "w");
        if (!f || fprintf(f, "%llu\n", number) < 0 || fclose(f) != 0 || rename(aside, path) < 0)
                exit(4);
}
