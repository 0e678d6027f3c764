/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/cleanup.h"
#include "daemon/core/early-release.h"
#include "tests/unit/rights-text.h"
#include "tests/unit/test.h"

#define EXTENT (32 * MIB)
#define SEC USEC_PER_SEC
#define SPANS_MAX 64

/* Eight extents that OS1 uses; OS2 was given all but the first two at 100 s. Sampled from 90 s on. */
struct stand {
        struct rights rights;
        struct early_release early;
};

static void stand_init(struct stand *stand) {
        REQUIRE(rights_init(&stand->rights, EXTENT, 8 * EXTENT) == 0);
        CHECK(rights_assign(&stand->rights, SPAN(0, 8 * EXTENT), OS1, 90 * SEC) == 0);
        CHECK(rights_touch(&stand->rights, OS1, SPAN(0, 8 * EXTENT), 90 * SEC, NULL) == 0);
        REQUIRE(early_release_init(&stand->early, &stand->rights) == 0);
        early_release_sample(&stand->early, &stand->rights, SPAN(0, 8 * EXTENT), 0, 0, 90 * SEC);
}

static void stand_deinit(struct stand *stand) {
        early_release_deinit(&stand->early);
        rights_deinit(&stand->rights);
}

/* One number for each extent. */
static void sample(struct stand *stand, usec_t now_usec, const uint64_t accesses[8]) {
        for (uint64_t i = 0; i < 8; i++)
                early_release_sample(&stand->early, &stand->rights, SPAN(i * EXTENT, (i + 1) * EXTENT), accesses[i],
                                     accesses[i] * 4096, now_usec);
}

static void lose_management(struct stand *stand) {
        static const uint64_t before[8] = { 50, 50, 50, 50, 0, 0, 50, 50 };

        sample(stand, 99 * SEC, before);
        CHECK(rights_assign(&stand->rights, SPAN(2 * EXTENT, 8 * EXTENT), OS2, 100 * SEC) == 0);
}

/* What is to be taken back in the background, in extents: "2-4 7-8". */
static const char *look(struct stand *stand, const struct early_release_policy *policy, usec_t now_usec) {
        static char text[256];
        struct span spans[SPANS_MAX];
        size_t n = early_release_look(&stand->early, &stand->rights, policy, now_usec, spans, SPANS_MAX), used = 0;

        text[0] = 0;
        for (size_t i = 0; i < n; i++)
                used += (size_t) snprintf(text + used, sizeof(text) - used, "%s%u-%u", i ? " " : "",
                                          (unsigned) (spans[i].start / EXTENT), (unsigned) (spans[i].end / EXTENT));
        return text;
}

/* The same at each extent being accessed by its user. */
static const char *access_each(struct stand *stand, const struct early_release_policy *policy, usec_t now_usec) {
        static char text[16];
        size_t n = 0;

        for (uint64_t i = 0; i < 8; i++) {
                struct span span;

                if (!early_release_at_access(&stand->early, &stand->rights, policy, i * EXTENT + 5, now_usec, &span))
                        continue;
                CHECK(span.start == i * EXTENT && span.end == (i + 1) * EXTENT);
                text[n++] = (char) ('0' + i);
        }
        text[n] = 0;
        return text;
}

/* Adaptive limits, in the table below. */
#define OF_MEAN(percent) .limit_kind = EARLY_ADAPTIVE, .limit_percent = (percent)

struct rule {
        struct early_release_policy policy;
        const char *expected;
};

