/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int error_set(struct error *error, int code, const char *format, ...) {
        va_list ap;
        char *message = NULL;

        if (!error)
                return code;

        va_start(ap, format);
        if (vasprintf(&message, format, ap) < 0)
                message = NULL;
        va_end(ap);

        free(error->message);
        *error = (struct error) { .code = code, .message = message };
        return code;
}

int error_prefix(struct error *error, const char *format, ...) {
        va_list ap;
        char *context = NULL, *message = NULL;
        int r;

        if (!error)
                return -EINVAL;
        if (error->code == 0)
                return 0;

        va_start(ap, format);
        r = vasprintf(&context, format, ap);
        va_end(ap);
        if (r < 0)
                return error->code;

        if (asprintf(&message, "%s: %s", context, error_text(error)) >= 0) {
                free(error->message);
                error->message = message;
        }
        free(context);
        return error->code;
}

const char *error_text(const struct error *error) {
        if (error->message)
                return error->message;
        return strerror(error->code < 0 ? -error->code : error->code);
}

void error_deinit(struct error *error) {
        free(error->message);
        *error = ERROR_INIT;
}
