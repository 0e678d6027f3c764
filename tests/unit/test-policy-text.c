/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each tests/policy/NAME.yaml is read and what comes out is compared with NAME.expect: the findings, and for a
 * policy that is accepted its full text as written. With TEST_UPDATE=1 in the environment the .expect files are
 * written instead; `git diff tests/policy` then shows what changed.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "policy/node.h"
#include "policy/text.h"
#include "tests/unit/policy-equal.h"
#include "tests/unit/test.h"

DEFINE_CLEANUP(struct policy *, policy_free)

static const char *source_dir(void) {
        const char *dir = getenv("TEST_SOURCE_DIR");

        return dir ? dir : ".";
}

static char *read_whole(const char *path, size_t *ret_n) {
        _cleanup_fclose_ FILE *f = fopen(path, "r");
        char *text = calloc(1, 2 * NODE_TEXT_MAX);

        if (!f || !text) {
                free(text);
                return NULL;
        }
        *ret_n = fread(text, 1, 2 * NODE_TEXT_MAX - 1, f);
        return text;
}

static char *written(const struct policy *policy) {
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        REQUIRE(f != NULL);
        CHECK(policy_write(policy, f) == 0);
        fclose(f);
        return text;
}

/* What is written reads back equal, and without a finding that was not there before. */
static void check_round_trip(const struct policy *policy, const char *text) {
        _cleanup_(policy_freep) struct policy *again = NULL;
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };

        CHECK(policy_parse(text, strlen(text), "again", &again, &d) == 0);
        if (!again)
                diagnostics_print(&d, stderr);
        CHECK(d.n_errors == 0);
        REQUIRE(again != NULL);
        CHECK(policy_equal(policy, again));
        for (size_t i = 0; i < policy->n_pairs; i++) /* so that it goes on undisturbed when the text is applied again */
                CHECK(pair_policy_same(&policy->pairs[i], &again->pairs[i]));
}

static char *outcome(const char *path, const char *name) {
        _cleanup_(policy_freep) struct policy *policy = NULL;
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
        _cleanup_free_ char *input = NULL, *text = NULL;
        char *out = NULL;
        size_t n = 0, n_out;
        FILE *f = open_memstream(&out, &n_out);
        int r;

        input = read_whole(path, &n);
        REQUIRE(f && input);
        r = policy_parse(input, n, name, &policy, &d);
        CHECK((r == 0) == (policy != NULL));
        CHECK((r == -EINVAL) == (d.n_errors > 0));
        diagnostics_print(&d, f);
        if (policy) {
                text = written(policy);
                fprintf(f, "accepted\n%s", text);
                check_round_trip(policy, text);
        }
        fclose(f);
        return out;
}

static void compare_case(const char *dir, const char *name) {
        _cleanup_free_ char *path = NULL, *expect_path = NULL, *out = NULL, *expected = NULL;
        bool update = getenv("TEST_UPDATE") != NULL;
        size_t n = 0;

        REQUIRE(asprintf(&path, "%s/%s", dir, name) > 0);
        REQUIRE(asprintf(&expect_path, "%s/%.*s.expect", dir, (int) (strlen(name) - strlen(".yaml")), name) > 0);
        out = outcome(path, name);
        if (update) {
                _cleanup_fclose_ FILE *f = fopen(expect_path, "w");

                REQUIRE(f && fputs(out, f) >= 0);
                return;
        }
        expected = read_whole(expect_path, &n);
        if (!expected || strcmp(expected, out) != 0)
                fprintf(stderr, "\n%s: expected\n%s--- but got\n%s---\n", name, expected ? expected : "(no file)\n",
                        out);
        CHECK(expected && strcmp(expected, out) == 0);
        /* The name says what must hold, so that a regenerated expectation cannot turn a refusal into a pass. */
        CHECK((strstr(out, "accepted\n") != NULL) ==
              (strncmp(name, "valid-", 6) == 0 || strncmp(name, "warning-", 8) == 0));
}

/* What would be refused if it were new, and was in force: taken with warnings, or refused with an error. What is taken
 * can be kept for the next start. */
static bool check_in_force(const char *path, const char *name) {
        _cleanup_(policy_freep) struct policy *policy = NULL, *again = NULL;
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 }, e = { 0 };
        _cleanup_free_ char *input = NULL, *text = NULL;
        size_t n = 0;
        int r;

        input = read_whole(path, &n);
        REQUIRE(input != NULL);
        r = policy_parse_in_force(input, n, name, &policy, &d);
        CHECK((r == -EINVAL) == (d.n_errors > 0));
        if (!policy)
                return false;
        CHECK((d.n_tolerated == 0) == (strncmp(name, "valid-", 6) == 0 || strncmp(name, "warning-", 8) == 0));
        CHECK(d.n_tolerated <= d.n_warnings);
        text = written(policy);
        CHECK(policy_parse_in_force(text, strlen(text), "again", &again, &e) == 0);
        CHECK(again && e.n_tolerated <= d.n_tolerated); /* what has no effect is not written */
        return d.n_tolerated > 0;
}

static int is_yaml(const struct dirent *entry) {
        size_t n = strlen(entry->d_name);

        return n > 5 && strcmp(entry->d_name + n - 5, ".yaml") == 0;
}

