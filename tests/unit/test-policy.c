/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "policy/policy.h"
#include "policy/worst-case.h"
#include "policy/xml-snippet.h"
#include "tests/unit/policy-equal.h"
#include "tests/unit/test.h"

DEFINE_CLEANUP(struct policy *, policy_free)

/* One pair of two applications with something in every field that is owned. */
static struct policy *make_policy(void) {
        struct policy *policy = policy_new();
        struct pair_policy *pair;

        REQUIRE(policy != NULL);
        policy->pool_bytes = 4 * GIB;
        policy->pairs = calloc(1, sizeof(*policy->pairs));
        REQUIRE(policy->pairs != NULL);
        policy->n_pairs = 1;
        pair = &policy->pairs[0];
        pair_policy_init(pair);
        strcpy(pair->name, "web");
        strcpy(pair->members[SIDE_A].domain, "web-a");
        strcpy(pair->members[SIDE_B].domain, "web-b");
        for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                pair->members[side].base_bytes = pair->members[side].memory_bytes = 256 * MIB;
        pair->on_event = strdup("alert@%i.service");
        pair->applications = calloc(2, sizeof(*pair->applications));
        REQUIRE(pair->applications != NULL);
        pair->n_applications = 2;
        application_init(&pair->applications[0]);
        application_init(&pair->applications[1]);

        strcpy(pair->applications[0].name, "shop");
        pair->applications[0].kind = APPLICATION_HOT_STANDBY;
        pair->applications[0].memory_bytes = 512 * MIB;
        pair->applications[0].disks[0] = strdup("vdb");
        pair->applications[0].n_disks = 1;
        pair->applications[0].addresses[0] = (struct address) { strdup("192.0.2.10/24"), strdup("eth0") };
        pair->applications[0].n_addresses = 1;
        for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                pair->applications[0].sides[side].unit = strdup("shop.service");
                CHECK(command_append(&pair->applications[0].sides[side].health, "/bin/true") == 0);
                CHECK(command_append(&pair->applications[0].sides[side].canary, "/bin/canary") == 0);
        }
        strcpy(pair->applications[1].name, "mail");
        pair->applications[1].kind = APPLICATION_PLAIN;
        pair->applications[1].memory_bytes = 128 * MIB;
        CHECK(command_append(&pair->applications[1].sides[SIDE_A].start, "/bin/mail") == 0);
        return policy;
}

