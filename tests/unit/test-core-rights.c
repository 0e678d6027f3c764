/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "tests/unit/rights-text.h"
#include "tests/unit/test.h"

#define EXTENT (256 * MIB)

/* The worked example of the document up to where OS3 comes in: 2 GiB; OS1 has all; OS2 is given the upper half and
 * touches two extents of it. */
static void make_example(struct rights *rights) {
        uint64_t bytes[ACCESS_MAX];

        REQUIRE(rights_init(rights, EXTENT, 2 * GIB) == 0);
        CHECK(rights_assign(rights, SPAN(0, 2 * GIB), OS1, 1) == 0);
        CHECK(rights_touch(rights, OS1, SPAN(0, 2 * GIB), 1, bytes) == 0);
        CHECK(bytes[ACCESS_BECOMES_USER] == 2 * GIB);
        CHECK_TEXT(rights_text(rights), "0-2GiB 1/1");

        /* For those four extents the manager is OS2, the user still OS1. */
        CHECK(rights_assign(rights, SPAN(GIB, 2 * GIB), OS2, 2) == 0);
        CHECK_TEXT(rights_text(rights), "0-1GiB 1/1, 1GiB-2GiB 2/1");

        /* OS2 touches 1024-1280 and 1792-2048: those two change user. */
        CHECK(rights_touch(rights, OS2, SPAN(GIB, GIB + EXTENT), 3, bytes) == 0 && bytes[ACCESS_TAKES] == EXTENT);
        CHECK(rights_touch(rights, OS2, SPAN(2 * GIB - EXTENT, 2 * GIB), 3, bytes) == 0);
        CHECK(bytes[ACCESS_TAKES] == EXTENT);
        CHECK_TEXT(rights_text(rights), "0-1GiB 1/1, 1GiB-1280MiB 2/1>2, 1280MiB-1792MiB 2/1, 1792MiB-2GiB 2/1>2");
        CHECK(rights_paged_out(rights, OS1, SPAN(0, 2 * GIB), 4) == 0);
        CHECK_TEXT(rights_text(rights), "0-1GiB 1/1, 1GiB-1280MiB 2/2, 1280MiB-1792MiB 2/1, 1792MiB-2GiB 2/2");
}

/* OS2 gives 1536-2048 up, and OS3 is given it. */
static void give_to_third(struct rights *rights, enum release_variant variant) {
        struct span span = SPAN(1536 * MIB, 2 * GIB);

        make_example(rights);
        CHECK(rights_declare_release(rights, OS2, span, variant, 5) == 0);
        CHECK(rights_assign(rights, span, OS3, 5) == 0);
}

static void worked_example_of_variant_1_leaves_the_user_and_cuts_the_manager_off(void) {
        struct rights rights;

        give_to_third(&rights, RELEASE_USER_KEEPS);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 1/1, 1GiB-1280MiB 2/2, 1280MiB-1536MiB 2/1, "
                                         "1536MiB-1792MiB 3/1, 1792MiB-2GiB 3/2");
        CHECK(rights_decide(&rights, OS2, 1536 * MIB) == ACCESS_ERROR);
        CHECK(rights_decide(&rights, OS1, 1536 * MIB) == ACCESS_GOES_ON);
        CHECK(rights_decide(&rights, OS2, 1792 * MIB) == ACCESS_GOES_ON);
        CHECK(rights_decide(&rights, OS3, 1536 * MIB) == ACCESS_TAKES);
        CHECK(rights_decide(&rights, OS3, 1792 * MIB) == ACCESS_TAKES);
        rights_deinit(&rights);
}

static void worked_example_of_variant_2_makes_the_user_release_to_the_stronger_right(void) {
        struct rights rights;

        give_to_third(&rights, RELEASE_STRONGER_KEEPS);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 1/1, 1GiB-1280MiB 2/2, 1280MiB-1536MiB 2/1, "
                                         "1536MiB-1792MiB 3/1>2, 1792MiB-2GiB 3/2");
        CHECK(rights_paged_out(&rights, OS1, SPAN(1536 * MIB, 1792 * MIB), 6) == 0);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 1/1, 1GiB-1280MiB 2/2, 1280MiB-1536MiB 2/1, "
                                         "1536MiB-1792MiB 3/2, 1792MiB-2GiB 3/2");
        CHECK(rights_decide(&rights, OS2, 1536 * MIB) == ACCESS_GOES_ON);
        CHECK(rights_decide(&rights, OS1, 1536 * MIB) == ACCESS_ERROR);
        rights_deinit(&rights);
}

