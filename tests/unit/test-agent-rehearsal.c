/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/canary.h"
#include "agents/guest/touch.h"
#include "tests/unit/agent-host.h"

/* A spec whose canary is a shell command. */
static struct application_spec canary_spec(const struct host *host, const char *script) {
        struct application_spec spec = host_spec(host, "exec sleep 1000");

        REQUIRE(command_append(&spec.run.canary, "sh") == 0 && command_append(&spec.run.canary, "-c") == 0 &&
                command_append(&spec.run.canary, script) == 0);
        return spec;
}

static const struct message *run_canary(struct host *host, int result) {
        return host_expect_result(host, host_send(host, (struct message) { .type = MESSAGE_CANARY }), result);
}

/* What was killed is reaped a moment later. */
static void wait_for_no_child(const struct host *host) {
        for (usec_t deadline = loop_now() + DEADLINE_USEC; host_agent_has_child(host);)
                REQUIRE(loop_now() < deadline);
}

static uint64_t plenty(void *userdata) {
        return GIB;
}

static uint64_t less_each_time(void *userdata) {
        uint64_t *left = userdata;

        return *left -= 4 * MIB;
}

static void all_memory_is_written_and_read_back(void) {
        uint64_t bytes = 0;

        CHECK(touch_memory(10 * MIB + 4096, plenty, NULL, &bytes) == 0);
        CHECK(bytes == 10 * MIB + 4096);
}

static void what_the_kernel_needs_is_left_to_it(void) {
        uint64_t bytes = 0, left = 28 * MIB;

        CHECK(touch_memory(32 * MIB, less_each_time, &left, &bytes) == 0);
        CHECK(bytes > 0 && bytes < 32 * MIB);
        CHECK(left >= 4 * MIB);
}

static void the_agent_touches_memory_and_tells_how_much_and_how_long(void) {
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, "exec sleep 1000"));
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_TOUCH, .node = -1,
                                                                      .bytes = 32 * MIB }), 0);
        CHECK(host.last.bytes == 32 * MIB && host.last.usec > 0);
        CHECK(!host_agent_has_child(&host));
        host_deinit(&host);
}

static void memory_that_is_not_there_is_not_taken(void) {
        struct host host;

        host_init(&host);
        host_write_file(&host, "proc/meminfo", "MemTotal: 1048576 kB\nMemAvailable: 10240 kB\n");
        host_configure(&host, host_spec(&host, "exec sleep 1000"));
        host_expect_result(&host, host_send(&host, (struct message) { .type = MESSAGE_TOUCH, .node = -1,
                                                                      .bytes = 64 * MIB }), -ENOMEM);
        CHECK(host.last.bytes == 0);
        CHECK_TEXT(host.last.text, "only 0 of 64 MiB can be had there");
        host_deinit(&host);
}

static void a_touch_is_given_up_when_the_region_is_wanted(void) {
        struct host host;
        uint64_t id;

        host_init(&host);
        host_configure(&host, host_spec(&host, "exec sleep 1000"));
        id = host_send(&host, (struct message) { .type = MESSAGE_TOUCH, .node = -1, .bytes = 480 * MIB });
        host_send(&host, (struct message) { .type = MESSAGE_ATTACH, .node = -1, .bytes = MIB });
        host_expect_result(&host, id, -ECANCELED);
        wait_for_no_child(&host);
        host_deinit(&host);
}

static void a_canary_tells_its_status_and_the_end_of_its_output(void) {
        struct host host;
        char script[128];

        host_init(&host);
        host_configure(&host, canary_spec(&host, "echo first; echo 'the disk is there'"));
        run_canary(&host, 0);
        CHECK_TEXT(host.last.text, "first the disk is there");
        host_configure(&host, canary_spec(&host, "echo no licence >&2; exit 3"));
        run_canary(&host, -EIO);
        CHECK(host.last.code == 3);
        CHECK_TEXT(host.last.text, "no licence");
        host_configure(&host, canary_spec(&host, "kill -SEGV $$"));
        run_canary(&host, -EIO);
        CHECK(host.last.code == -SIGSEGV);
        snprintf(script, sizeof(script), "i=0; while [ $i -lt 20000 ]; do echo line; i=$((i + 1)); done; echo end");
        host_configure(&host, canary_spec(&host, script));
        run_canary(&host, 0);
        CHECK(strlen(host.last.text) <= CANARY_OUTPUT_LEN);
        CHECK(strlen(host.last.text) > 3 && strcmp(host.last.text + strlen(host.last.text) - 3, "end") == 0);
        host_deinit(&host);
}

static void a_canary_that_hangs_is_killed_with_all_that_it_began(void) {
        struct application_spec spec;
        struct host host;

        host_init(&host);
        spec = canary_spec(&host, "echo waiting; sleep 1000 & sleep 1000");
        spec.canary_timeout_usec = 100 * USEC_PER_MSEC;
        host_configure(&host, spec);
        run_canary(&host, -ETIMEDOUT);
        CHECK_TEXT(host.last.text, "waiting");
        wait_for_no_child(&host);
        host_deinit(&host);
}

static void without_a_canary_the_start_command_has_to_be_there(void) {
        struct application_spec spec;
        struct host host;

        host_init(&host);
        host_configure(&host, host_spec(&host, "exec sleep 1000"));
        run_canary(&host, 0);
        spec = (struct application_spec) { .node = -1, .memory_bytes = MIB };
        memcpy(spec.app, host.app, sizeof(spec.app));
        REQUIRE(command_append(&spec.run.start, "/nowhere/at-all") == 0);
        host_configure(&host, spec);
        run_canary(&host, -ENOENT);
        CHECK(strstr(host.last.text, "/nowhere/at-all") != NULL);
        spec = host_spec(&host, "exec sleep 1000");
        REQUIRE(command_append(&spec.run.canary, "/nowhere/canary") == 0);
        host_configure(&host, spec);
        run_canary(&host, -ENOENT);
        host_deinit(&host);
}

static void a_start_ends_the_rehearsal(void) {
        struct host host;
        uint64_t id;

        host_init(&host);
        host_configure(&host, canary_spec(&host, "sleep 1000"));
        id = host_send(&host, (struct message) { .type = MESSAGE_CANARY });
        host_start(&host, 1);
        host_expect_result(&host, id, -ECANCELED);
        host_ping(&host, MESSAGE_FAILED);
        host_deinit(&host);
}

TEST_MAIN("agent-rehearsal",
          TEST(all_memory_is_written_and_read_back),
          TEST(what_the_kernel_needs_is_left_to_it),
          TEST(the_agent_touches_memory_and_tells_how_much_and_how_long),
          TEST(memory_that_is_not_there_is_not_taken),
          TEST(a_touch_is_given_up_when_the_region_is_wanted),
          TEST(a_canary_tells_its_status_and_the_end_of_its_output),
          TEST(a_canary_that_hangs_is_killed_with_all_that_it_began),
          TEST(without_a_canary_the_start_command_has_to_be_there),
          TEST(a_start_ends_the_rehearsal))
