/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From bytes that a stranger sent to a JSON object, and texts that are safe to show. */

#include <json-c/json.h>
#include <stddef.h>

#include "daemon/base/error.h"

/* Parses one JSON object out of exactly `length` bytes. Beyond what json-c checks, refuses NaN, comments,
 * invalid UTF-8, NUL characters, whole numbers past 64 bits, keys that come twice and anything deeper than
 * MESSAGE_DEPTH_MAX. Returns 0 and a reference in `ret`, -EBADMSG or -ENOMEM. */
int json_text_parse(const char *line, size_t length, struct json_object **ret, struct error *error);

/* Non-zero for valid UTF-8 without control characters, which could drive the terminal of whoever reads it. */
int text_valid(const char *string);

/* Replaces what text_valid() would refuse with question marks, in place. */
void text_clean(char *text);