/* Four extents: managed by OS1 and used by nobody; by OS1; by OS2; by OS2, which is being made to release it. */
static void make_four(struct rights *rights) {
        REQUIRE(rights_init(rights, EXTENT, 4 * EXTENT) == 0);
        CHECK(rights_assign(rights, SPAN(0, 4 * EXTENT), OS1, 1) == 0);
        CHECK(rights_touch(rights, OS1, SPAN(EXTENT, 2 * EXTENT), 1, NULL) == 0);
        CHECK(rights_touch(rights, OS2, SPAN(2 * EXTENT, 4 * EXTENT), 1, NULL) == 0);
        CHECK(rights_take_back(rights, SPAN(3 * EXTENT, 4 * EXTENT)) == 0);
        CHECK_TEXT(rights_text(rights), "0-256MiB 1/-, 256MiB-512MiB 1/1, 512MiB-768MiB 1/2, 768MiB-1GiB 1/2>-");
}

static void every_access_decision_is_as_the_document_says(void) {
        static const enum access expected[3][4] = {
                { ACCESS_BECOMES_USER, ACCESS_GOES_ON, ACCESS_TAKES, ACCESS_TAKES },   /* OS1, the manager */
                { ACCESS_BECOMES_USER, ACCESS_ERROR, ACCESS_GOES_ON, ACCESS_RETRY },   /* OS2 */
                { ACCESS_BECOMES_USER, ACCESS_ERROR, ACCESS_ERROR, ACCESS_ERROR },     /* OS3, a stranger */
        };
        static const char *const after[3] = {
                "0-512MiB 1/1, 512MiB-1GiB 1/2>1",
                "0-256MiB 1/2, 256MiB-512MiB 1/1, 512MiB-768MiB 1/2, 768MiB-1GiB 1/2>-",
                "0-256MiB 1/3, 256MiB-512MiB 1/1, 512MiB-768MiB 1/2, 768MiB-1GiB 1/2>-",
        };

        for (int vm = 0; vm < 3; vm++) {
                struct holder holder = { .pair = vm + 1 };
                uint64_t bytes[ACCESS_MAX], sum = 0;
                struct rights rights;

                make_four(&rights);
                for (uint64_t i = 0; i < 4; i++)
                        CHECK(rights_decide(&rights, holder, i * EXTENT) == expected[vm][i]);
                CHECK(rights_touch(&rights, holder, SPAN(0, 4 * EXTENT), 5, bytes) == 0);
                for (int i = 0; i < ACCESS_MAX; i++)
                        sum += bytes[i];
                CHECK(sum == 4 * EXTENT);
                CHECK_TEXT(rights_text(&rights), after[vm]);
                /* Accessing again while the release lasts changes nothing. */
                CHECK(rights_touch(&rights, holder, SPAN(0, 4 * EXTENT), 6, NULL) == 0);
                CHECK_TEXT(rights_text(&rights), after[vm]);
                CHECK(rights_decide(&rights, holder, 4 * EXTENT) == ACCESS_ERROR);
                rights_deinit(&rights);
        }
}

static void sides_of_a_pair_are_two_holders(void) {
        const struct holder a = { .pair = 0, .side = SIDE_A }, b = { .pair = 0, .side = SIDE_B };
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 4 * EXTENT) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), a, 1) == 0);
        CHECK(rights_touch(&rights, a, SPAN(0, 4 * EXTENT), 1, NULL) == 0);
        CHECK(rights_decide(&rights, b, 0) == ACCESS_ERROR);
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), b, 2) == 0);
        CHECK(rights_decide(&rights, b, 0) == ACCESS_TAKES && rights_decide(&rights, a, 0) == ACCESS_GOES_ON);
        rights_deinit(&rights);
}

