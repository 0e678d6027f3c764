/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A struct as a table of its fields, and text out of it and into it by that table: "state=armed slot=3
 * record.flow.kind=os-failure". A field that equals the base (or is zero, where there is none) is left out, so that a
 * text holds what is the case and nothing else. The tables of the core's structs are in layouts.h; a test proves that
 * they cover each of them completely, so that a field which is added without a row here does not go unnoticed.
 *
 * Reading believes nothing: words have to be known, numbers in their range, texts short enough for their place. What
 * only holds between fields (a count and what it counts) is its caller's to check.
 *
 * The tables of agents/protocol/fields.h are another thing: JSON for a peer, with keys that may be missing or must
 * not. These here stand for the memory of the engine, and are written at each event on the deciding path.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/base/buffer.h"
#include "daemon/base/error.h"

enum layout_kind {
        LAYOUT_UINT64, /* "inf" for UINT64_MAX */
        LAYOUT_UNSIGNED,
        LAYOUT_INT,
        LAYOUT_BOOL,   /* 0 or 1 */
        LAYOUT_WORD,   /* an enum, by its string table; "-" for its X_INVALID where that is allowed */
        LAYOUT_TEXT,   /* char[size] */
        LAYOUT_LIST,   /* uint8_t[] or uint16_t[], of which many are equal: "512*3,0,7" without the zeros at its end */
        LAYOUT_STRUCT, /* of its own table */
        LAYOUT_LEFT_OUT, /* not in the text; the table says why */
};

struct layout;

struct layout_row {
        const char *name;
        enum layout_kind kind;
        size_t offset, size; /* bytes, of one element */
        size_t count;        /* of elements; 0: no array */
        size_t each;         /* LAYOUT_LIST: bytes of each of its numbers */
        int64_t min;         /* LAYOUT_INT */
        uint64_t max;        /* LAYOUT_INT, LAYOUT_UNSIGNED and LAYOUT_UINT64; 0 is no bound for the latter two */
        bool or_none;        /* LAYOUT_WORD */
        const char *(*to_string)(int value);
        int (*from_string)(const char *string);
        const struct layout *layout; /* LAYOUT_STRUCT */
};

struct layout {
        const char *name; /* of the struct, for people */
        size_t size;
        const struct layout_row *rows;
        size_t n_rows;
};

/* Appends " name=value" for each field of `object` that differs from `base` (NULL: that is not zero), those of structs
 * inside it included ("a.b[2].c=1"). `prefix` stands before each name. */
void layout_write(struct buffer *out, const struct layout *layout, const void *object, const void *base,
                  const char *prefix);
/* The same for large structs: a line for each struct that has anything to say, "HEAD PATH name=value ...". */
void layout_write_lines(struct buffer *out, const struct layout *layout, const void *object, const char *head);

/* How strict reading is, and what it met. */
struct layout_reading {
        bool lenient;       /* fields that no table has are counted, and are no error: of another version */
        unsigned n_unknown;
        char unknown[64];   /* the first of them */
};

/* Sets the fields that `text` ("a=1 b[2].c=word", or "PATH a=1 b=2" as layout_write_lines() writes it) names; the
 * others stay. -EBADMSG with the reason; `object` may then be changed in part. */
int layout_read(const struct layout *layout, void *object, const char *text, struct layout_reading *reading,
                struct error *error);
/* One field by its name. */
int layout_read_field(const struct layout *layout, void *object, const char *name, const char *value,
                      struct layout_reading *reading, struct error *error);

/* Takes the next "name=value" out of `*text` in place: a quoted value without its quotes and escapes. Returns 1, 0 at
 * the end, -EBADMSG. `ret_value` is NULL where there is no "=". */
int layout_next(char **text, char **ret_name, char **ret_value, struct error *error);
