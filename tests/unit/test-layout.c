/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tables of structs, and text by them. That no field is forgotten by name tests/lint/layouts-are-complete looks at. */

#include <stdio.h>

#include "daemon/core/engine.h"
#include "daemon/replay/layouts.h"
#include "tests/unit/test.h"

#define STRUCT_MAX (64 * 1024)
#define ALIGN_MAX 8

/* Marks the bytes that a table's rows stand for. False where two rows stand for the same. */
static bool mark(const struct layout *layout, unsigned char *covered) {
        for (size_t i = 0; i < layout->n_rows; i++) {
                const struct layout_row *row = &layout->rows[i];

                for (size_t k = 0; k < (row->count ? row->count : 1); k++) {
                        unsigned char *at = covered + row->offset + k * row->size;

                        if (row->kind == LAYOUT_STRUCT && (row->layout->size != row->size || !mark(row->layout, at)))
                                return false;
                        for (size_t j = 0; row->kind != LAYOUT_STRUCT && j < row->size; j++)
                                if (at[j]++)
                                        return false;
                }
        }
        return true;
}

/* A table covers a struct: no gap in it is larger than alignment makes one. */
static bool covers(const struct layout *layout) {
        static unsigned char covered[STRUCT_MAX];
        size_t gap = 0;

        memset(covered, 0, sizeof(covered));
        if (layout->size > STRUCT_MAX || !mark(layout, covered)) {
                printf("\n%s: two rows stand for one field\n", layout->name);
                return false;
        }
        for (size_t i = 0; i < layout->size; i++) {
                gap = covered[i] ? 0 : gap + 1;
                if (gap < ALIGN_MAX)
                        continue;
                printf("\n%s: no row stands for what is at byte %zu\n", layout->name, i + 1 - gap);
                return false;
        }
        return true;
}

static const struct layout *const layouts[] = {
        &flow_layout,    &drill_result_layout, &record_layout,    &region_layout,       &pair_layout,
        &engine_layout,  &handover_layout,     &usage_layout,     &rights_range_layout, &event_layout,
        &message_layout, &preflight_layout,    &command_layout,   &action_layout,       &granule_layout,
};

static void tables_leave_no_gap(void) {
        for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++)
                CHECK(covers(layouts[i]));
}

/* Every field of a struct filled with something comes back. */
static void fill(const struct layout *layout, char *object, unsigned *seed) {
        for (size_t i = 0; i < layout->n_rows; i++) {
                const struct layout_row *row = &layout->rows[i];

                for (size_t k = 0; k < (row->count ? row->count : 1); k++) {
                        char *at = object + row->offset + k * row->size;
                        unsigned n = ++*seed;

                        if (row->kind == LAYOUT_STRUCT)
                                fill(row->layout, at, seed);
                        else if (row->kind == LAYOUT_TEXT)
                                snprintf(at, row->size, "%c \"%u\\\n\x7fü", 'a' + n % 26, n);
                        else if (row->kind == LAYOUT_UINT64)
                                *(uint64_t *) (void *) at = row->max ? n % row->max : n % 7 ? n : UINT64_MAX;
                        else if (row->kind == LAYOUT_UNSIGNED)
                                *(unsigned *) (void *) at = row->max ? n % (unsigned) row->max : UINT32_MAX - n;
                        else if (row->kind == LAYOUT_INT)
                                *(int *) (void *) at = n % 2 ? (int) row->max : (int) row->min;
                        else if (row->kind == LAYOUT_BOOL)
                                *(bool *) at = true;
                        else if (row->kind == LAYOUT_LIST)
                                memcpy(at, (uint8_t[]) { 0, 0, 0, 0, 7, 7, 7, 7, UINT8_MAX, 1, (uint8_t) n, 3 }, 12);
                        else if (row->kind == LAYOUT_WORD)
                                *(int *) (void *) at = row->or_none && n % 2 ? -EINVAL : row->to_string(1) ? 1 : 0;
                }
        }
}

