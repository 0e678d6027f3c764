/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The memory limit of a unit whose guest has lost memory (N: variant 4), with a real systemd; what the unit uses is
 * told by files of ours, so that no memory controller is needed. */

#include "tests/unit/agent-unit.h"

/* A guest of 256 MiB and a region of 512, of which `manages` MiB are still its VM's; the unit uses 60. */
static void lose(struct host *host, unsigned manages) {
        struct message message = { .type = MESSAGE_MANAGES, .node = 1, .bytes = manages * MIB, .text = "keep" };
        char command[256], group[256], name[320];
        FILE *shown;

        host_write_file(host, "sys/devices/system/node/node1/meminfo",
                        "Node 1 MemTotal: %u kB\nNode 1 MemFree: 0 kB\nNode 1 FilePages: 0 kB\n", 512 * 1024);
        host_write_file(host, "proc/meminfo", "MemTotal: %u kB\nMemAvailable: 262144 kB\nSwapFree: 0 kB\n", 768 * 1024);
        snprintf(command, sizeof(command), "systemctl show --value -p ControlGroup %s", host->app);
        REQUIRE((shown = popen(command, "r")) != NULL);
        REQUIRE(fscanf(shown, "%255s", group) == 1);
        CHECK(pclose(shown) == 0);
        snprintf(name, sizeof(name), "cgroup%s/memory.current", group);
        host_write_file(host, name, "%" PRIu64 "\n", 60 * MIB);
        strcpy(message.app, "another");
        host_send(host, message);
}

static bool has_high(struct host *host, const char *bytes) {
        usec_t deadline = loop_now() + DEADLINE_USEC;
        char command[256];

        snprintf(command, sizeof(command), "test \"$(systemctl show --value -p MemoryHigh %s)\" = %s", host->app,
                 bytes);
        while (system(command) != 0) {
                if (loop_now() > deadline)
                        return false;
                if (host->agent > 0) { /* which looks again at each beat */
                        host_send(host, (struct message) { .type = MESSAGE_PING, .nonce = 1 });
                        host_expect(host, MESSAGE_PONG);
                }
        }
        return true;
}

static void set_high(const struct host *host, const char *bytes) {
        char command[256];

        snprintf(command, sizeof(command), "systemctl set-property --runtime %s MemoryHigh=%s", host->app, bytes);
        CHECK(system(command) == 0);
}

#define BOUND "268435456" /* all that is managed, 256 MiB */

static void a_unit_is_bounded_while_memory_is_lost_and_has_its_own_limit_again(void) {
        char cgroup_dir[96];
        struct host host;

        if (cannot_run())
                return;
        host_prepare(&host);
        snprintf(cgroup_dir, sizeof(cgroup_dir), "%s/cgroup", host.dir);
        setenv("AGENT_CGROUP", cgroup_dir, 1);
        host_begin_agent(&host);
        have_unit(&host, "[Service]\nMemoryHigh=900M\nExecStart=sleep 1000\n");
        host_expect_result(&host, host_start(&host, 1), 0);
        CHECK(has_high(&host, "943718400"));

        lose(&host, 0);
        CHECK(has_high(&host, BOUND));
        lose(&host, 512);
        CHECK(has_high(&host, "943718400"));

        lose(&host, 0);
        CHECK(has_high(&host, BOUND));
        host_end_agent(&host, SIGKILL); /* the next one finds what it has left */
        CHECK(has_high(&host, BOUND));
        host_begin_agent(&host);
        CHECK(has_high(&host, "943718400"));

        lose(&host, 0);
        CHECK(has_high(&host, BOUND));
        set_high(&host, "100M"); /* an operator's stays */
        lose(&host, 512);
        host_stop(&host);
        CHECK(has_high(&host, "104857600"));

        set_high(&host, "infinity");
        host_expect_result(&host, host_start(&host, 2), 0);
        lose(&host, 0);
        CHECK(has_high(&host, BOUND));
        host_end_agent(&host, SIGTERM);
        CHECK(has_high(&host, "infinity"));
        host_begin_agent(&host);
        host_stop(&host);
        remove_unit(&host);
        host_deinit(&host);
        unsetenv("AGENT_CGROUP");
}

TEST_MAIN("agent-unit-bound", TEST(a_unit_is_bounded_while_memory_is_lost_and_has_its_own_limit_again))
