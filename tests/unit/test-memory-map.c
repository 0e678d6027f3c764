/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The drawing of memory in two rights, compared with tests/memory-map/NAME. */

#include <errno.h>
#include <libxml/parser.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/ctl/memory-map.h"
#include "tests/unit/golden.h"
#include "tests/unit/test.h"

static char *text_of(const struct map_space *spaces, size_t n, unsigned width, bool color) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        REQUIRE(f != NULL);
        CHECK(memory_map_print(spaces, n, width, color, f) == 0);
        fclose(f);
        return text;
}

static char *svg_of(const struct map_space *spaces, size_t n) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        REQUIRE(f != NULL);
        CHECK(memory_map_svg(spaces, n, f) == 0);
        fclose(f);
        return text;
}

static bool is_xml(const char *text) {
        xmlDoc *document = xmlReadMemory(text, (int) strlen(text), "map.svg", NULL, XML_PARSE_NONET);
        bool good = document && strcmp((const char *) xmlDocGetRootElement(document)->name, "svg") == 0;

        xmlFreeDoc(document);
        return good;
}

/* Compares all three drawings. */
static void check(const char *name, const struct map_space *spaces, size_t n, unsigned width) {
        _cleanup_free_ char *plain = text_of(spaces, n, width, false), *colored = text_of(spaces, n, width, true),
                            *svg = svg_of(spaces, n);
        char file[128];

        snprintf(file, sizeof(file), "tests/memory-map/%s.txt", name);
        CHECK(golden_file_matches(file, plain));
        snprintf(file, sizeof(file), "tests/memory-map/%s.color", name);
        CHECK(golden_file_matches(file, colored));
        snprintf(file, sizeof(file), "tests/memory-map/%s.svg", name);
        CHECK(golden_file_matches(file, svg));
        CHECK(is_xml(svg));
        for (const char *p = plain; *p; p++)
                CHECK(*p == '\n' || (*p >= 0x20 && *p < 0x7f));
}

static void worked_example_is_drawn_with_managers_users_and_what_is_taken_back(void) {
        /* after OS3 was given 1536-2048, while OS1 is being made to release 1536-1792 (variant 2) */
        static const struct map_range ranges[] = {
                { 0, GIB, "OS1", "OS1", false, GIB },
                { GIB, 1280 * MIB, "OS2", "OS2", false, 256 * MIB },
                { 1280 * MIB, 1536 * MIB, "OS2", "OS1", false, 200 * MIB },
                { 1536 * MIB, 1792 * MIB, "OS3", "OS1", true, 100 * MIB },
                { 1792 * MIB, 2 * GIB, "OS3", "OS2", false, 256 * MIB },
        };
        static const struct map_space space = { "pool", 256 * MIB, ranges, ELEMENTSOF(ranges) };

        check("worked-example", &space, 1, 80);
}

static void places_say_nothing_of_what_is_in_memory(void) {
        static const struct map_range region[] = { { 0, 4 * MIB, "vm-a", "vm-a", false, 3 * MIB } };
        static const struct map_range places[] = {
                { 0, 256 * MIB, "vm-a", "vm-a", false, MAP_UNASKED },
                { 256 * MIB, 512 * MIB, "vm-a", NULL, false, MAP_UNASKED },
                { 512 * MIB, GIB, NULL, NULL, false, MAP_UNASKED },
                { GIB, 1280 * MIB, "vm-b", "vm-b", false, MAP_UNASKED },
        };
        static const struct map_space spaces[] = {
                { "region db of pair web", 2 * MIB, region, ELEMENTSOF(region) },
                { "memory by hand, places in the pool", 128 * MIB, places, ELEMENTSOF(places) },
        };

        check("places", spaces, 2, 80);
}

