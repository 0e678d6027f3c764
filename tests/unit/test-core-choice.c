/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/choice.h"
#include "tests/random.h"
#include "tests/unit/rights-text.h"
#include "tests/unit/test.h"

#define EXTENT (32 * MIB)
#define EXTENTS_MAX 64
#define WISH(...) { __VA_ARGS__ }, sizeof((enum choice_rule[]) { __VA_ARGS__ }) / sizeof(enum choice_rule)

/* A space of one character an extent: a digit is managed by that VM, "." by nobody, "u" by nobody but OS3 uses it. */
static void lay_out(struct rights *rights, const char *map) {
        REQUIRE(rights_init(rights, EXTENT, strlen(map) * EXTENT) == 0);
        for (uint64_t i = 0; map[i]; i++) {
                struct span span = SPAN(i * EXTENT, (i + 1) * EXTENT);

                int r = 0;

                if (map[i] == 'u')
                        r = rights_touch(rights, OS3, span, 1, NULL);
                else if (map[i] != '.')
                        r = rights_assign(rights, span, (struct holder) { .pair = map[i] - '0' }, 1);
                CHECK(r == 0);
        }
}

/* The stretches chosen, in extents: "2-4 7-8", or the errno. */
static const char *choose(const struct choice *choice, const char *map, uint64_t n_extents) {
        static char text[1024];
        struct chosen chosen = { 0 };
        struct rights rights;
        size_t used = 0;
        uint64_t sum = 0;
        int r;

        lay_out(&rights, map);
        r = choice_make(choice, &rights, OS1, n_extents * EXTENT, &chosen);
        text[0] = 0;
        for (size_t i = 0; i < chosen.n_spans; i++) {
                struct span span = chosen.spans[i];

                used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%u-%u", i ? " " : "",
                                          (unsigned) (span.start / EXTENT), (unsigned) (span.end / EXTENT));
                sum += span_bytes(span);
        }
        CHECK(sum == chosen.bytes);
        if (r < 0) {
                CHECK(chosen.spans == NULL);
                snprintf(text, sizeof(text), "%s", r == -ENOSPC ? "refused" : "bad");
        }
        chosen_deinit(&chosen);
        rights_deinit(&rights);
        return text;
}

struct wish {
        const char *map;
        unsigned wanted; /* extents */
        enum choice_from from;
        enum choice_rule rules[CHOICE_RULE_MAX];
        size_t n_rules;
        const char *expected;
};

static void check_wishes(const struct wish *wishes, size_t n, const struct span *modules, size_t n_modules) {
        for (size_t i = 0; i < n; i++) {
                struct choice choice = { .from = wishes[i].from, .n_rules = wishes[i].n_rules, .modules = modules,
                                         .n_modules = n_modules };
                const char *text;

                memcpy(choice.rules, wishes[i].rules, sizeof(choice.rules));
                text = choose(&choice, wishes[i].map, wishes[i].wanted);
                if (strcmp(text, wishes[i].expected) != 0)
                        printf("\nwish %zu, %u of \"%s\": %s, not %s\n", i, wishes[i].wanted, wishes[i].map, text,
                               wishes[i].expected);
                CHECK_TEXT(text, wishes[i].expected);
        }
}

static void unmanaged_memory_is_chosen_used_or_not_as_asked(void) {
        static const struct wish wishes[] = {
                { "22uu....", 3, CHOICE_ANY_UNMANAGED, { 0 }, 0, "2-5" },
                { "22uu....", 3, CHOICE_ONLY_UNUSED, { 0 }, 0, "4-7" },
                { "22uu....", 5, CHOICE_ONLY_UNUSED, { 0 }, 0, "refused" },
                { "22uu....", 3, CHOICE_UNUSED_FIRST, { 0 }, 0, "4-7" },
                { "22uu....", 5, CHOICE_UNUSED_FIRST, { 0 }, 0, "4-8 2-3" },
                { "22uu....", 6, CHOICE_ANY_UNMANAGED, { 0 }, 0, "2-8" },
                { "22uu....", 7, CHOICE_ANY_UNMANAGED, { 0 }, 0, "refused" },
                { "2222", 1, CHOICE_ANY_UNMANAGED, { 0 }, 0, "refused" },
                { "1.2.", 0, CHOICE_ANY_UNMANAGED, { 0 }, 0, "bad" },
        };

        check_wishes(wishes, ELEMENTSOF(wishes), NULL, 0);
}

