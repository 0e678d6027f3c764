/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/pager-parameters.h"

#include <string.h>

#include "daemon/base/cleanup.h"

/* What makes it the same disk. Of a server its control address tells which it is. */
static const char *const essential[] = { "node=", "owner=", "space=", "size=", "mirror=", "server=" };

/* How much of a line has to be the same; 0: nothing. */
static size_t essence(const char *line, size_t n) {
        for (size_t i = 0; i < ELEMENTSOF(essential); i++)
                if (n >= strlen(essential[i]) && strncmp(line, essential[i], strlen(essential[i])) == 0)
                        return strcmp(essential[i], "server=") == 0 && memchr(line, ',', n)
                                       ? (size_t) ((const char *) memchr(line, ',', n) - line)
                                       : n;
        return 0;
}

static const char *next_line(const char *line) {
        const char *end = strchr(line, '\n');

        return end ? end + 1 : line + strlen(line);
}

static bool has(const char *text, const char *wanted, size_t n) {
        for (const char *line = text; *line; line = next_line(line))
                if (essence(line, strcspn(line, "\n")) == n && strncmp(line, wanted, n) == 0)
                        return true;
        return false;
}

static bool within(const char *some, const char *all) {
        for (const char *line = some; *line; line = next_line(line)) {
                size_t n = essence(line, strcspn(line, "\n"));

                if (n > 0 && !has(all, line, n))
                        return false;
        }
        return true;
}

bool pager_parameters_bear(const char *old, const char *new) {
        return within(old, new) && within(new, old);
}
