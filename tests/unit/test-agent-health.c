/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Health checks, as the agent runs them and tells of them. */

#include "tests/unit/agent-host.h"

#define SLEEP "exec sleep 1000"
#define HEALTH_PATH_LEN 128

/* It is healthy as long as that file is there. */
static struct application_spec spec_healthy_by_file(struct host *host, char path[static HEALTH_PATH_LEN]) {
        struct application_spec spec = host_spec(host, SLEEP);

        snprintf(path, HEALTH_PATH_LEN, "%s/healthy", host->dir);
        REQUIRE(command_append(&spec.run.health, "test") == 0 && command_append(&spec.run.health, "-e") == 0 &&
                command_append(&spec.run.health, path) == 0);
        return spec;
}

static void health_is_reported_again_to_each_host_that_comes(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 2), 0);
        host_expect(&host, MESSAGE_HEALTHY);
        host_connect_anew(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect(&host, MESSAGE_HEALTHY);
        CHECK(host.last.token == 2);
        host_deinit(&host);
}

static void a_failing_health_check_counts_in_a_row_then_fails_the_application(void) {
        struct application_spec spec;
        struct host host;
        char path[HEALTH_PATH_LEN];

        host_init(&host);
        spec = spec_healthy_by_file(&host, path);
        spec.health_failures = 3;
        host_write_file(&host, "healthy", "%s", "");
        host_configure(&host, spec);
        host_expect_result(&host, host_start(&host, 1), 0);
        host_expect(&host, MESSAGE_HEALTHY);
        host_ping(&host, MESSAGE_FAILED);
        REQUIRE(unlink(path) == 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_CHECK && host.last.code == 1);
        for (usec_t deadline = loop_now() + DEADLINE_USEC; host_app_count(&host) > 0;)
                REQUIRE(loop_now() < deadline);
        host_deinit(&host);
}

/* So that the host looks whether it is its own doing. */
static void checks_that_fail_are_told_before_they_count(void) {
        struct application_spec spec;
        struct host host;
        char path[HEALTH_PATH_LEN];

        host_init(&host);
        spec = spec_healthy_by_file(&host, path);
        spec.health_failures = 100;
        host_configure(&host, spec);
        host_expect_result(&host, host_start(&host, 1), 0);
        for (usec_t by = loop_now() + DEADLINE_USEC; host_ping(&host, MESSAGE_FAILED)->apps[0].missed_checks == 0;)
                REQUIRE(loop_now() < by);
        host_write_file(&host, "healthy", "%s", "");
        for (usec_t by = loop_now() + DEADLINE_USEC; host_ping(&host, MESSAGE_FAILED)->apps[0].missed_checks > 0;)
                REQUIRE(loop_now() < by);
        host_deinit(&host);
}

static void a_health_check_that_hangs_is_a_failure(void) {
        struct application_spec spec;
        struct host host;

        host_init(&host);
        spec = host_spec(&host, SLEEP);
        REQUIRE(command_append(&spec.run.health, "sleep") == 0 && command_append(&spec.run.health, "1000") == 0);
        spec.health_timeout_usec = 20 * USEC_PER_MSEC;
        host_configure(&host, spec);
        host_expect_result(&host, host_start(&host, 1), 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_CHECK && host.last.code == 124);
        host_deinit(&host);
}

TEST_MAIN("agent-health", TEST(health_is_reported_again_to_each_host_that_comes),
          TEST(a_failing_health_check_counts_in_a_row_then_fails_the_application),
          TEST(checks_that_fail_are_told_before_they_count),
          TEST(a_health_check_that_hangs_is_a_failure))
