/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Out of memory anywhere between a policy's text and its model, and back: it is read whole, or not at all. */

#include <errno.h>
#include <libfyaml.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/memstream.h"
#include "policy/text.h"
#include "tests/unit/faulty-heap.h"
#include "tests/unit/policy-equal.h"
#include "tests/unit/test.h"

DEFINE_CLEANUP(struct policy *, policy_free)

/* libfyaml 0.7.12 does not survive being out of memory: the program ends there. What this project's code asks for is
 * tried. */
#define SPARED(type, name, parameters, ...)          \
        type __real_##name parameters;               \
        type __wrap_##name parameters;               \
        type __wrap_##name parameters {              \
                type r;                              \
                                                     \
                heap_spare(HEAP_SPARE_ALL);          \
                r = __real_##name(__VA_ARGS__);      \
                heap_spare(HEAP_SPARE_NONE);         \
                return r;                            \
        }

SPARED(struct fy_diag *, fy_diag_create, (const struct fy_diag_cfg *config), config)
SPARED(struct fy_parser *, fy_parser_create, (const struct fy_parse_cfg *config), config)
SPARED(int, fy_parser_set_string, (struct fy_parser * parser, const char *string, size_t n), parser, string, n)
SPARED(struct fy_event *, fy_parser_parse, (struct fy_parser * parser), parser)
SPARED(const char *, fy_token_get_text, (struct fy_token * token, size_t *ret_n), token, ret_n)

static char *path;             /* of an example with every key */
static char *text;
static struct policy *policy;  /* what it says */

static void read_example(void) {
        const char *source = getenv("TEST_SOURCE_DIR");
        struct diagnostics d = { 0 };
        size_t size;
        FILE *f;

        REQUIRE(asprintf(&path, "%s/etc/policy.example.yaml", source ? source : ".") > 0);
        REQUIRE(policy_load(path, &policy, &d) == 0);
        diagnostics_deinit(&d);
        f = open_memstream(&text, &size);
        REQUIRE(f && policy_write(policy, f) == 0 && fclose(f) == 0);
}

static void forget_example(void) {
        policy = policy_free(policy);
        free(path);
        free(text);
}

static void load(void) {
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
        _cleanup_(policy_freep) struct policy *again = NULL;
        bool failed;
        int r;

        heap_begin(false);
        r = policy_load(path, &again, &d);
        failed = heap_end();
        CHECK(r == 0 || failed);
        CHECK((r == 0) == (again != NULL));
        if (again)
                CHECK(policy_equal(policy, again));
}

static void refuse(void) {
        static const char wrong[] = "version: 1\n"
                                    "pool: {memory: 1GiB, extend: 2MiB}\n"
                                    "pairs: [{name: a b, active: {domain: x}}]\n";
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
        struct policy *none = NULL;
        int r;

        heap_begin(false);
        r = policy_parse(wrong, sizeof(wrong) - 1, "wrong", &none, &d);
        heap_end();
        CHECK((r == -EINVAL || r == -ENOMEM) && !none);
}

static void copy(void) {
        _cleanup_(policy_freep) struct policy *again = NULL;
        bool failed;

        heap_begin(false);
        again = policy_copy(policy);
        failed = heap_end();
        CHECK(again || failed);
        if (again)
                CHECK(policy_equal(policy, again));
}

static void write_back(void) {
        _cleanup_free_ char *again = NULL;
        bool failed;
        size_t size;
        FILE *f;
        int r;

        heap_begin(false);
        f = open_memstream(&again, &size);
        if (f)
                (void) policy_write(policy, f);
        r = memstream_close(f, &again);
        failed = heap_end();
        CHECK((r == 0 && again) || (failed && !again));
        if (again)
                CHECK_TEXT(again, text);
}

static void each(void (*run)(void)) {
        read_example();
        CHECK(heap_fail_each(run, HEAP_LACK_LARGE) > 2);
        forget_example();
}

static void a_policy_is_read_whole_or_not_at_all(void) {
        each(load);
}

static void a_wrong_policy_is_never_taken(void) {
        each(refuse);
}

static void a_policy_is_copied_whole_or_not_at_all(void) {
        each(copy);
}

static void a_policy_is_written_whole_or_an_error_is_told(void) {
        each(write_back);
}

TEST_MAIN("heap-policy",
          TEST(a_policy_is_read_whole_or_not_at_all),
          TEST(a_wrong_policy_is_never_taken),
          TEST(a_policy_is_copied_whole_or_not_at_all),
          TEST(a_policy_is_written_whole_or_an_error_is_told))