static void every_measure_is_held_against_a_fixed_or_adaptive_limit(void) {
        /* Extents 2 and 3 were busy before and are quiet since; 4 and 5 quiet before and busy since; 6 and 7 busy. */
        static const uint64_t since[8] = { 90, 90, 0, 2, 40, 40, 40, 40 };
        static const struct rule rules[] = {
                { { .measure = EARLY_NUMBER, .since_lost = true, .limit = 2 }, "2-4" },
                { { .measure = EARLY_NUMBER, .since_lost = true, .limit = 1 }, "2-3" },
                { { .measure = EARLY_NUMBER, .since_lost = true, .limit = 40, .at_least = true }, "4-8" },
                { { .measure = EARLY_NUMBER, .limit = 40 }, "4-6" },
                { { .measure = EARLY_NUMBER, .limit = 52 }, "2-6" },
                { { .measure = EARLY_NUMBER, .limit = 90, .at_least = true }, "6-8" },
                /* 20 s after the loss, 30 s after the first sample: 2 in 20 s, 40 in 20 s; 50, 52, 40, 90 in 30 s */
                { { .measure = EARLY_RATE, .since_lost = true, .limit = 100 }, "2-4" },
                { { .measure = EARLY_RATE, .since_lost = true, .limit = 99 }, "2-3" },
                { { .measure = EARLY_RATE, .limit = 1700 }, "2-3 4-6" },
                { { .measure = EARLY_RATE, .limit = 3000, .at_least = true }, "6-8" },
                { { .measure = EARLY_VOLUME, .since_lost = true, .limit = 2 * 4096 }, "2-4" },
                { { .measure = EARLY_VOLUME, .since_lost = true, .limit = 2 * 4096 - 1 }, "2-3" },
                { { .measure = EARLY_VOLUME, .limit = 90 * 4096, .at_least = true }, "6-8" },
                { { .measure = EARLY_TIME, .limit = 20 * SEC, .at_least = true }, "2-8" },
                { { .measure = EARLY_TIME, .limit = 20 * SEC + 1, .at_least = true }, "" },
                /* mean of what OS1 lost, since then: 162 / 6 = 27 */
                { { .measure = EARLY_NUMBER, .since_lost = true, OF_MEAN(7) }, "2-3" },
                { { .measure = EARLY_NUMBER, .since_lost = true, OF_MEAN(8) }, "2-4" },
                { { .measure = EARLY_NUMBER, .since_lost = true, OF_MEAN(0) }, "2-3" },
                { { .measure = EARLY_VOLUME, .since_lost = true, OF_MEAN(100) }, "2-4" },
                /* mean of all that OS1 uses: (2 * 140 + 50 + 52 + 2 * 40 + 2 * 90) / 8 = 80.25 */
                { { .measure = EARLY_NUMBER, OF_MEAN(50) }, "4-6" },
                { { .measure = EARLY_RATE, OF_MEAN(65) }, "2-6" },
                { { .measure = EARLY_RATE, OF_MEAN(112), .at_least = true }, "6-8" },
                { { .measure = EARLY_TIME, OF_MEAN(100), .at_least = true }, "2-8" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rules); i++) {
                struct early_release_policy policy = rules[i].policy;
                struct stand stand;
                const char *text;

                policy.in_background = true;
                policy.bytes_per_sec = GIB;
                stand_init(&stand);
                lose_management(&stand);
                CHECK_TEXT(look(&stand, &(struct early_release_policy) { 0 }, 100 * SEC), "");
                sample(&stand, 120 * SEC, since);
                text = look(&stand, &policy, 120 * SEC);
                if (strcmp(text, rules[i].expected) != 0)
                        printf("\nrule %zu: %s, not %s\n", i, text, rules[i].expected);
                CHECK_TEXT(text, rules[i].expected);
                stand_deinit(&stand);
        }
}

static void what_an_extents_user_manages_is_never_taken_back(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .limit = 1000, .in_background = true,
                                                     .at_access = true, .bytes_per_sec = GIB };
        struct stand stand;

        stand_init(&stand);
        CHECK_TEXT(look(&stand, &policy, 100 * SEC), "");
        CHECK_TEXT(access_each(&stand, &policy, 100 * SEC), "");
        lose_management(&stand);
        CHECK_TEXT(look(&stand, &policy, 101 * SEC), "2-8");
        /* it has some back; nobody uses some */
        CHECK(rights_assign(&stand.rights, SPAN(2 * EXTENT, 4 * EXTENT), OS1, 102 * SEC) == 0);
        CHECK(rights_reported_free(&stand.rights, OS1, SPAN(7 * EXTENT, 8 * EXTENT), 102 * SEC) == 0);
        CHECK_TEXT(look(&stand, &policy, 103 * SEC), "4-7");
        CHECK_TEXT(access_each(&stand, &policy, 104 * SEC), "456");
        stand_deinit(&stand);
}

