/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The one error policy of this project.
 *
 * A function that can fail returns 0 or a positive value on success and a negative errno on failure. Where a
 * person has to be told more than the errno says, the function also takes a `struct error *`: it fills in a
 * message that names the thing, the reason and the next step, and each caller may put its own context in
 * front ("policy.yaml:14:9: applications[0].memory: ..."). The pointer may be NULL when nobody will read it.
 *
 * A function either returns its error or logs it, never both. Outputs (`ret_x`) are untouched on failure and
 * always set on success.
 */

#include <stdarg.h>

struct error {
        int code;      /* negative errno, 0 while nothing has failed */
        char *message; /* owned; NULL while nothing has failed */
};

#define ERROR_INIT \
        (struct error) { 0 }

/* Records `code` (negative errno) and a formatted message, replacing what was there. Returns `code`, so that
 * a caller can write `return error_set(error, -EINVAL, ...)`. `error` may be NULL. */
int error_set(struct error *error, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Puts context in front of the message: "CONTEXT: MESSAGE". Does nothing where nothing has failed. Returns
 * the recorded code, or `-EINVAL` when `error` is NULL. */
int error_prefix(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The message, or the text of the code where there is none; never NULL. Valid until the error changes. */
const char *error_text(const struct error *error);

void error_deinit(struct error *error);