static void every_enum_table_round_trips(void) {
#define WALK(type, MAX)                                                              \
        for (int i = 0; i < (MAX); i++) {                                            \
                REQUIRE(type##_to_string((enum type) i) != NULL);                    \
                CHECK((int) type##_from_string(type##_to_string((enum type) i)) == i); \
        }                                                                            \
        CHECK(type##_to_string((enum type)(MAX)) == NULL);                           \
        CHECK(type##_to_string((enum type) - 1) == NULL);                            \
        CHECK((int) type##_from_string("no such word") == -EINVAL);                  \
        CHECK((int) type##_from_string(NULL) == -EINVAL)

        WALK(side, SIDE_MAX);
        WALK(application_kind, APPLICATION_KIND_MAX);
        WALK(severity, SEVERITY_MAX);
        WALK(failure_cause, FAILURE_CAUSE_MAX);
        WALK(guest_stop, GUEST_STOP_MAX);
        WALK(exclusive_stuck, EXCLUSIVE_STUCK_MAX);
        WALK(handover_mode, HANDOVER_MODE_MAX);
        WALK(early_when, EARLY_WHEN_MAX);
        WALK(prefault, PREFAULT_MAX);
        WALK(early_measure, EARLY_MEASURE_MAX);
        WALK(early_count, EARLY_COUNT_MAX);
        WALK(early_take, EARLY_TAKE_MAX);
        WALK(store_lost, STORE_LOST_MAX);
        WALK(worst_case_fault, WORST_CASE_FAULT_MAX);
}

static void a_copy_is_equal_and_shares_nothing(void) {
        struct policy *policy = make_policy();
        _cleanup_(policy_freep) struct policy *copy = policy_copy(policy);

        REQUIRE(copy != NULL);
        CHECK(policy_equal(policy, copy));
        CHECK(copy->pairs[0].applications[0].disks[0] != policy->pairs[0].applications[0].disks[0]);
        policy->pairs[0].applications[0].disks[0][2] = 'c';
        CHECK(!policy_equal(policy, copy));
        CHECK(policy_free(policy) == NULL);
        /* Whatever the copy still shared would now be gone. */
        CHECK_TEXT(copy->pairs[0].applications[0].disks[0], "vdb");
        CHECK_TEXT(copy->pairs[0].applications[0].addresses[0].cidr, "192.0.2.10/24");
        CHECK_TEXT(copy->pairs[0].applications[0].sides[SIDE_B].health.words[0], "/bin/true");
        CHECK_TEXT(copy->pairs[0].on_event, "alert@%i.service");
}

static void a_pair_is_the_same_until_one_thing_of_it_changes(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();
        _cleanup_(policy_freep) struct policy *copy = policy_copy(policy);
        struct pair_policy *a = &policy->pairs[0], *b = &copy->pairs[0];

        REQUIRE(copy != NULL);
        CHECK(pair_policy_same(a, b));
#define CHANGES(change, back)                       \
        do {                                        \
                change;                             \
                CHECK(!pair_policy_same(a, b));     \
                back;                               \
                CHECK(pair_policy_same(a, b));      \
        } while (0)

        CHANGES(b->beat_usec++, b->beat_usec--);
        CHANGES(b->handover = HANDOVER_EAGER, b->handover = HANDOVER_LAZY);
        CHANGES(b->members[SIDE_B].domain[0] = 'W', b->members[SIDE_B].domain[0] = 'w');
        CHANGES(b->on_event[0] = 'A', b->on_event[0] = 'a');
        CHANGES(b->retired = true, b->retired = false);
        CHANGES(b->n_applications--, b->n_applications++);
        CHANGES(b->applications[1].memory_bytes++, b->applications[1].memory_bytes--);
        CHANGES(b->applications[0].disks[0][2] = 'c', b->applications[0].disks[0][2] = 'b');
        CHANGES(b->applications[0].n_disks--, b->applications[0].n_disks++);
        CHANGES(b->applications[0].addresses[0].link[3] = '1', b->applications[0].addresses[0].link[3] = '0');
        CHANGES(b->applications[0].sides[SIDE_B].unit[0] = 'S', b->applications[0].sides[SIDE_B].unit[0] = 's');
        CHANGES(b->applications[0].sides[SIDE_A].health.words[0][5] = 'T',
                b->applications[0].sides[SIDE_A].health.words[0][5] = 't');
        CHANGES(b->applications[0].sides[SIDE_A].canary.n_words--, b->applications[0].sides[SIDE_A].canary.n_words++);
        CHANGES(b->applications[1].rules[0].severity = SEVERITY_MAJOR, b->applications[1].rules[0].severity = 0);
#undef CHANGES
}

static void an_empty_policy_can_be_copied_and_freed(void) {
        _cleanup_(policy_freep) struct policy *policy = policy_new();
        _cleanup_(policy_freep) struct policy *copy = NULL;

        REQUIRE(policy != NULL);
        copy = policy_copy(policy);
        REQUIRE(copy != NULL);
        CHECK(policy_equal(policy, copy));
        CHECK(policy_free(NULL) == NULL);
}

static void names_are_found_or_not(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();

        CHECK(policy_find_pair(policy, "web") == 0);
        CHECK(policy_find_pair(policy, "we") == -ENOENT);
        CHECK(pair_policy_find_application(&policy->pairs[0], "mail") == 1);
        CHECK(pair_policy_find_application(&policy->pairs[0], "web") == -ENOENT);
}

static void severity_follows_the_first_rule_that_matches_and_then_the_defaults(void) {
        struct application a;

        application_init(&a);
        CHECK(application_severity(&a, FAILURE_EXIT, 1) == SEVERITY_MINOR);
        CHECK(application_severity(&a, FAILURE_SIGNAL, SIGSEGV) == SEVERITY_MINOR);
        CHECK(application_severity(&a, FAILURE_CHECK, 1) == SEVERITY_MINOR);
        CHECK(application_severity(&a, FAILURE_MEMORY, 0) == SEVERITY_CRITICAL);
        CHECK(application_severity(&a, FAILURE_START, 2) == SEVERITY_HARD);

        a.rules[a.n_rules++] = (struct severity_rule) { FAILURE_EXIT, 3, SEVERITY_MAJOR };
        a.rules[a.n_rules++] = (struct severity_rule) { FAILURE_EXIT, -1, SEVERITY_HARD };
        a.rules[a.n_rules++] = (struct severity_rule) { FAILURE_EXIT, 4, SEVERITY_CRITICAL };
        a.rules[a.n_rules++] = (struct severity_rule) { FAILURE_MEMORY, -1, SEVERITY_MAJOR };
        CHECK(application_severity(&a, FAILURE_EXIT, 3) == SEVERITY_MAJOR);
        CHECK(application_severity(&a, FAILURE_EXIT, 4) == SEVERITY_HARD);
        CHECK(application_severity(&a, FAILURE_SIGNAL, 3) == SEVERITY_MINOR);
        CHECK(application_severity(&a, FAILURE_MEMORY, 0) == SEVERITY_MAJOR);
}

static void the_floor_grows_with_what_may_be_plugged_into_that_side(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();
        struct pair_policy *pair = &policy->pairs[0];

        /* 512 and 128 MiB start on A, 512 on B: 96 + 10.24 and 96 + 8.192, rounded up. */
        CHECK(member_pluggable_bytes(pair, SIDE_A) == 640 * MIB);
        CHECK(member_floor_bytes(pair, SIDE_A) == 107 * MIB);
        CHECK(member_floor_bytes(pair, SIDE_B) == 105 * MIB);
        /* What is held above the base is plugged too. */
        pair->members[SIDE_B].memory_bytes = pair->members[SIDE_B].base_bytes + 12 * GIB;
        CHECK(member_floor_bytes(pair, SIDE_B) == (96 + 197) * MIB);
        pair->applications[0].memory_bytes = UINT64_MAX;
        CHECK(member_floor_bytes(pair, SIDE_A) > UINT64_MAX / 100);
}

static void only_disks_and_addresses_are_exclusive(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();

        CHECK(application_is_exclusive(&policy->pairs[0].applications[0]));
        policy->pairs[0].applications[1].vcpus = 2;
        CHECK(!application_is_exclusive(&policy->pairs[0].applications[1]));
}

static void a_command_is_bounded_and_terminated(void) {
        struct command command = { 0 }, copy = { 0 };

        for (size_t i = 0; i < POLICY_WORDS_MAX; i++)
                CHECK(command_append(&command, "word") == 0);
        CHECK(command_append(&command, "one more") == -E2BIG);
        CHECK(command.n_words == POLICY_WORDS_MAX && command.words[POLICY_WORDS_MAX] == NULL);
        CHECK(command_copy(&command, &copy) == 0);
        CHECK(command_equal(&command, &copy));
        command_deinit(&command);
        command_deinit(&copy);
        CHECK(command.words == NULL && command.n_words == 0);
        CHECK(command_copy(&command, &copy) == 0 && copy.words == NULL);
}

static void worst_cases_add_up_from_the_settings(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();
        struct pair_policy *pair = &policy->pairs[0];
        struct worst_case rows[WORST_CASES_MAX];
        size_t n = worst_case_list(pair, rows);

        REQUIRE(n == 13); /* ten of the VM, exit and check of one application, exit of the other */
        CHECK(rows[0].fault == WORST_CASE_PANIC && worst_case_total_usec(&rows[0]) == 2200 * USEC_PER_MSEC);
        CHECK(rows[4].fault == WORST_CASE_GUEST_HANG);
        CHECK(rows[4].detect_usec == 2 * USEC_PER_SEC && rows[4].decide_usec == 500 * USEC_PER_MSEC);
        CHECK(worst_case_total_usec(&rows[4]) == 4500 * USEC_PER_MSEC);
        CHECK(rows[4].limit_usec == 30 * USEC_PER_SEC);
        CHECK(rows[1].detect_usec == 300 * USEC_PER_MSEC); /* libvirt's reason is waited for */
        CHECK(rows[1].detect_usec + rows[1].decide_usec == 3 * USEC_PER_SEC); /* and the kernel's word */
        CHECK(rows[2].fault == WORST_CASE_QEMU_ENDED);
        CHECK(rows[2].detect_usec + rows[2].decide_usec == 3 * USEC_PER_SEC); /* and longer */
        CHECK(worst_case_meets(&rows[2], pair->objective_usec));
        CHECK(rows[5].fault == WORST_CASE_HANG_BY_BALLOON);
        CHECK(rows[5].detect_usec + rows[5].decide_usec == 3200 * USEC_PER_MSEC);
        pair->on_guest_reboot = GUEST_STOP_FAILOVER;
        CHECK(worst_case_list(pair, rows) == 14 && rows[10].fault == WORST_CASE_ANNOUNCED_STOP);
        pair->on_guest_reboot = GUEST_STOP_WAIT;
        CHECK(worst_case_list(pair, rows) == 13);
        CHECK(worst_case_meets(&rows[4], pair->objective_usec)); /* the defaults agree with each other */
        CHECK(!worst_case_meets(&rows[4], 4 * USEC_PER_SEC));
        CHECK(rows[11].fault == WORST_CASE_APPLICATION_CHECK && rows[11].detect_usec == 7 * USEC_PER_SEC);
        CHECK(!rows[12].fails_over && rows[12].application == 1);
        CHECK(worst_case_total_usec(&rows[12]) == USEC_INFINITY);
        CHECK(!worst_case_meets(&rows[12], pair->objective_usec));
        pair->applications[1].restart_expected_usec = USEC_PER_SEC;
        CHECK(worst_case_list(pair, rows) == 13 && worst_case_total_usec(&rows[12]) == 1200 * USEC_PER_MSEC);
}

static void the_largest_pair_fits_the_list_of_worst_cases(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();
        struct pair_policy *pair = &policy->pairs[0];
        struct application many[POLICY_APPLICATIONS_MAX], *own = pair->applications;
        struct worst_case rows[WORST_CASES_MAX];

        for (size_t i = 0; i < POLICY_APPLICATIONS_MAX; i++)
                many[i] = own[0]; /* borrowed: only read */
        pair->applications = many;
        pair->n_applications = POLICY_APPLICATIONS_MAX;
        pair->on_guest_reboot = GUEST_STOP_FAILOVER;
        CHECK(worst_case_list(pair, rows) == WORST_CASES_MAX);
        pair->applications = own;
        pair->n_applications = 2;
}

static void the_printed_worst_cases_name_what_misses_the_objective(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();
        char *text = NULL;
        size_t n;
        FILE *f = open_memstream(&text, &n);

        REQUIRE(f != NULL);
        policy->pairs[0].objective_usec = 4 * USEC_PER_SEC;
        CHECK(worst_case_print(policy, f) == 6);
        fclose(f);
        CHECK(strncmp(text, "pair web, objective 4s\n", 23) == 0);
        CHECK(strstr(text, "  guest-hang         -                    failover         2s     500ms        2s    "
                           "4500ms       30s  MISSED\n") != NULL);
        CHECK(strstr(text, "unknown\n") != NULL);
        free(text);
}

static void snippet(const struct pair_policy *pair, enum side side, int expect, char **ret_text) {
        size_t n;
        FILE *f = open_memstream(ret_text, &n);

        REQUIRE(f != NULL);
        CHECK(policy_print_domain_snippet(pair, side, f) == expect);
        fclose(f);
}

static void the_domain_snippet_boots_with_exactly_its_base(void) {
        _cleanup_(policy_freep) struct policy *policy = make_policy();
        _cleanup_free_ char *text = NULL, *none = NULL;
        const char *p;
        unsigned long long cells = 0;

        snippet(&policy->pairs[0], SIDE_B, 0, &text);
        CHECK(strstr(text, "<name>web-b</name>") != NULL);
        CHECK(strstr(text, "<maxMemory slots='2' unit='KiB'>917504</maxMemory>") != NULL);
        CHECK(strstr(text, "<memory unit='KiB'>262144</memory>") != NULL);
        for (const char *cell = text; (cell = strstr(cell, "<cell id='")); cell++)
                cells += strtoull(strstr(cell, "memory='") + 8, NULL, 10);
        CHECK(cells == 262144);
        CHECK(strstr(text, "<node>1</node>\n        <block unit='KiB'>2048</block>") != NULL);
        p = strstr(text, "<size unit='KiB'>131072</size>");
        REQUIRE(p != NULL);
        CHECK(strstr(p, "<node>2</node>") != NULL && strstr(p, "<alias name='ua-mail'/>") != NULL);

        policy->pairs[0].members[SIDE_B].base_bytes = 8 * MIB;
        snippet(&policy->pairs[0], SIDE_B, -EINVAL, &none);
        CHECK_TEXT(none, "");
}

TEST_MAIN("policy",
          TEST(every_enum_table_round_trips),
          TEST(a_copy_is_equal_and_shares_nothing), TEST(a_pair_is_the_same_until_one_thing_of_it_changes),
          TEST(an_empty_policy_can_be_copied_and_freed),
          TEST(names_are_found_or_not),
          TEST(severity_follows_the_first_rule_that_matches_and_then_the_defaults),
          TEST(the_floor_grows_with_what_may_be_plugged_into_that_side),
          TEST(only_disks_and_addresses_are_exclusive),
          TEST(a_command_is_bounded_and_terminated),
          TEST(worst_cases_add_up_from_the_settings),
          TEST(the_largest_pair_fits_the_list_of_worst_cases),
          TEST(the_printed_worst_cases_name_what_misses_the_objective),
          TEST(the_domain_snippet_boots_with_exactly_its_base))