static void an_access_that_triggers_it_is_told_to_retry(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .since_lost = true, .limit = 2,
                                                     .at_access = true, .bytes_per_sec = GIB };
        const struct early_release_policy slow = { .measure = EARLY_NUMBER, .since_lost = true, .limit = 2,
                                                   .at_access = true, .bytes_per_sec = EXTENT / 2 };
        static const uint64_t since[8] = { 0, 0, 0, 2, 3, 40, 40, 40 };
        struct stand stand;

        stand_init(&stand);
        lose_management(&stand);
        sample(&stand, 120 * SEC, since);
        CHECK_TEXT(look(&stand, &policy, 120 * SEC), ""); /* not in the background */
        CHECK_TEXT(access_each(&stand, &policy, 120 * SEC), "23");
        CHECK(rights_decide(&stand.rights, OS1, 3 * EXTENT) == ACCESS_GOES_ON);
        CHECK(rights_take_back(&stand.rights, SPAN(3 * EXTENT, 4 * EXTENT)) == 0);
        CHECK(rights_decide(&stand.rights, OS1, 3 * EXTENT) == ACCESS_RETRY);
        CHECK_TEXT(access_each(&stand, &policy, 120 * SEC), "2"); /* not twice */
        CHECK_TEXT(access_each(&stand, &slow, 130 * SEC), "2"); /* an extent in 2 s */
        CHECK_TEXT(access_each(&stand, &slow, 131 * SEC), "");
        CHECK_TEXT(access_each(&stand, &slow, 132 * SEC), "2");
        CHECK(rights_paged_out(&stand.rights, OS1, SPAN(3 * EXTENT, 4 * EXTENT), 121 * SEC) == 0);
        CHECK(rights_decide(&stand.rights, OS2, 3 * EXTENT) == ACCESS_BECOMES_USER);
        stand_deinit(&stand);
}

static void nothing_is_judged_before_it_was_watched_for_a_while(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .since_lost = true,
                                                     .watch_usec = 10 * SEC, .in_background = true,
                                                     .bytes_per_sec = GIB };
        struct stand stand;

        stand_init(&stand);
        lose_management(&stand);
        CHECK_TEXT(look(&stand, &policy, 101 * SEC), "");
        CHECK_TEXT(look(&stand, &policy, 110 * SEC - 1), "");
        CHECK_TEXT(look(&stand, &policy, 110 * SEC), "2-8");
        /* One that is first seen later is watched as long. */
        CHECK(rights_reported_free(&stand.rights, OS1, SPAN(2 * EXTENT, 3 * EXTENT), 110 * SEC) == 0);
        CHECK(rights_touch(&stand.rights, OS3, SPAN(2 * EXTENT, 3 * EXTENT), 111 * SEC, NULL) == 0);
        CHECK_TEXT(look(&stand, &policy, 115 * SEC), "3-8");
        CHECK_TEXT(look(&stand, &policy, 124 * SEC), "3-8");
        CHECK_TEXT(look(&stand, &policy, 125 * SEC), "2-8");
        stand_deinit(&stand);
}

/* As the caller does it. */
static uint64_t take_back(struct stand *stand, const struct early_release_policy *policy, usec_t now_usec, size_t max) {
        struct span spans[SPANS_MAX];
        size_t n = early_release_look(&stand->early, &stand->rights, policy, now_usec, spans, max);
        uint64_t bytes = 0;

        CHECK(n <= max);
        for (size_t i = 0; i < n; i++) {
                CHECK(rights_take_back(&stand->rights, spans[i]) == 0);
                bytes += span_bytes(spans[i]);
        }
        return bytes;
}

static void the_rate_is_bounded_and_nobody_is_passed_over(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .limit = 1000, .in_background = true,
                                                     .bytes_per_sec = EXTENT / 2 };
        struct stand stand;
        uint64_t bytes;

        stand_init(&stand);
        lose_management(&stand);
        bytes = take_back(&stand, &policy, 101 * SEC, SPANS_MAX);
        CHECK(bytes == EXTENT); /* an extent at once, whatever the rate */
        for (usec_t msec = 101000; msec < 111000; msec += 20)
                bytes += take_back(&stand, &policy, msec * USEC_PER_MSEC, SPANS_MAX);
        CHECK(bytes == 5 * EXTENT); /* and four more in 10 s */
        CHECK_TEXT(rights_text(&stand.rights), "0-64MiB 1/1, 64MiB-224MiB 2/1>-, 224MiB-256MiB 2/1");
        CHECK_TEXT(access_each(&stand, &policy, 112 * SEC), "");
        bytes += take_back(&stand, &policy, 200 * SEC, SPANS_MAX);
        bytes += take_back(&stand, &policy, 300 * SEC, SPANS_MAX);
        CHECK(bytes == 6 * EXTENT);
        stand_deinit(&stand);
}

