/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A struct as a table of fields, and JSON objects in and out by that table. Every check that a value from
 * outside has to pass stands in its row, so no reader can forget one.
 */

#include <json-c/json.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/error.h"

enum field_kind {
        FIELD_UINT64,  /* uint64_t up to max (0: no bound) */
        FIELD_INT,     /* int between min and max */
        FIELD_BOOL,
        FIELD_WORD,    /* int: an enum, through the two functions */
        FIELD_CHARS,   /* char[size], checked by `valid` */
        FIELD_STRING,  /* char *, owned, checked by `valid`; absent: NULL */
        FIELD_COMMAND, /* struct command */
        FIELD_ARRAY,   /* objects of their own table: inline array or owned pointer, and its count */
};

struct fields;

struct field {
        const char *name;
        enum field_kind kind;
        size_t offset;
        int64_t min;
        uint64_t max;                     /* FIELD_STRING: longest; FIELD_ARRAY: most elements */
        size_t size;                      /* FIELD_CHARS: of the array; FIELD_ARRAY: of one element */
        int (*valid)(const char *string); /* for strings: non-zero when it may pass */
        const char *(*to_string)(int value);
        int (*from_string)(const char *string);
        const struct fields *element; /* FIELD_ARRAY */
        size_t count_offset;          /* FIELD_ARRAY: of its size_t count */
        int owned;                    /* FIELD_ARRAY: a pointer to allocate, not an inline array */
};

/* A table and which of its fields (bit numbers) an object must have. */
struct fields {
        const struct field *field;
        size_t n;
        uint64_t required;
        int (*check)(const void *object, struct error *error); /* of the whole object, may be NULL */
};

#define FIELD_BIT(i) (UINT64_C(1) << (i))

/* Adds the fields of `mask` to `json`. Fields that `required` does not name are left out when they are empty
 * (0, "", NULL). Returns 0, -ENOMEM, or -EINVAL for an enum outside its table. */
int fields_encode(struct json_object *json, const struct fields *fields, uint64_t required, uint64_t mask,
                  const void *object);

/* Fills the fields of `mask` in the zeroed struct `object` from `json`. Returns 0, -ENOMEM, or -EBADMSG with
 * the path of what is wrong in `error`; the caller then releases what the object holds by that time. */
int fields_decode(struct json_object *json, const struct fields *fields, uint64_t required, uint64_t mask,
                  void *object, struct error *error);