static void contiguity_is_as_asked(void) {
        static const struct wish wishes[] = {
                { "..2.....2...", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_LARGEST), "3-5" },
                { "..2.....2...", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT), "0-2" },
                { "..2.....2...", 3, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT), "9-12" },
                { "..2.....2...", 6, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT), "3-8 0-1" },
                { "..2.....2...", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SMALLEST), "0-2 9-11" },
                { "..2.....2...", 7, CHOICE_ANY_UNMANAGED, WISH(CHOICE_LARGEST), "3-8 9-11" },
                /* a stretch is one also where a part of it is used, unless that counts */
                { "...2..u.", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_LARGEST), "4-8" },
                { "...2..u.", 4, CHOICE_UNUSED_FIRST, WISH(CHOICE_LARGEST), "0-3 4-5" },
        };

        check_wishes(wishes, ELEMENTSOF(wishes), NULL, 0);
}

static void nearness_is_to_what_the_vm_manages_and_is_given(void) {
        static const struct wish wishes[] = {
                { "...2..12....", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "4-6" },
                { "...2..12....", 1, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "5-6" },   /* from its upper end */
                { "...2..12....", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "4-6 1-3" }, /* 2 is as near as 8 */
                { "1.2...1", 1, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "1-2" },
                { "....2.21", 1, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "5-6" },
                { "1222.2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "4-5 6-7" },
                { "..22....", 1, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "0-1" },       /* it has none */
                { "..22....", 1, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST, CHOICE_LARGEST), "4-5" },
        };

        check_wishes(wishes, ELEMENTSOF(wishes), NULL, 0);
}

static void rules_count_in_the_order_in_which_they_are_given(void) {
        static const struct wish wishes[] = {
                { "...2..1.2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST, CHOICE_LARGEST), "4-6" },
                { "...2..1.2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_LARGEST, CHOICE_NEAREST), "1-3" },
                { "...2..1.2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT), "4-6" },
                { "..2...1.2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT), "0-2" },
                { "..2...1.2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT, CHOICE_NEAREST), "9-11" },
                { "1uu2..", 2, CHOICE_ANY_UNMANAGED, WISH(CHOICE_NEAREST), "1-3" },
                { "1uu2..", 2, CHOICE_UNUSED_FIRST, WISH(CHOICE_NEAREST), "4-6" },
        };

        check_wishes(wishes, ELEMENTSOF(wishes), NULL, 0);
}

static void modules_are_shared_alike_or_packed(void) {
        static const struct span modules[] = { { 0, 4 * EXTENT },
                                               { 4 * EXTENT, 8 * EXTENT },
                                               { 8 * EXTENT, 12 * EXTENT } };
        static const struct wish wishes[] = {
                { "............", 6, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD), "0-2 4-6 8-10" },
                { "............", 7, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD), "0-3 4-6 8-10" },
                { "11..........", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD), "4-6 8-10" },
                { "2222....222.", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD), "4-6 11-12 6-7" },
                { "2....1......", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD, CHOICE_NEAREST), "2-4 8-9 4-5" },
                { "2....1..2222", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD, CHOICE_NEAREST), "1-5" },
                { "............", 6, CHOICE_ANY_UNMANAGED, WISH(CHOICE_PACKED), "0-6" },
                { "2...........", 3, CHOICE_ANY_UNMANAGED, WISH(CHOICE_PACKED), "1-4" }, /* just large enough */
                { "2...........", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_PACKED), "4-8" },
                { "2....1......", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_PACKED), "4-5 6-8 1-2" }, /* where it is first */
                { "............", 2, CHOICE_ANY_UNMANAGED, { 0 }, 0, "0-2" },
                /* without these two rules a stretch is one across modules */
                { "22....222...", 4, CHOICE_ANY_UNMANAGED, WISH(CHOICE_CLOSEST_FIT), "2-6" },
        };

        check_wishes(wishes, ELEMENTSOF(wishes), modules, ELEMENTSOF(modules));
}

static void an_extent_is_on_the_module_where_it_begins(void) {
        static const struct span modules[] = { { EXTENT, 3 * EXTENT + 1 }, { 4 * EXTENT - 1, 6 * EXTENT } };
        static const struct wish wishes[] = {
                { "........", 3, CHOICE_ANY_UNMANAGED, WISH(CHOICE_SPREAD), "0-2 4-5" },
                { "........", 3, CHOICE_ANY_UNMANAGED, WISH(CHOICE_PACKED, CHOICE_LARGEST), "1-4" },
        };

        check_wishes(wishes, ELEMENTSOF(wishes), modules, ELEMENTSOF(modules));
}

