/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"
#include "daemon/base/utf8.h"
#include "tests/unit/test.h"

static void sizes_read_back_as_written(void) {
        static const uint64_t values[] = { 0, 1, 1023, KIB, 1536 * KIB, MIB, 512 * MIB, GIB, 3 * GIB / 2, 64 * GIB };
        char buffer[UNITS_TEXT_MAX];

        for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
                uint64_t read = 42;
                CHECK(size_parse(size_format(buffer, values[i]), &read) == 0);
                CHECK(read == values[i]);
        }
}

static void fractions_are_exact(void) {
        uint64_t v;

        CHECK(size_parse("1.5GiB", &v) == 0 && v == 1536 * MIB);
        CHECK(duration_parse("0.25s", &v) == 0 && v == 250 * USEC_PER_MSEC);
}

static void nonsense_is_refused_and_output_untouched(void) {
        static const char *const bad[] = { "",      "MiB",   "12",     "1 MiB",        "-1MiB", "1MB",
                                           "1.MiB", ".5MiB", "1e3MiB", "1.1234567GiB", "5MiBx" };
        uint64_t v = 42;

        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
                CHECK(size_parse(bad[i], &v) == -EINVAL);
        CHECK(size_parse("99999999999TiB", &v) == -ERANGE);
        CHECK(size_parse("99999999999999999999999B", &v) == -ERANGE);
        CHECK(v == 42);
}

static void errors_gather_context_from_the_inside_out(void) {
        struct error e = ERROR_INIT;

        CHECK(error_set(&e, -ENOENT, "no domain \"%s\"", "vm-a") == -ENOENT);
        CHECK(error_prefix(&e, "pairs[%d]", 0) == -ENOENT);
        CHECK_TEXT(error_text(&e), "pairs[0]: no domain \"vm-a\"");
        error_deinit(&e);
        CHECK(e.code == 0);
        CHECK(error_set(NULL, -EIO, "nobody reads this") == -EIO);
}

static void a_text_that_was_cut_is_mended(void) {
        static const struct { const char *text, *mended; } cases[] = {
                { "", "" },
                { "plain", "plain" },
                { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
                { "cut \xe2\x82", "cut ??" },                  /* at its end */
                { "\xe2\x82: gone", "??: gone" },              /* in the middle of a line */
                { "\xac" "a", "?a" },                           /* no first byte */
                { "\xc0\x80 \xed\xa0\x80", "?? ???" },         /* overlong, a surrogate */
                { "\xf4\x90\x80\x80 \xff", "???? ?" },         /* past the last character */
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                char text[32];

                snprintf(text, sizeof(text), "%s", cases[i].text);
                utf8_mend(text);
                CHECK_TEXT(text, cases[i].mended);
        }
}

TEST_MAIN("units",
          TEST(a_text_that_was_cut_is_mended),
          TEST(sizes_read_back_as_written),
          TEST(fractions_are_exact),
          TEST(nonsense_is_refused_and_output_untouched),
          TEST(errors_gather_context_from_the_inside_out))
