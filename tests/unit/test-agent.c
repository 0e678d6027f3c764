/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/resource.h>

#include "tests/unit/agent-host.h"

#define SLEEP "exec sleep 1000"

static void the_agent_answers_a_welcome_with_its_hello(void) {
        struct host host;

        host_init(&host);
        CHECK(host.last.version == PROTOCOL_VERSION);
        CHECK(host.last.bytes == GIB);
        CHECK(strlen(host.last.boot) == 36);
        CHECK(strncmp(host.last.text, "failover-agent ", 15) == 0);
        CHECK(host.last.n_apps == 0);
        host_deinit(&host);
}

static void an_application_starts_and_its_death_is_reported(void) {
        struct host host;
        uint64_t id;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        id = host_start(&host, 5);
        host_expect(&host, MESSAGE_USES);
        CHECK(host.last.bytes == MIB && host.last.node == -1 && host.last.kind == APPLICATION_AUTO);
        host_expect_result(&host, id, 0);
        host_expect(&host, MESSAGE_HEALTHY);
        CHECK(host.last.token == 5);
        host_ping(&host, MESSAGE_FAILED);
        REQUIRE(host.last.n_apps == 1);
        CHECK(host.last.apps[0].state == APPLICATION_RUNNING && host.last.apps[0].token == 5);

        CHECK(kill(host_app_pid(&host), SIGKILL) == 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_SIGNAL && host.last.code == SIGKILL && host.last.token == 5 &&
              !host.last.hard);
        host_ping(&host, MESSAGE_FAILED);
        CHECK(host.last.apps[0].state == APPLICATION_FAILED);
        host_deinit(&host);
}

static void an_application_inherits_the_list_of_its_regions(void) {
        static char list[] = "{\"failover-regions\":1,\"regions\":[{\"name\":\"r\",\"uri\":\"nbd://h/5ec7e7\"}]}";
        char script[2 * PATH_LENGTH], text[256];
        struct host host;

        host_init(&host);
        snprintf(script, sizeof(script), "cat /proc/self/fd/$FAILOVER_REGIONS_FD > %s/list; mv %s/list %s/seen; " SLEEP,
                 host.dir, host.dir, host.dir);
        host_configure(&host, host_spec(&host, script));
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_START, .token = 1, .node = -1,
                                                                      .bytes = MIB, .regions = list }), 0);
        while (file_read(text, sizeof(text), "%s/seen", host.dir) < 0)
                host_ping(&host, MESSAGE_FAILED);
        CHECK_TEXT(text, list);
        /* A restart brings another one. */
        list[0] = ' ';
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_RESTART, .token = 2,
                                                                      .regions = list }), 0);
        do
                host_ping(&host, MESSAGE_FAILED);
        while (file_read(text, sizeof(text), "%s/seen", host.dir) < 0 || text[0] != ' ');
        CHECK_TEXT(text, list);
        host_deinit(&host);
}

static void an_application_may_lock_its_regions_and_serve_their_faults(void) {
        static char list[] = "{\"failover-regions\":1,\"regions\":["
                             "{\"name\":\"r\",\"size\":4096,\"kind\":3,\"uri\":\"nbd://h/5ec7e7\"},"
                             "{\"name\":\"s\",\"size\":1048576,\"kind\":1,\"uri\":\"nbd://h/5ec7e8\"}]}";
        const char *device = access("/dev/userfaultfd", R_OK | W_OK) == 0 ? "/dev/userfaultfd" : "none";
        struct rlimit before, low = { .rlim_cur = 8 * KIB };
        char script[4 * PATH_LENGTH], text[256], wanted[64];
        struct host host;

        REQUIRE(getrlimit(RLIMIT_MEMLOCK, &before) == 0);
        low.rlim_max = before.rlim_max;
        REQUIRE(setrlimit(RLIMIT_MEMLOCK, &low) == 0);
        host_init(&host);
        snprintf(script, sizeof(script),
                 "echo $(ulimit -S -l) $(readlink /proc/$$/fd/${FAILOVER_USERFAULTFD_FD:-x} || echo none) > %s/has; "
                 "mv %s/has %s/seen; " SLEEP, host.dir, host.dir, host.dir);
        host_configure(&host, host_spec(&host, script));
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_START, .token = 1, .node = -1,
                                                                      .bytes = MIB, .regions = list }), 0);
        while (file_read(text, sizeof(text), "%s/seen", host.dir) < 0)
                host_ping(&host, MESSAGE_FAILED);
        snprintf(wanted, sizeof(wanted), "12 %s", device);
        CHECK_TEXT(text, wanted);
        host_deinit(&host);
        REQUIRE(setrlimit(RLIMIT_MEMLOCK, &before) == 0);
}