static void every_case_has_exactly_the_expected_findings(void) {
        _cleanup_free_ char *dir = NULL;
        struct dirent **entries = NULL;
        int n;

        REQUIRE(asprintf(&dir, "%s/tests/policy", source_dir()) > 0);
        n = scandir(dir, &entries, is_yaml, alphasort);
        CHECK(n >= 40);
        for (int i = 0; i < n; i++) {
                compare_case(dir, entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
}

static void what_was_in_force_is_taken_unless_nothing_could_work_with_it(void) {
        static const char tolerated[] =
                "base-below-floor-of-large-region base-below-floor base-no-multiple canary-timeout-alone "
                "duration-out-of-range guest-stop-under-beat health-timeout-over-interval hypervisor-no-uri "
                "memory-above-devices memory-server-counts-in-pool memory-server-guests-bad name-with-point "
                "overflow-excuses-no-small-pool overflow-other-keys pool-too-small-the-other-way "
                "pool-too-small-with-reserve pool-too-small silence-over-objective stop-beside-unit vm-too-large ";
        _cleanup_free_ char *dir = NULL;
        struct dirent **entries = NULL;
        char *found = NULL;
        size_t n_found;
        FILE *f;
        int n;

        REQUIRE(asprintf(&dir, "%s/tests/policy", source_dir()) > 0);
        REQUIRE((f = open_memstream(&found, &n_found)) != NULL);
        n = scandir(dir, &entries, is_yaml, alphasort);
        CHECK(n >= 40);
        for (int i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;

                REQUIRE(asprintf(&path, "%s/%s", dir, entries[i]->d_name) > 0);
                if (check_in_force(path, entries[i]->d_name))
                        fprintf(f, "%.*s ", (int) (strlen(entries[i]->d_name) - strlen(".yaml")), entries[i]->d_name);
                free(entries[i]);
        }
        free(entries);
        fclose(f);
        CHECK_TEXT(found, tolerated);
        free(found);
}

static void the_installed_examples_are_accepted_without_a_finding(void) {
        static const char *const names[] = { "policy.example.yaml", "policy.example-minimal.yaml" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(policy_freep) struct policy *policy = NULL;
                _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
                _cleanup_free_ char *path = NULL, *text = NULL;

                REQUIRE(asprintf(&path, "%s/etc/%s", source_dir(), names[i]) > 0);
                CHECK(policy_load(path, &policy, &d) == 0);
                diagnostics_print(&d, stderr);
                CHECK(d.n_errors + d.n_warnings == 0);
                REQUIRE(policy != NULL);
                text = written(policy);
                check_round_trip(policy, text);
        }
}

static void a_file_that_cannot_be_read_is_said_by_name(void) {
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 }, e = { 0 };
        _cleanup_free_ char *line = NULL, *other = NULL;
        struct policy *policy = NULL;

        CHECK(policy_load("/nonexistent/policy.yaml", &policy, &d) == -ENOENT);
        REQUIRE(d.n_items == 1 && diagnostics_format(&d, 0, &line) == 0);
        CHECK_TEXT(line, "/nonexistent/policy.yaml: cannot be read: No such file or directory");
        CHECK(policy_load("/dev/zero", &policy, &e) == -EINVAL);
        REQUIRE(e.n_items == 1 && diagnostics_format(&e, 0, &other) == 0);
        CHECK_TEXT(other, "/dev/zero: cannot be read: not a regular file");
        CHECK(policy == NULL);
}

static void a_text_past_its_limit_is_refused(void) {
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 }, e = { 0 };
        _cleanup_free_ char *text = malloc(NODE_TEXT_MAX + 1);
        struct policy *policy = NULL;

        REQUIRE(text != NULL);
        memset(text, '#', NODE_TEXT_MAX + 1);
        CHECK(policy_parse(text, NODE_TEXT_MAX + 1, "large", &policy, &d) == -E2BIG);
        CHECK(d.n_errors == 1);
        CHECK(policy_parse(text, NODE_TEXT_MAX, "large", &policy, &e) == -EINVAL); /* read, and empty */
        CHECK(policy == NULL);
}

static void a_hostile_text_costs_no_more_than_its_limits(void) {
        static const char *const units[] = { "[", "{a: ", "a,", "- ", "? ", "&a ", "'", "\"", "*a ", "!!x ", "a: b\n" };

        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
                _cleanup_free_ char *text = malloc(NODE_TEXT_MAX);
                struct policy *policy = NULL;
                size_t length = strlen(units[i]), n = 0;

                REQUIRE(text != NULL);
                text[n++] = i == 2 ? '[' : ' ';
                for (; n + length <= NODE_TEXT_MAX; n += length)
                        memcpy(text + n, units[i], length);
                CHECK(policy_parse(text, n, "hostile", &policy, &d) < 0);
                CHECK(d.n_errors > 0 && policy == NULL);
        }
}

static void findings_past_the_limit_are_counted(void) {
        _cleanup_(diagnostics_deinit) struct diagnostics d = { 0 };
        char *out = NULL;
        size_t n;
        FILE *f = open_memstream(&out, &n);

        REQUIRE(f != NULL);
        for (unsigned i = 0; i < DIAGNOSTICS_MAX + 7; i++)
                CHECK(diagnostics_add(&d, i + 1, 1, false, "x", "finding %u", i) == 0);
        CHECK(d.n_items == DIAGNOSTICS_MAX && d.n_errors == DIAGNOSTICS_MAX + 7);
        CHECK(diagnostics_print(&d, f) == 0);
        fclose(f);
        CHECK(strstr(out, "policy: and 7 more\n") != NULL);
        free(out);
}

TEST_MAIN("policy-text",
          TEST(every_case_has_exactly_the_expected_findings),
          TEST(what_was_in_force_is_taken_unless_nothing_could_work_with_it),
          TEST(the_installed_examples_are_accepted_without_a_finding),
          TEST(a_file_that_cannot_be_read_is_said_by_name),
          TEST(a_text_past_its_limit_is_refused),
          TEST(a_hostile_text_costs_no_more_than_its_limits),
          TEST(findings_past_the_limit_are_counted))
