/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/bus/json-build.h"

#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/utf8.h"

static int put(struct json_object *parent, const char *key, struct json_object *value) {
        return key ? json_object_object_add(parent, key, value) : json_object_array_add(parent, value);
}

struct json_object *json_put(struct json_builder *builder, struct json_object *parent, const char *key,
                             struct json_object *value) {
        if (!parent || !value || put(parent, key, value) < 0) {
                json_object_put(value);
                builder->failed = true;
                return NULL;
        }
        return value;
}

struct json_object *json_put_object(struct json_builder *builder, struct json_object *parent, const char *key) {
        return json_put(builder, parent, key, json_object_new_object());
}

struct json_object *json_put_array(struct json_builder *builder, struct json_object *parent, const char *key) {
        return json_put(builder, parent, key, json_object_new_array());
}

void json_put_null(struct json_builder *builder, struct json_object *parent, const char *key) {
        if (!parent || put(parent, key, NULL) < 0)
                builder->failed = true;
}

void json_put_text(struct json_builder *builder, struct json_object *parent, const char *key, const char *text) {
        _cleanup_free_ char *whole = text && *text ? strdup(text) : NULL;

        if (!text || !*text) {
                json_put_null(builder, parent, key);
                return;
        }
        if (whole)
                utf8_mend(whole);
        json_put(builder, parent, key, whole ? json_object_new_string(whole) : NULL);
}

void json_put_bool(struct json_builder *builder, struct json_object *parent, const char *key, bool value) {
        json_put(builder, parent, key, json_object_new_boolean(value));
}

void json_put_number(struct json_builder *builder, struct json_object *parent, const char *key, uint64_t value) {
        json_put(builder, parent, key, json_object_new_uint64(value));
}

void json_put_span(struct json_builder *builder, struct json_object *parent, const char *key, usec_t span_usec) {
        if (span_usec == USEC_INFINITY)
                json_put_null(builder, parent, key);
        else
                json_put_number(builder, parent, key, span_usec / USEC_PER_MSEC);
}

void json_put_age(struct json_builder *builder, struct json_object *parent, const char *key, usec_t then_usec) {
        if (then_usec == 0)
                json_put_null(builder, parent, key);
        else
                json_put_span(builder, parent, key, builder->now_usec > then_usec ? builder->now_usec - then_usec : 0);
}

void json_put_wall_time(struct json_builder *builder, struct json_object *parent, const char *key, usec_t when_usec) {
        if (builder->wall_known && when_usec != 0)
                json_put_number(builder, parent, key,
                                (uint64_t) ((int64_t) when_usec + builder->wall_offset_usec) / USEC_PER_MSEC);
        else
                json_put_null(builder, parent, key);
}

struct json_object *json_finish(struct json_builder *builder, struct json_object *object) {
        if (builder->failed) {
                json_object_put(object);
                return NULL;
        }
        return object;
}