static void stretches_that_do_not_fit_come_first_the_next_time(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .limit = 0, .since_lost = true,
                                                     .in_background = true, .bytes_per_sec = GIB };
        static const uint64_t since[8] = { 0, 0, 0, 9, 0, 9, 0, 9 };
        struct stand stand;

        stand_init(&stand);
        lose_management(&stand);
        sample(&stand, 101 * SEC, since);
        CHECK_TEXT(access_each(&stand, &policy, 101 * SEC), ""); /* only in the background */
        CHECK(take_back(&stand, &policy, 102 * SEC, 2) == 2 * EXTENT);
        CHECK(rights_find(&stand.rights, 4 * EXTENT)->releasing && !rights_find(&stand.rights, 6 * EXTENT)->releasing);
        CHECK(rights_assign(&stand.rights, SPAN(2 * EXTENT, 3 * EXTENT), OS1, 103 * SEC) == 0);
        CHECK(rights_assign(&stand.rights, SPAN(2 * EXTENT, 3 * EXTENT), OS2, 103 * SEC) == 0);
        CHECK(take_back(&stand, &policy, 104 * SEC, 1) == EXTENT);
        CHECK(rights_find(&stand.rights, 6 * EXTENT)->releasing);
        stand_deinit(&stand);

        stand_init(&stand);
        lose_management(&stand);
        CHECK(take_back(&stand, &policy, 102 * SEC, 1) == 6 * EXTENT); /* of several granules, but one stretch */
        stand_deinit(&stand);
}

static void means_are_of_each_vm_alone(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .limit_kind = EARLY_ADAPTIVE,
                                                     .limit_percent = 50, .in_background = true, .bytes_per_sec = GIB };
        static const uint64_t accesses[8] = { 1000, 1000, 400, 2000, 1, 5, 5, 5 };
        struct stand stand;

        stand_init(&stand);
        CHECK(rights_reported_free(&stand.rights, OS1, SPAN(4 * EXTENT, 8 * EXTENT), 91 * SEC) == 0);
        CHECK(rights_touch(&stand.rights, OS3, SPAN(4 * EXTENT, 8 * EXTENT), 91 * SEC, NULL) == 0);
        CHECK(rights_assign(&stand.rights, SPAN(0, 8 * EXTENT), OS2, 92 * SEC) == 0);
        sample(&stand, 93 * SEC, accesses);
        /* OS1: 1100, of which half is 550; OS3: 4, of which half is 2 */
        CHECK_TEXT(look(&stand, &policy, 94 * SEC), "2-3 4-5");
        stand_deinit(&stand);
}

static void large_spaces_are_sampled_in_a_bounded_number_of_granules(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .limit = 0, .in_background = true,
                                                     .bytes_per_sec = 64 * GIB };
        struct early_release early;
        struct rights rights;
        struct span spans[SPANS_MAX];
        uint64_t sum = 0, n_extents = 3 * EARLY_RELEASE_GRANULES_MAX - 1;

        REQUIRE(rights_init(&rights, 2 * MIB, n_extents * 2 * MIB) == 0);
        CHECK(rights_touch(&rights, OS1, SPAN(0, rights.size_bytes), 1, NULL) == 0);
        REQUIRE(early_release_init(&early, &rights) == 0);
        CHECK(early.n_granules == EARLY_RELEASE_GRANULES_MAX && early.granule_bytes == 6 * MIB);
        early_release_sample(&early, &rights, SPAN(0, rights.size_bytes), 5 * n_extents + 3, 0, 2);
        for (size_t i = 0; i < early.n_granules; i++)
                sum += early.granules[i].accesses;
        CHECK(sum == 5 * n_extents + 3 && early.granules[0].accesses == 18 && early.granules[1].accesses == 15);
        CHECK(early.granules[early.n_granules - 1].accesses == 10);
        CHECK(early_release_look(&early, &rights, &policy, 3, spans, SPANS_MAX) == 0);
        early_release_deinit(&early);
        rights_deinit(&rights);
}

