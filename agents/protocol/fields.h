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

/* Rows by the names of a struct's members. FIELD_WORDS() defines what WORD_FIELD() needs, from an enum's table. */
#define FIELD_AT(type, member) .name = #member, .offset = offsetof(type, member)
#define UINT64_FIELD(type, member) { FIELD_AT(type, member), .kind = FIELD_UINT64 }
#define BYTES_FIELD(type, member) { FIELD_AT(type, member), .kind = FIELD_UINT64, .max = INT64_MAX }
#define INT_FIELD(type, member, least, most) { FIELD_AT(type, member), .kind = FIELD_INT, .min = least, .max = most }
#define CHARS_FIELD(type, member, check) \
        { FIELD_AT(type, member), .kind = FIELD_CHARS, .size = sizeof(((type *) NULL)->member), .valid = check }
#define WORD_FIELD(type, member, words) \
        { FIELD_AT(type, member), .kind = FIELD_WORD, .to_string = words##_word, .from_string = words##_value }
#define STRING_FIELD(type, member, key, most, check) \
        { .name = key, .offset = offsetof(type, member), .kind = FIELD_STRING, .max = most, .valid = check }
#define COMMAND_FIELD(type, member, key) { .name = key, .offset = offsetof(type, member), .kind = FIELD_COMMAND }
#define ARRAY_FIELD(type, member, table, most, element_type, own)                        \
        { FIELD_AT(type, member), .kind = FIELD_ARRAY, .max = most, .size = sizeof(element_type), \
          .element = table, .count_offset = offsetof(type, n_##member), .owned = own }

#define FIELD_WORDS(name)                                                \
        static const char *name##_word(int value) {                      \
                return name##_to_string((enum name) value);              \
        }                                                                \
        static int name##_value(const char *string) {                    \
                return name##_from_string(string);                       \
        }

/* Adds the fields of `mask` to `json`. Fields that `required` does not name are left out when they are empty
 * (0, "", NULL). Returns 0, -ENOMEM, or -EINVAL for an enum outside its table. */
int fields_encode(struct json_object *json, const struct fields *fields, uint64_t required, uint64_t mask,
                  const void *object);

/* Fills the fields of `mask` in the zeroed struct `object` from `json`. Returns 0, -ENOMEM, or -EBADMSG with
 * the path of what is wrong in `error`; the caller then releases what the object holds by that time. */
int fields_decode(struct json_object *json, const struct fields *fields, uint64_t required, uint64_t mask,
                  void *object, struct error *error);
