/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/memstream.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

int memstream_close(FILE *stream, char **text) {
        bool failed;

        if (!stream) {
                *text = NULL;
                return -ENOMEM;
        }
        failed = fflush(stream) != 0 || ferror(stream);
        if (fclose(stream) != 0 || failed) {
                free(*text);
                *text = NULL;
        }
        return *text ? 0 : -ENOMEM;
}
