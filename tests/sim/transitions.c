/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/transitions.h"

#include <errno.h>
#include <glob.h>
#include <stdio.h>

/* "    3941 orders     starting -> unprotected", as print_states() writes it. */
static int read_line(const char *line, bool known[PAIR_STATE_MAX][PAIR_STATE_MAX]) {
        char from[16], to[16];
        int n = 0;
        enum pair_state a, b;

        if (sscanf(line, " %*u %*s %15[a-z] -> %15[a-z]%n", from, to, &n) != 2 || line[n] != '\n')
                return 0;
        a = pair_state_from_string(from);
        b = pair_state_from_string(to);
        if (a < 0 || b < 0)
                return 0;
        known[a][b] = true;
        return 1;
}

static int read_expect(const char *path, bool known[PAIR_STATE_MAX][PAIR_STATE_MAX]) {
        char line[1024];
        FILE *f = fopen(path, "re");
        int n = 0;

        if (!f)
                return -errno;
        while (fgets(line, sizeof(line), f))
                n += read_line(line, known);
        fclose(f);
        return n;
}

int transitions_read(const char *directory, bool known[PAIR_STATE_MAX][PAIR_STATE_MAX]) {
        char pattern[4096];
        glob_t found;
        int n = 0, r = 0;

        if (snprintf(pattern, sizeof(pattern), "%s/*/expect", directory) >= (int) sizeof(pattern))
                return -ENAMETOOLONG;
        if (glob(pattern, 0, NULL, &found) != 0)
                return -ENOENT;
        for (size_t i = 0; i < found.gl_pathc && r >= 0; i++) {
                r = read_expect(found.gl_pathv[i], known);
                n += r > 0 ? r : 0;
        }
        globfree(&found);
        return r < 0 ? r : n;
}