static void a_repeated_start_is_answered_by_the_state_found(void) {
        struct host host;
        pid_t pid;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 5), 0);
        pid = host_app_pid(&host);
        host_expect_result(&host, host_start(&host, 5), 0);
        CHECK(host_app_pid(&host) == pid);
        host_deinit(&host);
}

static void a_token_below_the_highest_is_refused_also_after_an_agent_restart(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 5), 0);
        host_stop(&host);
        host_expect_result(&host, host_start(&host, 4), -ESTALE);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_RESTART, .token = 4 }), -ESTALE);
        host_end_agent(&host, SIGKILL);
        host_begin_agent(&host);
        CHECK(host.last.n_apps == 1 && host.last.apps[0].token == 5);
        host_expect_result(&host, host_start(&host, 4), -ESTALE);
        CHECK(host_app_count(&host) == 0);
        host_expect_result(&host, host_start(&host, 6), 0);
        host_deinit(&host);
}

/* Ignores SIGTERM, and has a child in a session of its own. */
static void a_stop_is_complete_only_when_no_process_is_left(void) {
        struct host host;
        uint64_t id;

        host_init(&host);
        host_configure(&host, host_spec(&host, "trap '' TERM; setsid sleep 1000 & while :; do sleep 1000; done"));
        host_expect_result(&host, host_start(&host, 1), 0);
        for (usec_t deadline = loop_now() + DEADLINE_USEC; host_app_count(&host) < 3;)
                REQUIRE(loop_now() < deadline);
        id = host_send(&host, (struct message) { .type = MESSAGE_STOP });
        host_ping(&host, MESSAGE_RESULT);
        CHECK(host.last.apps[0].state == APPLICATION_STOPPING);
        host_expect_result(&host, id, 0);
        CHECK(host_app_count(&host) == 0);
        host_stop(&host);
        host_deinit(&host);
}

static void a_stop_right_behind_a_start_leaves_nothing(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        for (uint64_t round = 1; round <= 20; round++) {
                host_start(&host, round);
                host_stop(&host);
                CHECK(!host_agent_has_child(&host));
                CHECK(host_app_count(&host) == 0);
                host_ping(&host, MESSAGE_FAILED);
                CHECK(host.last.apps[0].state == APPLICATION_STOPPED);
        }
        CHECK(host_app_count(&host) == 0);
        host_deinit(&host);
}

static void the_stop_command_ends_an_application_before_any_signal(void) {
        struct application_spec spec;
        struct host host;
        char script[256], path[128];
        struct stat file;

        host_init(&host);
        snprintf(path, sizeof(path), "%s/stopped", host.dir);
        snprintf(script, sizeof(script), "trap '' TERM; until [ -e %s ]; do sleep 0.01; done", path);
        spec = host_spec(&host, script);
        spec.stop_timeout_usec = DEADLINE_USEC;
        REQUIRE(command_append(&spec.run.stop, "touch") == 0 && command_append(&spec.run.stop, path) == 0);
        host_configure(&host, spec);
        host_expect_result(&host, host_start(&host, 1), 0);
        host_stop(&host);
        CHECK(stat(path, &file) == 0);
        CHECK(host_app_count(&host) == 0);
        host_deinit(&host);
}

static void an_unknown_application_is_stopped_and_cannot_be_started(void) {
        struct host host;

        host_init(&host);
        host_stop(&host);
        host_expect_result(&host, host_start(&host, 1), -ENOENT);
        host_deinit(&host);
}

static void a_restarted_agent_adopts_what_runs_and_reports_its_later_death(void) {
        struct host host;
        pid_t pid;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 7), 0);
        pid = host_app_pid(&host);
        host_end_agent(&host, SIGKILL);
        CHECK(kill(pid, 0) == 0);
        host_begin_agent(&host);
        REQUIRE(host.last.n_apps == 1);
        CHECK(host.last.apps[0].state == APPLICATION_RUNNING && host.last.apps[0].token == 7);
        CHECK_TEXT(host.last.apps[0].app, host.app);
        host_ping(&host, MESSAGE_FAILED);
        host_expect_result(&host, host_start(&host, 7), 0);
        CHECK(host_app_pid(&host) == pid);
        CHECK(kill(pid, SIGKILL) == 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_EXIT && host.last.code == -1 && host.last.token == 7);
        host_deinit(&host);
}

static void a_restarted_agent_can_stop_what_it_adopted(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 7), 0);
        CHECK(WIFEXITED(host_end_agent(&host, SIGTERM)));
        CHECK(host_app_count(&host) == 1);
        host_begin_agent(&host);
        host_stop(&host);
        CHECK(host_app_count(&host) == 0);
        host_deinit(&host);
}

