/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A thin frame around CUnit: each test program is one suite, each test a function named after what must hold.
 * The program exits non-zero when a test fails and ends with CUnit's summary, which `make check` adds up.
 */

#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

struct test {
        const char *name;
        void (*run)(void);
};

#define TEST(function) \
        { #function, function }

#define CHECK(condition) CU_ASSERT(condition)
#define REQUIRE(condition) CU_ASSERT_FATAL(condition)
#define CHECK_TEXT(actual, expected) CU_ASSERT_STRING_EQUAL(actual, expected)

static inline int test_run(const char *suite_name, const struct test *tests, size_t n_tests) {
        CU_pSuite suite;
        unsigned failed;

        if (CU_initialize_registry() != CUE_SUCCESS)
                return EXIT_FAILURE;
        suite = CU_add_suite(suite_name, NULL, NULL);
        for (size_t i = 0; suite && i < n_tests; i++)
                if (!CU_add_test(suite, tests[i].name, tests[i].run))
                        suite = NULL;
        if (!suite)
                return EXIT_FAILURE;
        CU_basic_set_mode(CU_BRM_VERBOSE);
        CU_basic_run_tests();
        failed = CU_get_number_of_failures();
        CU_cleanup_registry();
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define TEST_MAIN(suite, ...)                                                                  \
        int main(void) {                                                                       \
                static const struct test tests[] = { __VA_ARGS__ };                            \
                return test_run(suite, tests, sizeof(tests) / sizeof(tests[0]));               \
        }