static void what_is_written_reads_back(void) {
        for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
                char *object = calloc(1, layouts[i]->size), *again = calloc(1, layouts[i]->size);
                struct layout_reading reading = { 0 };
                struct buffer first = { 0 }, second = { 0 };
                unsigned seed = (unsigned) i;

                REQUIRE(object && again);
                fill(layouts[i], object, &seed);
                layout_write(&first, layouts[i], object, NULL, "");
                buffer_add_char(&first, 0);
                CHECK(layout_read(layouts[i], again, first.bytes, &reading, NULL) == 0);
                layout_write(&second, layouts[i], again, NULL, "");
                buffer_add_char(&second, 0);
                CHECK(!first.failed && first.n > 2 && first.n == second.n &&
                      memcmp(first.bytes, second.bytes, first.n) == 0);
                buffer_deinit(&first);
                buffer_deinit(&second);
                free(object);
                free(again);
        }
}

static void only_the_difference_is_written(void) {
        struct message before = { .type = MESSAGE_PONG,
                                  .nonce = 7,
                                  .n_apps = 2,
                                  .apps = { { .app = "db" }, { .app = "web" } } },
                       now = before;
        struct buffer out = { 0 };

        now.nonce = 8;
        now.apps[1].state = APPLICATION_RUNNING;
        now.apps[0].app[0] = 0;
        layout_write(&out, &message_layout, &now, &before, "m.");
        buffer_add_char(&out, 0);
        CHECK_TEXT(out.bytes, " m.nonce=8 m.apps[0].app=\"\" m.apps[1].state=running");
        buffer_deinit(&out);
}

/* `message` is a part of what is told. */
static void check_refused(const char *text, const char *message) {
        struct pair *pair = calloc(1, sizeof(*pair));
        struct layout_reading reading = { 0 };
        struct error error = ERROR_INIT;

        REQUIRE(pair != NULL);
        if (layout_read(&pair_layout, pair, text, &reading, &error) != -EBADMSG ||
            !strstr(error_text(&error), message)) {
                printf("\n%s: %s\n", text, error_text(&error));
                CHECK(false);
        }
        error_deinit(&error);
        free(pair);
}

static void nothing_unsound_is_taken(void) {
        check_refused("colour=3", "has no field \"colour\"");
        check_refused("policy=3", "has no field \"policy\"");
        check_refused("slot", "has no field \"slot\"");
        check_refused("slot=3 x", "without a value");
        check_refused("slot=", "no number");
        check_refused("slot=+3", "no number");
        check_refused("slot=3x", "no number");
        check_refused("slot=2147483648", "no number that fits");
        check_refused("state_usec=18446744073709551616", "no number");
        check_refused("state_usec=-1", "no number");
        check_refused("record_dirty=2", "neither 0 nor 1");
        check_refused("state=7", "an unknown word");
        check_refused("state=-", "an unknown word");
        check_refused("n_reasons=17", "out of its range");
        check_refused("members[2].pid=1", "has no field");
        check_refused("members[-1].pid=1", "has no field");
        check_refused("members.pid=1", "has no field");
        check_refused("members[0]=1", "has no field");
        check_refused("members[0].detector=1", "has no field");
        check_refused("members[0.pid=1", "has no field");
        check_refused("slot[0]=1", "has no field");
        check_refused("members[99999999999999999999].pid=1", "has no field");
        check_refused("blocked=\"x", "has no end");
        check_refused("blocked=\"x\\", "escapes nothing");
        check_refused("blocked=\"x\\x00\"", "escapes nothing");
        check_refused("blocked=\"x\\xzz\"", "escapes nothing");
        check_refused("blocked=\"x\"y", "followed by more than a space");
        check_refused("apps[0].handover=1", "has no field");
        check_refused("record.pair=\"0123456789012345678901234567890123456789012345678901234567890123\"",
                      "longer than it may be");
}

static void fields_of_another_version_are_counted(void) {
        struct layout_reading reading = { .lenient = true };
        struct pair *pair = calloc(1, sizeof(*pair));

        REQUIRE(pair != NULL);
        CHECK(layout_read(&pair_layout, pair, "slot=3 colour=red members[0].hue=1 state=armed", &reading, NULL) == 0);
        CHECK(layout_read(&pair_layout, pair, "shades[1] depth=1", &reading, NULL) == 0);
        CHECK(reading.n_unknown == 3 && strstr(reading.unknown, "colour"));
        CHECK(pair->slot == 3 && pair->state == PAIR_ARMED);
        free(pair);
}

TEST_MAIN("layout", TEST(tables_leave_no_gap), TEST(what_is_written_reads_back), TEST(only_the_difference_is_written),
          TEST(nothing_unsound_is_taken), TEST(fields_of_another_version_are_counted))
