/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From bytes that a stranger sent to a JSON object, back to text, and texts that are safe to show. */

#include <json-c/json.h>
#include <stddef.h>

#include "daemon/base/error.h"

/* Parses one JSON object out of exactly `length` bytes. Beyond what json-c checks, refuses NaN, comments,
 * invalid UTF-8, NUL characters, whole numbers past 64 bits, keys that come twice and anything deeper than
 * MESSAGE_DEPTH_MAX. Returns 0 and a reference in `ret`, -EBADMSG or -ENOMEM. */
int json_text_parse(const char *line, size_t length, struct json_object **ret, struct error *error);

/* The object as text on one line, with json-c's `flags`, valid until the object changes; `ret_length` may be NULL. NULL
 * when out of memory: json-c itself would leave out what it had no room for. */
const char *json_text_print(struct json_object *json, int flags, size_t *ret_length);

/* The object as one line of at most MESSAGE_LINE_MAX bytes with its newline: 0 and a heap string in `ret_line` (caller
 * frees), -E2BIG, -ENOMEM. */
int json_text_line(struct json_object *json, char **ret_line);

/* Add a value to an object or array, which takes it over, also where that fails. -ENOMEM, also for NULL. */
int json_add(struct json_object *json, const char *key, struct json_object *value);
int json_append(struct json_object *array, struct json_object *value);

/* Non-zero for valid UTF-8 without control characters, which could drive the terminal of whoever reads it. */
int text_valid(const char *string);

/* Non-zero for a name as a policy has them, which nothing from outside may stretch: letters, digits and "_.-", with a
 * letter or digit in front. How long it may be is its place's matter. */
int text_is_name(const char *string);

/* Replaces what text_valid() would refuse with question marks, in place. */
void text_clean(char *text);