static void all_that_one_vm_may_lose_of_a_granule_goes_together_and_no_more(void) {
        const struct early_release_policy policy = { .measure = EARLY_NUMBER, .limit = 0, .in_background = true,
                                                     .bytes_per_sec = 64 * GIB };
        struct early_release early;
        struct rights rights;
        struct span spans[SPANS_MAX];

        REQUIRE(rights_init(&rights, 2 * MIB, 4 * EARLY_RELEASE_GRANULES_MAX * 2 * MIB) == 0);
        REQUIRE(early_release_init(&early, &rights) == 0);
        /* In the first granule: managed by its user; lost; another VM's; lost. In the second: nobody's; lost. */
        CHECK(rights_touch(&rights, OS1, SPAN(0, 8 * MIB), 1, NULL) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 2 * MIB), OS1, 1) == 0);
        CHECK(rights_reported_free(&rights, OS1, SPAN(4 * MIB, 6 * MIB), 2) == 0);
        CHECK(rights_touch(&rights, OS3, SPAN(4 * MIB, 6 * MIB), 2, NULL) == 0);
        CHECK(rights_touch(&rights, OS2, SPAN(10 * MIB, 12 * MIB), 2, NULL) == 0);
        early_release_sample(&early, &rights, SPAN(8 * MIB, 16 * MIB), 3, 0, 3);
        CHECK(early_release_look(&early, &rights, &policy, 3, spans, SPANS_MAX) == 2);
        CHECK(spans[0].start == 2 * MIB && spans[0].end == 4 * MIB);
        CHECK(spans[1].start == 6 * MIB && spans[1].end == 8 * MIB);
        CHECK(holder_equal(early.granules[1].user, OS2) && early.granules[1].accesses == 3);
        /* A granule that is used, in part, counts for its user also where it manages. */
        CHECK(rights_assign(&rights, SPAN(10 * MIB, 12 * MIB), OS2, 4) == 0);
        early_release_sample(&early, &rights, SPAN(8 * MIB, 16 * MIB), 4, 0, 4);
        CHECK(holder_equal(early.granules[1].user, OS2) && early.granules[1].accesses == 7);
        early_release_deinit(&early);
        rights_deinit(&rights);
}

static void numbers_stay_at_the_top_of_their_range(void) {
        const struct early_release_policy number = { .measure = EARLY_NUMBER, .limit = UINT64_MAX, .at_least = true,
                                                     .in_background = true, .bytes_per_sec = GIB };
        const struct early_release_policy rate = { .measure = EARLY_RATE, .limit_kind = EARLY_ADAPTIVE,
                                                   .limit_percent = 4000000000, .in_background = true,
                                                   .bytes_per_sec = UINT64_MAX };
        struct stand stand;

        stand_init(&stand);
        lose_management(&stand);
        early_release_sample(&stand.early, &stand.rights, SPAN(2 * EXTENT, 3 * EXTENT), UINT64_MAX - 7, 1, 101 * SEC);
        early_release_sample(&stand.early, &stand.rights, SPAN(2 * EXTENT, 3 * EXTENT), 8, UINT64_MAX, 102 * SEC);
        CHECK_TEXT(look(&stand, &number, 103 * SEC), "2-3");
        CHECK_TEXT(look(&stand, &rate, UINT64_MAX - 1), "2-8");
        stand_deinit(&stand);
}

static void every_word_reads_back(void) {
        for (int i = 0; i < EARLY_MEASURE_MAX; i++)
                CHECK(early_measure_from_string(early_measure_to_string(i)) == (enum early_measure) i);
        for (int i = 0; i < EARLY_LIMIT_MAX; i++)
                CHECK(early_limit_from_string(early_limit_to_string(i)) == (enum early_limit) i);
        CHECK(early_measure_to_string(EARLY_MEASURE_MAX) == NULL && early_limit_to_string(EARLY_LIMIT_MAX) == NULL);
        CHECK(early_measure_from_string("?") == EARLY_MEASURE_INVALID);
        CHECK(early_limit_from_string("?") == EARLY_LIMIT_INVALID);
}

TEST_MAIN("core-early-release",
          TEST(every_measure_is_held_against_a_fixed_or_adaptive_limit),
          TEST(what_an_extents_user_manages_is_never_taken_back),
          TEST(an_access_that_triggers_it_is_told_to_retry),
          TEST(nothing_is_judged_before_it_was_watched_for_a_while),
          TEST(the_rate_is_bounded_and_nobody_is_passed_over),
          TEST(stretches_that_do_not_fit_come_first_the_next_time),
          TEST(means_are_of_each_vm_alone),
          TEST(large_spaces_are_sampled_in_a_bounded_number_of_granules),
          TEST(all_that_one_vm_may_lose_of_a_granule_goes_together_and_no_more),
          TEST(numbers_stay_at_the_top_of_their_range),
          TEST(every_word_reads_back))