static void plain_release_leaves_usage_until_the_memory_is_needed_or_reported_free(void) {
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 4 * EXTENT) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), OS1, 1) == 0);
        CHECK(rights_touch(&rights, OS1, SPAN(0, 3 * EXTENT), 1, NULL) == 0);
        CHECK(rights_declare_release(&rights, OS1, SPAN(EXTENT, 4 * EXTENT), RELEASE_STRONGER_KEEPS, 7) == 0);
        CHECK_TEXT(rights_text(&rights), "0-256MiB 1/1, 256MiB-768MiB -/1, 768MiB-1GiB -/-");
        CHECK(rights_find(&rights, EXTENT)->unmanaged_usec == 7);
        CHECK(rights_reported_free(&rights, OS1, SPAN(2 * EXTENT, 4 * EXTENT), 8) == 0);
        CHECK_TEXT(rights_text(&rights), "0-256MiB 1/1, 256MiB-512MiB -/1, 512MiB-1GiB -/-");
        /* Only its manager gives an extent up. */
        CHECK(rights_declare_release(&rights, OS2, SPAN(0, EXTENT), RELEASE_USER_KEEPS, 9) == -EPERM);
        CHECK(rights_declare_release(&rights, OS1, SPAN(0, 2 * EXTENT), RELEASE_USER_KEEPS, 9) == -EPERM);
        CHECK_TEXT(rights_text(&rights), "0-256MiB 1/1, 256MiB-512MiB -/1, 512MiB-1GiB -/-");
        rights_deinit(&rights);
}

static void manager_that_gives_up_what_it_waits_for_leaves_it_to_the_user(void) {
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 2 * EXTENT) == 0);
        CHECK(rights_touch(&rights, OS1, SPAN(0, 2 * EXTENT), 1, NULL) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 2 * EXTENT), OS2, 2) == 0);
        CHECK(rights_touch(&rights, OS2, SPAN(0, EXTENT), 3, NULL) == 0);
        CHECK(rights_take_back(&rights, SPAN(EXTENT, 2 * EXTENT)) == 0);
        CHECK_TEXT(rights_text(&rights), "0-256MiB 2/1>2, 256MiB-512MiB 2/1>-");
        CHECK(rights_declare_release(&rights, OS2, SPAN(0, 2 * EXTENT), RELEASE_USER_KEEPS, 4) == 0);
        CHECK_TEXT(rights_text(&rights), "0-256MiB -/1, 256MiB-512MiB -/1>-");
        /* A page-out that had begun for it ends without effect. */
        CHECK(rights_paged_out(&rights, OS1, SPAN(0, EXTENT), 5) == 0);
        CHECK_TEXT(rights_text(&rights), "0-256MiB -/1, 256MiB-512MiB -/1>-");
        rights_deinit(&rights);
}

static void user_that_manages_again_need_not_release(void) {
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 4 * EXTENT) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), OS1, 1) == 0);
        CHECK(rights_touch(&rights, OS1, SPAN(0, 4 * EXTENT), 1, NULL) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), OS2, 2) == 0);
        CHECK(rights_touch(&rights, OS2, SPAN(0, 4 * EXTENT), 3, NULL) == 0);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 2/1>2");
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), OS1, 4) == 0);
        CHECK(rights_paged_out(&rights, OS1, SPAN(0, 4 * EXTENT), 5) == 0);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 1/1");
        CHECK(rights_find(&rights, 0)->unmanaged_usec == USEC_INFINITY);
        rights_deinit(&rights);
}

static void time_without_management_counts_from_when_it_was_lost(void) {
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 4 * EXTENT) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 2 * EXTENT), OS1, 1) == 0);
        CHECK(rights_touch(&rights, OS1, SPAN(0, 4 * EXTENT), 5, NULL) == 0);
        CHECK(rights_find(&rights, 0)->unmanaged_usec == USEC_INFINITY);
        CHECK(rights_find(&rights, 2 * EXTENT)->unmanaged_usec == 5); /* it never had it */
        CHECK(rights_assign(&rights, SPAN(0, EXTENT), OS2, 10) == 0);
        CHECK(rights_assign(&rights, SPAN(0, 4 * EXTENT), OS3, 20) == 0);
        CHECK(rights_find(&rights, 0)->unmanaged_usec == 10);
        CHECK(rights_find(&rights, EXTENT)->unmanaged_usec == 20);
        CHECK(rights_find(&rights, 2 * EXTENT)->unmanaged_usec == 5);
        /* Another user begins anew. */
        CHECK(rights_reported_free(&rights, OS1, SPAN(0, EXTENT), 30) == 0);
        CHECK(rights_touch(&rights, OS2, SPAN(0, EXTENT), 31, NULL) == 0);
        CHECK(rights_find(&rights, 0)->unmanaged_usec == 31);
        rights_deinit(&rights);
}