static void a_death_while_the_agent_was_away_is_reported(void) {
        struct host host;
        pid_t pid;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 7), 0);
        pid = host_app_pid(&host);
        host_end_agent(&host, SIGKILL);
        CHECK(kill(pid, SIGKILL) == 0);
        for (usec_t deadline = loop_now() + DEADLINE_USEC; host_app_count(&host) > 0;)
                REQUIRE(loop_now() < deadline);
        host_begin_agent(&host);
        CHECK(host.last.apps[0].state == APPLICATION_FAILED);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_EXIT && host.last.code == -1);
        host_deinit(&host);
}

static void a_failure_is_reported_again_in_each_new_session(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, "exit 3"));
        host_start(&host, 1);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_EXIT && host.last.code == 3);
        host_welcome(&host); /* on the same connection: the host's daemon was restarted behind it */
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.code == 3);
        host_connect_anew(&host);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.code == 3);
        host_deinit(&host);
}

static void another_sessions_or_replayed_messages_are_dropped(void) {
        struct message ping = { .type = MESSAGE_PING, .nonce = 1, .seq = 1000, .session = "0123" };
        struct host host;

        host_init(&host);
        host_send_raw(&host, &ping);
        host_ping(&host, MESSAGE_PONG);
        memcpy(ping.session, host.session, sizeof(ping.session));
        ping.seq = host.seq; /* used already */
        host_send_raw(&host, &ping);
        ping.type = MESSAGE_WELCOME; /* the session's own greeting again */
        ping.version = 1;
        ping.seq = 1;
        host_send_raw(&host, &ping);
        host_send(&host, (struct message) { .type = MESSAGE_PING, .nonce = 77 });
        CHECK(host_receive(&host)->type == MESSAGE_PONG && host.last.nonce == 77);
        host_deinit(&host);
}

static void garbage_and_endless_lines_do_not_harm(void) {
        _cleanup_free_ char *big = malloc(MIB);
        struct host host;

        host_init(&host);
        memset(big, '{', MIB);
        big[MIB - 1] = '\n';
        host_send_bytes(&host, "\n\n]\0\xff\n{}\n{\"type\":\"dance\"}\n", 27);
        host_send_bytes(&host, big, MIB);
        host_ping(&host, MESSAGE_RESULT);
        host_deinit(&host);
}

static void a_command_that_cannot_be_executed_is_hard_to_repair_here(void) {
        struct application_spec spec = { .node = -1 };
        struct host host;
        uint64_t id;

        host_init(&host);
        memcpy(spec.app, host.app, sizeof(spec.app));
        REQUIRE(command_append(&spec.run.start, "/nonexistent/program") == 0);
        host_configure(&host, spec);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_CHECK }), -ENOENT);
        id = host_start(&host, 1);
        host_expect_result(&host, id, -ENOENT);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_START && host.last.code == ENOENT && host.last.hard);
        host_deinit(&host);
}

static void the_third_quick_failure_in_a_row_is_hard(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, "exit 9"));
        host_start(&host, 1);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(!host.last.hard);
        for (int i = 2; i <= 3; i++) {
                host_send(&host, (struct message) { .type = MESSAGE_RESTART, .token = 1 });
                host_expect(&host, MESSAGE_FAILED);
                CHECK(host.last.hard == (i == 3));
        }
        host_deinit(&host);
}

static void a_restart_gives_a_new_process_under_the_same_token(void) {
        struct host host;
        uint64_t id;
        pid_t pid;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 2), 0);
        pid = host_app_pid(&host);
        id = host_send(&host, (struct message) { .type = MESSAGE_RESTART, .token = 2 });
        host_expect_result(&host, id, 0);
        host_expect(&host, MESSAGE_HEALTHY);
        CHECK(host_app_pid(&host) != pid && host_app_count(&host) == 1);
        host_deinit(&host);
}

static void an_application_short_of_memory_waits_for_a_grant(void) {
        struct host host;
        uint64_t id;

        host_init(&host);
        host_node_memory(&host, 4 * MIB, 0);
        host_configure(&host, host_spec(&host, SLEEP));
        id = host_send(&host, (struct message) { .type = MESSAGE_START, .token = 1, .node = 0, .bytes = 64 * MIB });
        host_expect(&host, MESSAGE_REQUEST);
        CHECK(host.last.bytes == 60 * MIB);
        host_welcome(&host); /* asked again in a new session */
        host_expect(&host, MESSAGE_REQUEST);
        host_send(&host, (struct message) { .type = MESSAGE_GRANT, .id = host.last.id, .bytes = 60 * MIB });
        host_ping(&host, MESSAGE_RESULT);
        CHECK(host.last.apps[0].state == APPLICATION_WAITING);
        host_node_memory(&host, 64 * MIB, 0);
        host_expect(&host, MESSAGE_USES);
        CHECK(host.last.bytes == 64 * MIB && host.last.node == 0);
        host_expect_result(&host, id, 0);
        host_deinit(&host);
}

