/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Building json-c documents without a test after every line: a builder remembers that something failed, and
 * the document is thrown away as a whole at the end.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "daemon/base/units.h"

struct json_builder {
        bool failed; /* out of memory somewhere */
        usec_t now_usec;
        bool wall_known;          /* is the next one? */
        int64_t wall_offset_usec; /* added to an instant on the clock of `now_usec` it gives CLOCK_REALTIME */
};

/* Adds `value` under `key`, or at the end of an array where `key` is NULL, and returns it. Takes it over. A NULL
 * value is a failure. */
struct json_object *json_put(struct json_builder *builder, struct json_object *parent, const char *key,
                             struct json_object *value);
struct json_object *json_put_object(struct json_builder *builder, struct json_object *parent, const char *key);
struct json_object *json_put_array(struct json_builder *builder, struct json_object *parent, const char *key);
void json_put_null(struct json_builder *builder, struct json_object *parent, const char *key);
/* NULL and "" become null. */
void json_put_text(struct json_builder *builder, struct json_object *parent, const char *key, const char *text);
void json_put_bool(struct json_builder *builder, struct json_object *parent, const char *key, bool value);
void json_put_number(struct json_builder *builder, struct json_object *parent, const char *key, uint64_t value);
/* A span in milliseconds; USEC_INFINITY becomes null. */
void json_put_span(struct json_builder *builder, struct json_object *parent, const char *key, usec_t span_usec);
/* Milliseconds since `then_usec`; null where that is 0 (never). */
void json_put_age(struct json_builder *builder, struct json_object *parent, const char *key, usec_t then_usec);
/* An instant in milliseconds since 1970; null where it is 0 (never) or the offset is not known. */
void json_put_wall_time(struct json_builder *builder, struct json_object *parent, const char *key, usec_t when_usec);

/* The finished document: `object`, or NULL (and `object` released) where something has failed. */
struct json_object *json_finish(struct json_builder *builder, struct json_object *object);