static void fenced_vm_drops_all_usage_and_manages_on(void) {
        struct rights rights;

        make_example(&rights);
        CHECK(rights_touch(&rights, OS2, SPAN(1280 * MIB, 1536 * MIB), 5, NULL) == 0);
        rights_fence(&rights, OS1, 6);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 1/-, 1GiB-1536MiB 2/2, 1536MiB-1792MiB 2/-, 1792MiB-2GiB 2/2");
        /* Nor does it come next anywhere. */
        CHECK(rights_assign(&rights, SPAN(0, 2 * GIB), OS3, 7) == 0);
        CHECK(rights_touch(&rights, OS3, SPAN(GIB, 1536 * MIB), 8, NULL) == 0);
        rights_fence(&rights, OS3, 9);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 3/-, 1GiB-1536MiB 3/2>-, 1536MiB-1792MiB 3/-, 1792MiB-2GiB 3/2");
        rights_deinit(&rights);
}

static void vm_that_leaves_has_no_right_left(void) {
        struct rights rights;

        make_example(&rights);
        rights_leave(&rights, OS2, 5);
        CHECK_TEXT(rights_text(&rights), "0-1GiB 1/1, 1GiB-1280MiB -/-, 1280MiB-1792MiB -/1, 1792MiB-2GiB -/-");
        rights_leave(&rights, OS1, 6);
        CHECK_TEXT(rights_text(&rights), "0-2GiB -/-");
        rights_deinit(&rights);
}

static void sums_say_what_is_lent_borrowed_and_leaving(void) {
        struct rights_sum one, two, nobody;
        struct rights rights;

        make_example(&rights);
        CHECK(rights_touch(&rights, OS2, SPAN(1280 * MIB, 1536 * MIB), 5, NULL) == 0);
        one = rights_sum(&rights, OS1);
        two = rights_sum(&rights, OS2);
        nobody = rights_sum(&rights, HOLDER_NONE);
        CHECK(one.managed_bytes == GIB && one.used_bytes == 1536 * MIB && one.lent_bytes == 0);
        CHECK(one.borrowed_bytes == 512 * MIB && one.leaving_bytes == 256 * MIB);
        CHECK(two.managed_bytes == GIB && two.used_bytes == 512 * MIB && two.lent_bytes == 512 * MIB);
        CHECK(two.borrowed_bytes == 0 && two.leaving_bytes == 0);
        CHECK(nobody.managed_bytes == 0 && nobody.used_bytes == 0);
        rights_deinit(&rights);
}

static void space_grows_and_shrinks_by_what_nobody_has(void) {
        struct rights rights;

        REQUIRE(rights_init(&rights, EXTENT, 2 * EXTENT) == 0);
        CHECK(rights_resize(&rights, 4 * EXTENT) == 0 && rights.n_ranges == 1);
        CHECK(rights_assign(&rights, SPAN(2 * EXTENT, 3 * EXTENT), OS1, 1) == 0);
        CHECK(rights_resize(&rights, 2 * EXTENT) == -EBUSY);
        CHECK(rights_resize(&rights, 3 * EXTENT) == 0);
        CHECK_TEXT(rights_text(&rights), "0-512MiB -/-, 512MiB-768MiB 1/-");
        CHECK(rights_resize(&rights, 2 * EXTENT) == -EBUSY);
        CHECK(rights_resize(&rights, 4 * EXTENT) == 0);
        CHECK_TEXT(rights_text(&rights), "0-512MiB -/-, 512MiB-768MiB 1/-, 768MiB-1GiB -/-");
        CHECK(rights_resize(&rights, 4 * EXTENT + 1) == -EINVAL && rights_resize(&rights, 0) == -EINVAL);
        CHECK(rights_resize(&rights, (RIGHTS_EXTENTS_MAX + 1) * EXTENT) == -E2BIG);
        rights_deinit(&rights);
}