static void every_state_of_an_extent_looks_different(void) {
        static const struct map_range ranges[] = {
                { 0, 2 * MIB, "vm-a", "vm-a", false, 2 * MIB },
                { 2 * MIB, 4 * MIB, "vm-a", NULL, false, 0 },
                { 4 * MIB, 6 * MIB, "vm-a", "vm-b", false, MIB + MIB / 2 },
                { 6 * MIB, 8 * MIB, "vm-a", "vm-b", true, MIB },
                { 8 * MIB, 10 * MIB, NULL, "vm-b", false, MIB },
                { 10 * MIB, 12 * MIB, NULL, "vm-b", true, MIB },
                { 12 * MIB, 14 * MIB, NULL, NULL, false, 0 },
                { 14 * MIB, 16 * MIB, "vm-b", "vm-a", false, 4096 },
        };
        static const struct map_space space = { "region db of pair web", 2 * MIB, ranges, ELEMENTSOF(ranges) };

        check("every-state", &space, 1, 80);
}

static void several_spaces_share_one_legend(void) {
        static const struct map_range one[] = { { 0, 3 * GIB, "vm-a", "vm-a", false, 2 * GIB },
                                                { 3 * GIB, 4 * GIB, "vm-b", "vm-a", true, 512 * MIB } };
        static const struct map_range two[] = { { 0, 128 * MIB, "vm-b", NULL, false, 0 } };
        static const struct map_space spaces[] = { { "region db of pair web", 32 * MIB, one, 2 },
                                                   { "region cache of pair web", 32 * MIB, two, 1 },
                                                   { "region gone of pair web", 32 * MIB, NULL, 0 } };

        check("several-spaces", spaces, 3, 50);
}

static void of_many_extents_a_cell_shows_what_most_are(void) {
        struct map_range ranges[2048];
        const struct map_space space = { "pool", 32 * MIB, ranges, ELEMENTSOF(ranges) };
        _cleanup_free_ char *text = NULL, *svg = NULL;

        /* Of each eight extents three are vm-b's in the lower half, five in the upper. */
        for (unsigned i = 0; i < ELEMENTSOF(ranges); i++) {
                bool b = i * 3 % 8 >= (i < ELEMENTSOF(ranges) / 2 ? 5u : 3u);
                const char *vm = b ? "vm-b" : "vm-a";

                ranges[i] = (struct map_range) { i * 32 * MIB, (i + 1) * 32 * MIB, vm, vm, false, MIB };
        }
        text = text_of(&space, 1, 44, false);
        CHECK(golden_file_matches("tests/memory-map/coarse.txt", text));
        svg = svg_of(&space, 1);
        CHECK(is_xml(svg) && strstr(svg, "a cell is 32MiB") != NULL);
}

static void a_cell_of_equal_parts_shows_the_first(void) {
        struct map_range ranges[1024];
        const struct map_space space = { "pool", MIB, ranges, ELEMENTSOF(ranges) };
        _cleanup_free_ char *text = NULL, *svg = NULL;

        /* Four extents a cell. Lower half: two of either. Upper half: one that is leaving, one that is not, two of its
         * own. */
        for (unsigned i = 0; i < ELEMENTSOF(ranges); i++) {
                bool upper = i >= ELEMENTSOF(ranges) / 2;

                ranges[i] = (struct map_range) { i * MIB, (i + 1) * MIB, "vm-a", i % 4 < 2 ? "vm-b" : "vm-a",
                                                 upper && i % 4 == 0, 0 };
        }
        text = text_of(&space, 1, 44, false);
        CHECK(strstr(text, "         0  ABABABAB") != NULL && strstr(text, "    512MiB  AAAAAAAA") != NULL);
        svg = svg_of(&space, 1);
        CHECK(strstr(svg, "512MiB-513MiB: managed by vm-a, used by vm-b, which is being made to release it") != NULL);
}