static void a_refusal_keeps_the_application_from_starting_and_says_why(void) {
        struct message refuse = { .type = MESSAGE_REFUSE, .text = "the pool is empty" };
        struct host host;
        uint64_t id;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        id = host_send(&host, (struct message) { .type = MESSAGE_START, .token = 1, .node = -1, .bytes = GIB });
        host_expect(&host, MESSAGE_REQUEST);
        CHECK(host.last.bytes == GIB / 2);
        refuse.id = host.last.id;
        host_send(&host, refuse);
        host_expect_result(&host, id, -ENOMEM);
        CHECK_TEXT(host.last.text, "the pool is empty");
        host_ping(&host, MESSAGE_USES);
        CHECK(host.last.apps[0].state == APPLICATION_STOPPED);
        host_deinit(&host);
}

static void an_attach_is_answered_when_the_memory_is_online(void) {
        struct host host;
        char state[32];
        uint64_t id;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_node_memory(&host, 4 * MIB, 0);
        host_write_file(&host, "sys/devices/system/node/node0/memory40/state", "offline\n");
        id = host_send(&host, (struct message) { .type = MESSAGE_ATTACH, .node = 0, .bytes = 132 * MIB });
        host_ping(&host, MESSAGE_RESULT);
        CHECK(file_read(state, sizeof(state), "%s/sys/devices/system/node/node0/memory40/state", host.dir) > 0);
        CHECK(strncmp(state, "online_movable", 14) == 0);
        host_node_memory(&host, 132 * MIB, 100 * MIB);
        host_expect_result(&host, id, 0);
        CHECK(host.last.bytes == 132 * MIB);
        host_deinit(&host);
}

static void memory_without_an_application_is_set_online(void) {
        struct message attach = { .type = MESSAGE_ATTACH, .app = "extra", .node = 0, .bytes = 132 * MIB };
        struct host host;
        char state[32];

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_node_memory(&host, 4 * MIB, 0);
        host_write_file(&host, "sys/devices/system/node/node0/memory40/state", "offline\n");
        host_expect_result(&host, host_send(&host, attach), -EAGAIN);
        CHECK(file_read(state, sizeof(state), "%s/sys/devices/system/node/node0/memory40/state", host.dir) > 0);
        CHECK(strncmp(state, "online_movable", 14) == 0);
        host_node_memory(&host, 132 * MIB, 100 * MIB);
        host_expect_result(&host, host_send(&host, attach), 0);
        CHECK(host.last.bytes == 132 * MIB);
        attach.node = -1;
        host_expect_result(&host, host_send(&host, attach), -ENOENT);
        host_deinit(&host);
}

static void a_newer_attach_takes_the_place_of_an_older(void) {
        struct message attach = { .type = MESSAGE_ATTACH, .node = 0, .bytes = 2 * GIB };
        struct host host;
        uint64_t first, second;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        first = host_send(&host, attach);
        attach.bytes = GIB;
        second = host_send(&host, attach);
        host_expect_result(&host, first, -ECANCELED);
        host_expect_result(&host, second, 0);
        CHECK(host.last.bytes == GIB);
        host_deinit(&host);
}

static void a_detach_prepares_the_node_and_says_what_is_in_use(void) {
        struct host host;
        char text[32];

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_write_file(&host, "sys/devices/system/node/node0/compact", "%s", "");
        host_write_file(&host, "proc/sys/vm/drop_caches", "%s", "");
        host_node_memory(&host, 128 * MIB, 100 * MIB);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_DETACH, .node = 0,
                                                                      .bytes = 64 * MIB }), 0);
        CHECK(host.last.bytes == 28 * MIB);
        CHECK(file_read(text, sizeof(text), "%s/sys/devices/system/node/node0/compact", host.dir) == 1);
        CHECK(file_read(text, sizeof(text), "%s/proc/sys/vm/drop_caches", host.dir) == 0); /* enough was free */
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_DETACH, .node = 0,
                                                                      .bytes = 128 * MIB }), 0);
        CHECK(file_read(text, sizeof(text), "%s/proc/sys/vm/drop_caches", host.dir) == 1);
        host_deinit(&host);
}

