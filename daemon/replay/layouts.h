/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tables of the core's structs: what the engine remembers (layouts-engine.c), what it is told and what it wants
 * (layouts-event.c). Whoever adds a field to one of these structs adds a row; tests/unit/test-layout.c says which. */

#include "daemon/replay/layout.h"

/* what outlives failoverd */
extern const struct layout flow_layout, drill_result_layout, record_layout;
/* what the engine remembers */
extern const struct layout engine_layout, region_layout, pair_layout, handover_layout, rights_range_layout,
        granule_layout, early_mean_layout;
/* what it is told */
extern const struct layout event_layout, message_layout, preflight_layout, command_layout, usage_layout;
/* what it wants */
extern const struct layout action_layout;

/* ---- for the tables themselves ---- */

/* By the type of a field, so that a row cannot take it for another one. Enums are rows of their own. */
#define LAYOUT_NUMBER_KIND(x) \
        _Generic((x), uint64_t: LAYOUT_UINT64, unsigned: LAYOUT_UNSIGNED, int: LAYOUT_INT, bool: LAYOUT_BOOL)

#define LAYOUT_FIELD(type, field) (((type *) NULL)->field)
#define LAYOUT_ONE(type, field) \
        .name = #field, .offset = offsetof(type, field), .size = sizeof(LAYOUT_FIELD(type, field))
#define LAYOUT_MANY(type, field)                                                                          \
        .name = #field, .offset = offsetof(type, field), .size = sizeof(LAYOUT_FIELD(type, field)[0]),    \
        .count = sizeof(LAYOUT_FIELD(type, field)) / sizeof(LAYOUT_FIELD(type, field)[0])

/* An int from a number to another; an unsigned or uint64_t up to one. */
#define RANGE(type, field, least, most) \
        { LAYOUT_ONE(type, field), .kind = LAYOUT_NUMBER_KIND(LAYOUT_FIELD(type, field)), .min = least, .max = most }
#define NUMBER(type, field) \
        { \
                LAYOUT_ONE(type, field), \
                        .kind = LAYOUT_NUMBER_KIND(LAYOUT_FIELD(type, field)), .min = INT32_MIN, \
                        .max = LAYOUT_NUMBER_KIND(LAYOUT_FIELD(type, field)) == LAYOUT_INT ? INT32_MAX : 0 \
        }
#define NUMBERS(type, field) \
        { \
                LAYOUT_MANY(type, field), \
                        .kind = LAYOUT_NUMBER_KIND(LAYOUT_FIELD(type, field)[0]), .min = INT32_MIN, \
                        .max = LAYOUT_NUMBER_KIND(LAYOUT_FIELD(type, field)[0]) == LAYOUT_INT ? INT32_MAX : 0 \
        }
/* An enum; LAYOUT_WORDS(x) stands once in the file. WORD_OR_NONE() may be X_INVALID. */
#define LAYOUT_WORDS(name)                                                                        \
        static const char *name##_word(int value) {                                               \
                return name##_to_string((enum name) value);                                       \
        }                                                                                         \
        static int name##_value(const char *string) {                                             \
                return name##_from_string(string);                                                \
        }
#define LAYOUT_WORD_OF(words) .kind = LAYOUT_WORD, .to_string = words##_word, .from_string = words##_value
#define WORD(type, field, words) { LAYOUT_ONE(type, field), LAYOUT_WORD_OF(words) }
#define WORD_OR_NONE(type, field, words) { LAYOUT_ONE(type, field), LAYOUT_WORD_OF(words), .or_none = true }
#define WORDS(type, field, words) { LAYOUT_MANY(type, field), LAYOUT_WORD_OF(words) }
#define TEXT(type, field) { LAYOUT_ONE(type, field), .kind = LAYOUT_TEXT }
#define LIST(type, field) \
        { LAYOUT_ONE(type, field), .kind = LAYOUT_LIST, .each = sizeof(LAYOUT_FIELD(type, field)[0]) }
#define LISTS(type, field) \
        { LAYOUT_MANY(type, field), .kind = LAYOUT_LIST, .each = sizeof(LAYOUT_FIELD(type, field)[0][0]) }
#define TEXTS(type, field) { LAYOUT_MANY(type, field), .kind = LAYOUT_TEXT }
#define INSIDE(type, field, table) { LAYOUT_ONE(type, field), .kind = LAYOUT_STRUCT, .layout = &table }
#define INSIDES(type, field, table) { LAYOUT_MANY(type, field), .kind = LAYOUT_STRUCT, .layout = &table }
#define LEFT_OUT(type, field) { LAYOUT_ONE(type, field), .kind = LAYOUT_LEFT_OUT }
#define LAYOUT(type, table) \
        { .name = #type, .size = sizeof(type), .rows = table, .n_rows = sizeof(table) / sizeof((table)[0]) }