static void names_are_text_and_nothing_else(void) {
        static const struct map_range ranges[] = { { 0, 1, "<b>&\"x\"</b>", "\x1b[31m\xc3\xa9\n", false, 0 } };
        static const struct map_space space = { "]]> & <svg>", 1, ranges, 1 };
        _cleanup_free_ char *svg = svg_of(&space, 1);

        CHECK(is_xml(svg));
        CHECK(strstr(svg, "<b>") == NULL && strstr(svg, "\x1b") == NULL);
        CHECK(strstr(svg, "&lt;b&gt;&amp;&quot;x&quot;&lt;/b&gt;") != NULL);
}

static void vms_past_the_last_letter_are_one(void) {
        struct map_range ranges[MAP_VMS_MAX + 4];
        const struct map_space space = { "pool", 1, ranges, ELEMENTSOF(ranges) };
        char names[MAP_VMS_MAX + 4][8];
        _cleanup_free_ char *text = NULL, *svg = NULL;

        for (unsigned i = 0; i < ELEMENTSOF(ranges); i++) {
                snprintf(names[i], sizeof(names[i]), "vm-%u", i);
                ranges[i] = (struct map_range) { i, i + 1, names[i], names[i], false, 1 };
        }
        text = text_of(&space, 1, 80, false);
        CHECK(strstr(text, "XXYYZZ########\n") != NULL);
        CHECK(strstr(text, "Z  vm-25: manages") != NULL && strstr(text, "#  all others: manages") != NULL);
        CHECK(strstr(text, "vm-26") == NULL);
        svg = svg_of(&space, 1);
        CHECK(is_xml(svg) && strstr(svg, "managed by all others") != NULL);
        free(text);
        text = text_of(&space, 1, 80, true);
        CHECK(strstr(text, "\033[30;41m  \033[0m\033[30;43mG \033[0m") != NULL); /* colours are shared from G on */
}

static void any_width_is_kept_to(void) {
        static const struct map_range ranges[] = { { 0, 64 * GIB, "vm-a", "vm-b", true, GIB } };
        static const struct map_space space = { "pool", 2 * MIB, ranges, 1 };

        for (unsigned width = 0; width < 300; width += 7) {
                _cleanup_free_ char *text = text_of(&space, 1, width, false);
                size_t first = strcspn(text, "\n") + 1, length = strcspn(text + first, "\n");

                CHECK(length <= (width < 40 ? 40 : width) && length >= (width < 40 ? 20 : width / 3));
        }
}

static void ranges_with_gaps_or_of_no_extents_are_refused(void) {
        static const struct map_range gap[] = { { 0, 2, "a", "a", false, 0 }, { 4, 6, "a", "a", false, 0 } },
                                      overlap[] = { { 0, 2, "a", "a", false, 0 }, { 0, 4, "a", "a", false, 0 } },
                                      late[] = { { 2, 4, "a", "a", false, 0 } },
                                      part[] = { { 0, 3, "a", "a", false, 0 } },
                                      empty[] = { { 0, 0, "a", "a", false, 0 } };
        const struct map_space bad[] = { { "x", 2, gap, 2 }, { "x", 2, overlap, 2 }, { "x", 2, late, 1 },
                                         { "x", 2, part, 1 }, { "x", 2, empty, 1 }, { "x", 0, gap, 1 } };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                CHECK(memory_map_print(&bad[i], 1, 80, false, stdout) == -EINVAL);
                CHECK(memory_map_svg(&bad[i], 1, stdout) == -EINVAL);
        }
}

TEST_MAIN("memory-map",
          TEST(worked_example_is_drawn_with_managers_users_and_what_is_taken_back),
          TEST(places_say_nothing_of_what_is_in_memory),
          TEST(every_state_of_an_extent_looks_different),
          TEST(several_spaces_share_one_legend),
          TEST(of_many_extents_a_cell_shows_what_most_are),
          TEST(a_cell_of_equal_parts_shows_the_first),
          TEST(names_are_text_and_nothing_else),
          TEST(vms_past_the_last_letter_are_one),
          TEST(any_width_is_kept_to),
          TEST(ranges_with_gaps_or_of_no_extents_are_refused))