static void the_kind_is_learned_from_the_start_command(void) {
        struct application_spec spec = { .node = -1 };
        struct host host;

        host_init(&host);
        memcpy(spec.app, host.app, sizeof(spec.app));
        REQUIRE(command_append(&spec.run.start, "/usr/bin/env") == 0 &&
                command_append(&spec.run.start, "FAILOVER_KIND=hot-standby") == 0 &&
                command_append(&spec.run.start, "sleep") == 0 && command_append(&spec.run.start, "1000") == 0);
        host_configure(&host, spec);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_CHECK }), 0);
        host_start(&host, 1);
        host_expect(&host, MESSAGE_USES);
        CHECK(host.last.kind == APPLICATION_HOT_STANDBY);
        host_deinit(&host);
}

static void running_applications_survive_a_new_configuration(void) {
        struct host host;
        pid_t pid;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 1), 0);
        pid = host_app_pid(&host);
        host_send(&host, (struct message) { .type = MESSAGE_CONFIGURE });
        host_configure(&host, host_spec(&host, "exec sleep 2000"));
        host_ping(&host, MESSAGE_FAILED);
        CHECK(host.last.apps[0].state == APPLICATION_RUNNING && host_app_pid(&host) == pid && kill(pid, 0) == 0);
        host_deinit(&host);
}

static void drills_kill_the_application_but_never_this_machine(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, SLEEP));
        host_expect_result(&host, host_start(&host, 1), 0);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_FAULT,
                                                                      .text = "panic" }), -EPERM);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_FAULT, .text = "hang" }), -EPERM);
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_FAULT, .text = "app-kill" }), 0);
        host_expect(&host, MESSAGE_FAILED);
        CHECK(host.last.cause == FAILURE_SIGNAL && host.last.code == SIGKILL);
        host_deinit(&host);
}

static void an_orderly_stop_is_announced_also_to_a_host_that_comes_later(void) {
        char command[512];
        struct host host;

        host_init(&host);
        snprintf(command, sizeof(command), "%s/agents/guest/failover-agent --run-dir %s --announce reboot",
                 getenv("TEST_BUILD_DIR") ?: ".", host.run_dir);
        CHECK(system(command) == 0);
        host_expect(&host, MESSAGE_GOING);
        CHECK_TEXT(host.last.text, "reboot");
        host_disconnect(&host);
        CHECK(kill(host.agent, SIGPWR) == 0);
        host_accept(&host);
        host_welcome(&host);
        host_expect(&host, MESSAGE_GOING);
        CHECK_TEXT(host.last.text, "shutdown");
        host_deinit(&host);
}

TEST_MAIN("agent",
          TEST(the_agent_answers_a_welcome_with_its_hello),
          TEST(an_application_starts_and_its_death_is_reported),
          TEST(an_application_inherits_the_list_of_its_regions),
          TEST(an_application_may_lock_its_regions_and_serve_their_faults),
          TEST(a_repeated_start_is_answered_by_the_state_found),
          TEST(a_token_below_the_highest_is_refused_also_after_an_agent_restart),
          TEST(a_stop_is_complete_only_when_no_process_is_left),
          TEST(a_stop_right_behind_a_start_leaves_nothing),
          TEST(the_stop_command_ends_an_application_before_any_signal),
          TEST(an_unknown_application_is_stopped_and_cannot_be_started),
          TEST(a_restarted_agent_adopts_what_runs_and_reports_its_later_death),
          TEST(a_restarted_agent_can_stop_what_it_adopted),
          TEST(a_death_while_the_agent_was_away_is_reported),
          TEST(a_failure_is_reported_again_in_each_new_session),
          TEST(another_sessions_or_replayed_messages_are_dropped),
          TEST(garbage_and_endless_lines_do_not_harm),
          TEST(a_command_that_cannot_be_executed_is_hard_to_repair_here),
          TEST(the_third_quick_failure_in_a_row_is_hard),
          TEST(a_restart_gives_a_new_process_under_the_same_token),
          TEST(an_application_short_of_memory_waits_for_a_grant),
          TEST(a_refusal_keeps_the_application_from_starting_and_says_why),
          TEST(an_attach_is_answered_when_the_memory_is_online),
          TEST(memory_without_an_application_is_set_online),
          TEST(a_newer_attach_takes_the_place_of_an_older),
          TEST(a_detach_prepares_the_node_and_says_what_is_in_use),
          TEST(the_kind_is_learned_from_the_start_command),
          TEST(running_applications_survive_a_new_configuration),
          TEST(drills_kill_the_application_but_never_this_machine),
          TEST(an_orderly_stop_is_announced_also_to_a_host_that_comes_later))