static void not_enough_is_refused_or_granted_as_far_as_it_goes(void) {
        struct choice choice = { .from = CHOICE_ONLY_UNUSED, .best_effort = true };

        CHECK_TEXT(choose(&choice, "u.2..u", 9), "1-2 3-5");
        CHECK_TEXT(choose(&choice, "u222", 1), "");
        choice.best_effort = false;
        CHECK_TEXT(choose(&choice, "u.2..u", 4), "refused");
        CHECK_TEXT(choose(&choice, "u.2..u", 3), "1-2 3-5");
}

static void what_is_promised_to_somebody_else_is_not_chosen(void) {
        static const struct span promised[] = { { 6 * EXTENT, 8 * EXTENT }, { EXTENT, 3 * EXTENT } };
        struct choice choice = { .promised = promised, .n_promised = 2 };

        CHECK_TEXT(choose(&choice, "..........", 6), "0-1 3-6 8-10");
        CHECK_TEXT(choose(&choice, "..........", 7), "refused");
        choice.rules[choice.n_rules++] = CHOICE_LARGEST;
        CHECK_TEXT(choose(&choice, "..........", 3), "3-6");
}

static void random_map(char map[EXTENTS_MAX + 1], uint64_t *random) {
        unsigned n = 1 + random_below(random, EXTENTS_MAX), run = 0;

        for (unsigned i = 0; i < n; i++) {
                if (run == 0) {
                        map[i] = "..u12"[random_below(random, 5)];
                        run = random_below(random, 6);
                } else {
                        map[i] = map[i - 1];
                        run--;
                }
        }
        map[n] = 0;
}

/* What must hold of any choice, whatever its rules. `map` is marked with what was chosen. */
static bool is_sound(const struct choice *choice, char *map, const struct chosen *chosen, unsigned wanted) {
        unsigned unused = 0, used = 0, took_unused = 0, took_used = 0, room;

        for (unsigned i = 0; map[i]; i++) {
                unused += map[i] == '.';
                used += map[i] == 'u';
        }
        for (size_t i = 0; i < chosen->n_spans; i++)
                for (uint64_t e = chosen->spans[i].start / EXTENT; e < chosen->spans[i].end / EXTENT; e++) {
                        if (e >= strlen(map) || (map[e] != '.' && map[e] != 'u'))
                                return false;
                        took_unused += map[e] == '.';
                        took_used += map[e] == 'u';
                        map[e] = '!';
                }
        room = unused + (choice->from == CHOICE_ONLY_UNUSED ? 0 : used);
        if (took_unused + took_used != (wanted < room ? wanted : room))
                return false;
        return took_used == 0 || choice->from == CHOICE_ANY_UNMANAGED ||
               (choice->from == CHOICE_UNUSED_FIRST && took_unused == unused);
}

/* Spread: no module was given less than another and has room left, but for what one stretch's whole extents make. */
static bool is_level(const char *map, const struct span *modules, size_t n_modules) {
        unsigned least = EXTENTS_MAX, most = 0;

        for (size_t m = 0; m < n_modules; m++) {
                unsigned has = 0, took = 0, left = 0;

                for (uint64_t e = modules[m].start / EXTENT; e < modules[m].end / EXTENT && e < strlen(map); e++) {
                        has += map[e] == '1' || map[e] == '!';
                        took += map[e] == '!';
                        left += map[e] == '.' || map[e] == 'u';
                }
                if (left > 0 && has < least)
                        least = has;
                if (took > 0 && has > most)
                        most = has;
        }
        return most <= least + 1;
}

