/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The same agent with systemd units as applications. */

#include "tests/unit/agent-unit.h"

static void a_unit_starts_stops_and_its_kind_is_learned(void) {
        struct host host;
        uint64_t id;

        if (cannot_run())
                return;
        host_init(&host);
        have_unit(&host, "[Service]\nEnvironment=FAILOVER_KIND=hot-standby\nExecStart=sleep 1000\n");
        id = host_start(&host, 3);
        host_expect(&host, MESSAGE_USES);
        CHECK(host.last.kind == APPLICATION_HOT_STANDBY);
        host_expect_result(&host, id, 0);
        CHECK(unit_is(&host, "active"));
        host_stop(&host);
        CHECK(unit_is(&host, "inactive"));
        remove_unit(&host);
        host_deinit(&host);
}

static void a_units_death_is_reported_and_a_restart_brings_it_back(void) {
        char command[128];
        struct host host;

        if (cannot_run())
                return;
        host_init(&host);
        have_unit(&host, "[Service]\nExecStart=sleep 1000\n");
        host_expect_result(&host, host_start(&host, 3), 0);
        host_expect(&host, MESSAGE_HEALTHY);
        snprintf(command, sizeof(command), "systemctl kill -s SEGV %s", host.app);
        CHECK(system(command) == 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_SIGNAL && host.last.code == SIGSEGV && host.last.token == 3);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_RESTART, .token = 3 }), 0);
        CHECK(unit_is(&host, "active"));
        host_ping(&host, MESSAGE_FAILED);
        host_stop(&host);
        CHECK(unit_is(&host, "inactive"));
        remove_unit(&host);
        host_deinit(&host);
}

static void a_unit_that_is_not_there_cannot_be_started(void) {
        struct host host;

        if (cannot_run())
                return;
        host_init(&host);
        configure_unit(&host);
        CHECK(check_until_answered(&host, -ENOENT) == -ENOENT);
        host_start(&host, 1);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_START && host.last.hard);
        host_stop(&host);
        host_deinit(&host);
}

static void what_a_unit_leaves_behind_is_killed_before_it_counts_as_stopped(void) {
        struct host host;

        if (cannot_run())
                return;
        host_init(&host);
        have_unit(&host,
                  "[Service]\nKillMode=process\nExecStart=sh -c 'trap \"\" TERM; sleep 31337 & exec sleep 2000'\n");
        host_expect_result(&host, host_start(&host, 1), 0);
        host_stop(&host);
        CHECK(!unit_is(&host, "active") && !unit_is(&host, "deactivating"));
        CHECK(system("! pgrep -x -f 'sleep 31337' > /dev/null") == 0);
        remove_unit(&host);
        host_deinit(&host);
}

static void a_restarted_agent_goes_on_with_a_running_unit(void) {
        char command[128];
        struct host host;

        if (cannot_run())
                return;
        host_init(&host);
        have_unit(&host, "[Service]\nExecStart=sleep 1000\n");
        host_expect_result(&host, host_start(&host, 9), 0);
        host_end_agent(&host, SIGKILL);
        host_begin_agent(&host);
        CHECK(host.last.apps[0].state == APPLICATION_RUNNING && host.last.apps[0].token == 9);
        CHECK(check_until_answered(&host, 0) == 0);
        host_ping(&host, MESSAGE_FAILED);
        snprintf(command, sizeof(command), "systemctl kill -s KILL %s", host.app);
        CHECK(system(command) == 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_SIGNAL && host.last.code == SIGKILL);
        remove_unit(&host);
        host_deinit(&host);
}

TEST_MAIN("agent-units",
          TEST(a_unit_starts_stops_and_its_kind_is_learned),
          TEST(a_units_death_is_reported_and_a_restart_brings_it_back),
          TEST(a_unit_that_is_not_there_cannot_be_started),
          TEST(what_a_unit_leaves_behind_is_killed_before_it_counts_as_stopped),
          TEST(a_restarted_agent_goes_on_with_a_running_unit))