static void what_is_no_stretch_of_whole_extents_is_refused(void) {
        static const struct span bad[] = {
                { 0, 0 }, { EXTENT, EXTENT }, { EXTENT, 0 }, { 0, 3 * EXTENT }, { 1, EXTENT }, { 0, EXTENT + 1 },
                { 2 * EXTENT, 3 * EXTENT }, { UINT64_MAX - EXTENT + 1, UINT64_MAX }, { 0, UINT64_MAX },
        };
        struct rights rights;

        CHECK(rights_init(&rights, EXTENT, EXTENT + 1) == -EINVAL && rights_init(&rights, EXTENT, 0) == -EINVAL);
        CHECK(rights_init(&rights, 0, EXTENT) == -EINVAL);
        CHECK(rights_init(&rights, MIB, (RIGHTS_EXTENTS_MAX + 1) * MIB) == -E2BIG);
        REQUIRE(rights_init(&rights, EXTENT, 2 * EXTENT) == 0);
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
                const struct rights_range range = { .span = bad[i], .manager = OS1, .user = OS1 };

                CHECK(rights_touch(&rights, OS1, bad[i], 1, NULL) == -EINVAL);
                CHECK(rights_assign(&rights, bad[i], OS1, 1) == -EINVAL);
                CHECK(rights_declare_release(&rights, OS1, bad[i], RELEASE_USER_KEEPS, 1) == -EINVAL);
                CHECK(rights_take_back(&rights, bad[i]) == -EINVAL);
                CHECK(rights_paged_out(&rights, OS1, bad[i], 1) == -EINVAL);
                CHECK(rights_reported_free(&rights, OS1, bad[i], 1) == -EINVAL);
                CHECK(rights_restore(&rights, &range) == -EINVAL);
        }
        CHECK_TEXT(rights_text(&rights), "0-512MiB -/-");
        CHECK(rights_find(&rights, 2 * EXTENT) == NULL);
        rights_deinit(&rights);
}

static void what_was_recorded_is_put_back(void) {
        struct rights rights, again;

        make_example(&rights);
        CHECK(rights_touch(&rights, OS2, SPAN(1280 * MIB, 1536 * MIB), 5, NULL) == 0);
        REQUIRE(rights_init(&again, EXTENT, 2 * GIB) == 0);
        for (size_t i = 0; i < rights.n_ranges; i++)
                CHECK(rights_restore(&again, &rights.ranges[i]) == 0);
        CHECK_TEXT(rights_text(&again), "0-1GiB 1/1, 1GiB-1280MiB 2/2, 1280MiB-1792MiB 2/1, 1792MiB-2GiB 2/2");
        CHECK(rights_find(&again, 1280 * MIB)->unmanaged_usec == 2);
        rights_deinit(&rights);
        rights_deinit(&again);
}

static void every_word_reads_back(void) {
        for (int i = 0; i < ACCESS_MAX; i++)
                CHECK(access_from_string(access_to_string(i)) == (enum access) i);
        for (int i = 0; i < RELEASE_VARIANT_MAX; i++)
                CHECK(release_variant_from_string(release_variant_to_string(i)) == (enum release_variant) i);
        CHECK(access_to_string(ACCESS_MAX) == NULL && access_from_string("?") == ACCESS_INVALID);
        CHECK(release_variant_to_string(RELEASE_VARIANT_MAX) == NULL);
        CHECK(release_variant_from_string("?") == RELEASE_VARIANT_INVALID);
}

TEST_MAIN("core-rights", TEST(worked_example_of_variant_1_leaves_the_user_and_cuts_the_manager_off),
          TEST(worked_example_of_variant_2_makes_the_user_release_to_the_stronger_right),
          TEST(every_access_decision_is_as_the_document_says), TEST(sides_of_a_pair_are_two_holders),
          TEST(plain_release_leaves_usage_until_the_memory_is_needed_or_reported_free),
          TEST(manager_that_gives_up_what_it_waits_for_leaves_it_to_the_user),
          TEST(user_that_manages_again_need_not_release), TEST(time_without_management_counts_from_when_it_was_lost),
          TEST(fenced_vm_drops_all_usage_and_manages_on), TEST(vm_that_leaves_has_no_right_left),
          TEST(sums_say_what_is_lent_borrowed_and_leaving), TEST(space_grows_and_shrinks_by_what_nobody_has),
          TEST(what_is_no_stretch_of_whole_extents_is_refused), TEST(what_was_recorded_is_put_back),
          TEST(every_word_reads_back))