static void any_combination_on_any_map_is_sound(void) {
        static const struct span modules[] = { { 0, 16 * EXTENT }, { 16 * EXTENT, 32 * EXTENT },
                                               { 32 * EXTENT, EXTENTS_MAX * EXTENT } };
        uint64_t random = 20260117;
        unsigned n_refused = 0, n_made = 0;

        for (unsigned i = 0; i < 5000; i++) {
                struct choice choice = { .from = random_below(&random, CHOICE_FROM_MAX),
                                         .n_rules = random_below(&random, 4),
                                         .best_effort = random_below(&random, 2),
                                         .modules = modules,
                                         .n_modules = 3 };
                unsigned wanted = 1 + random_below(&random, 24);
                char map[EXTENTS_MAX + 1];
                struct chosen chosen = { 0 };
                struct rights rights;
                bool spread_alone;
                int r;

                for (size_t k = 0; k < choice.n_rules; k++)
                        choice.rules[k] = random_below(&random, CHOICE_RULE_MAX);
                spread_alone = choice.from == CHOICE_ANY_UNMANAGED && choice.n_rules > 0 &&
                               choice.rules[0] == CHOICE_SPREAD;
                random_map(map, &random);
                lay_out(&rights, map);
                r = choice_make(&choice, &rights, OS1, wanted * EXTENT, &chosen);
                if (r == -ENOSPC) {
                        CHECK(!choice.best_effort);
                        choice.best_effort = true;
                        CHECK(choice_make(&choice, &rights, OS1, wanted * EXTENT, &chosen) == 0);
                        CHECK(chosen.bytes < wanted * EXTENT);
                        n_refused++;
                } else
                        n_made++;
                CHECK(is_sound(&choice, map, &chosen, wanted));
                if (spread_alone)
                        CHECK(is_level(map, modules, 3));
                chosen_deinit(&chosen);
                rights_deinit(&rights);
        }
        CHECK(n_refused > 500 && n_made > 500);
}

static void scattered_memory_is_found_to_the_last_extent(void) {
        const unsigned n = 4 * CHOICE_PICKS_MAX;
        struct choice choice = { .from = CHOICE_UNUSED_FIRST,
                                 .rules = { CHOICE_NEAREST, CHOICE_LARGEST },
                                 .n_rules = 2 };
        struct chosen chosen = { 0 };
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 2 * n * EXTENT) == 0);
        for (uint64_t i = 0; i < n; i++) {
                CHECK(rights_assign(&rights, SPAN(2 * i * EXTENT, (2 * i + 1) * EXTENT), OS2, 1) == 0);
                if (i % 2)
                        (void) rights_touch(&rights, OS3, SPAN((2 * i + 1) * EXTENT, (2 * i + 2) * EXTENT), 1, NULL);
        }
        CHECK(choice_make(&choice, &rights, OS1, (n + 1) * EXTENT, &chosen) == -ENOSPC);
        REQUIRE(choice_make(&choice, &rights, OS1, n * EXTENT, &chosen) == 0);
        CHECK(chosen.bytes == n * EXTENT && chosen.n_spans == n);
        REQUIRE(rights_reserve(&rights, chosen.n_spans) == 0);
        for (size_t i = 0; i < chosen.n_spans; i++)
                CHECK(rights_assign(&rights, chosen.spans[i], OS1, 2) == 0);
        CHECK(rights_sum(&rights, OS1).managed_bytes == n * EXTENT);
        CHECK(rights_sum(&rights, HOLDER_NONE).managed_bytes == 0);
        chosen_deinit(&chosen);
        rights_deinit(&rights);
}

static void every_word_reads_back(void) {
        for (int i = 0; i < CHOICE_FROM_MAX; i++)
                CHECK(choice_from_from_string(choice_from_to_string(i)) == (enum choice_from) i);
        for (int i = 0; i < CHOICE_RULE_MAX; i++)
                CHECK(choice_rule_from_string(choice_rule_to_string(i)) == (enum choice_rule) i);
        CHECK(choice_from_to_string(CHOICE_FROM_MAX) == NULL && choice_from_from_string("?") == CHOICE_FROM_INVALID);
        CHECK(choice_rule_to_string(CHOICE_RULE_MAX) == NULL && choice_rule_from_string("?") == CHOICE_RULE_INVALID);
}

TEST_MAIN("core-choice", TEST(unmanaged_memory_is_chosen_used_or_not_as_asked), TEST(contiguity_is_as_asked),
          TEST(nearness_is_to_what_the_vm_manages_and_is_given), TEST(rules_count_in_the_order_in_which_they_are_given),
          TEST(modules_are_shared_alike_or_packed), TEST(an_extent_is_on_the_module_where_it_begins),
          TEST(not_enough_is_refused_or_granted_as_far_as_it_goes),
          TEST(what_is_promised_to_somebody_else_is_not_chosen),
          TEST(any_combination_on_any_map_is_sound),
          TEST(scattered_memory_is_found_to_the_last_extent), TEST(every_word_reads_back))
