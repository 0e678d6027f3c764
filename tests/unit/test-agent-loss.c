/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory that a guest has and its VM does not manage any more (N: variant 4). */

#include "agents/guest/loss.h"
#include "tests/unit/agent-host.h"

/* A guest of `base` MiB and a region of `region` on node 1, of which `spare` are free; its applications use `used`. */
static void guest(const struct host *host, unsigned base, unsigned region, unsigned spare, unsigned used,
                  unsigned swap_free) {
        host_write_file(host, "sys/devices/system/node/node1/meminfo",
                        "Node 1 MemTotal:       %u kB\nNode 1 MemFree:        %u kB\nNode 1 FilePages:      0 kB\n",
                        region * 1024, spare * 1024);
        host_write_file(host, "proc/meminfo", "MemTotal: %u kB\nMemAvailable: %u kB\nSwapFree: %u kB\n",
                        (base + region) * 1024, (64 + spare) * 1024, swap_free * 1024);
        host_write_file(host, "cgroup/failover/memory.current", "%" PRIu64 "\n", used * MIB);
}

struct place {
        char sys[96], proc[96], cgroup[96];
};

static struct place place_of(const struct host *host) {
        struct place place;

        snprintf(place.sys, sizeof(place.sys), "%s/sys", host->dir);
        snprintf(place.proc, sizeof(place.proc), "%s/proc", host->dir);
        snprintf(place.cgroup, sizeof(place.cgroup), "%s/cgroup", host->dir);
        return place;
}

/* The bound in force, in MiB; 0: none. */
static uint64_t bound(struct loss *loss, const struct host *host) {
        struct place place = place_of(host);
        char text[64];

        loss_bound(loss, place.sys, place.proc, place.cgroup, NULL, 0);
        REQUIRE(file_read(text, sizeof(text), "%s/failover/memory.high", place.cgroup) >= 0);
        CHECK(loss->limit_bytes ? strtoull(text, NULL, 10) == loss->limit_bytes
                                : strncmp(text, "max", 3) == 0); /* a file of the kernel's would end there */
        return loss->limit_bytes / MIB;
}

static struct message manages(const char *app, int node, uint64_t mib, const char *how) {
        struct message message = { .type = MESSAGE_MANAGES, .node = node, .bytes = mib * MIB };

        snprintf(message.app, sizeof(message.app), "%s", app);
        snprintf(message.text, sizeof(message.text), "%s", how);
        return message;
}

static void set(struct loss *loss, struct message message) {
        loss_set(loss, &message);
}

static void what_is_lost_shrinks_as_it_goes_and_ends_with_management(void) {
        struct loss loss = { 0 };
        struct place place;
        struct host host;

        host_init(&host);
        place = place_of(&host);
        guest(&host, 256, 512, 128, 300, 0);
        CHECK(loss_bytes(&loss, place.sys, -1) == 0);
        set(&loss, manages("db", 1, 0, "keep"));
        CHECK(loss_bytes(&loss, place.sys, -1) == 512 * MIB && loss_bytes(&loss, place.sys, 1) == 512 * MIB);
        CHECK(loss_bytes(&loss, place.sys, 2) == 0);
        CHECK(loss_spare_bytes(&loss, place.sys, -1) == 128 * MIB);
        set(&loss, manages("db", 1, 384, "keep")); /* told again: it replaces what was said */
        CHECK(loss_bytes(&loss, place.sys, -1) == 128 * MIB && loss_spare_bytes(&loss, place.sys, -1) == 128 * MIB);
        guest(&host, 256, 400, 16, 300, 0);
        CHECK(loss_bytes(&loss, place.sys, -1) == 16 * MIB);
        guest(&host, 256, 388, 16, 300, 0); /* the node's own cell stays */
        CHECK(loss_bytes(&loss, place.sys, -1) == 0);
        guest(&host, 256, 512, 16, 300, 0);
        loss_regain(&loss, "other", UINT64_MAX);
        CHECK(loss_bytes(&loss, place.sys, -1) == 128 * MIB);
        loss_regain(&loss, "db", 448 * MIB);
        CHECK(loss_bytes(&loss, place.sys, -1) == 64 * MIB);
        loss_regain(&loss, "db", UINT64_MAX);
        CHECK(loss_bytes(&loss, place.sys, -1) == 0);
        set(&loss, manages("shared", 0, 0, "keep")); /* the guest's own node */
        CHECK(loss_bytes(&loss, place.sys, -1) == 0);
        host_deinit(&host);
}

static void applications_are_bounded_by_what_they_have_or_what_is_managed(void) {
        struct loss loss = { 0 };
        struct host host;

        host_init(&host);
        guest(&host, 256, 512, 128, 300, 0);
        host_write_file(&host, "cgroup/failover/memory.high", "max\n");
        CHECK(bound(&loss, &host) == 0); /* nothing is lost */
        set(&loss, manages("db", 1, 0, "keep"));
        CHECK(bound(&loss, &host) == 300); /* 256 are managed; it is stopped at none of its pages */
        guest(&host, 256, 512, 128, 350, 0);
        CHECK(bound(&loss, &host) == 300);
        guest(&host, 256, 512, 128, 270, 0);
        CHECK(bound(&loss, &host) == 270);
        guest(&host, 256, 512, 128, 100, 0);
        CHECK(bound(&loss, &host) == 256);

        set(&loss, manages("db", 1, 0, "swap"));
        guest(&host, 256, 512, 128, 300, 16);
        CHECK(bound(&loss, &host) == 256); /* a bound does not rise while all is lost */
        loss_forget(&loss);
        CHECK(bound(&loss, &host) == 0);
        set(&loss, manages("db", 1, 0, "swap"));
        CHECK(bound(&loss, &host) == 300); /* swap has no room for the rest */
        guest(&host, 256, 512, 128, 300, 64);
        CHECK(bound(&loss, &host) == 256);
        guest(&host, 256, 4, 0, 200, 64); /* it has gone, but for the node's own cell */
        CHECK(bound(&loss, &host) == 0);
        host_deinit(&host);
}

static void a_bound_of_an_agent_before_it_does_not_stay(void) {
        struct loss loss = { 0 };
        struct host host;

        host_init(&host);
        guest(&host, 256, 512, 128, 300, 0);
        CHECK(!loss.known);
        loss_bound(&loss, place_of(&host).sys, place_of(&host).proc, place_of(&host).cgroup, NULL, 0);
        CHECK(!loss.known); /* the group is not there yet */
        host_write_file(&host, "cgroup/failover/memory.high", "%" PRIu64 "\n", 256 * MIB);
        CHECK(bound(&loss, &host) == 0);
        loss = (struct loss) { 0 };
        host_write_file(&host, "cgroup/failover/memory.high", "%" PRIu64 "\n", 280 * MIB);
        set(&loss, manages("db", 1, 0, "keep"));
        CHECK(bound(&loss, &host) == 280); /* it does not rise while all is lost */
        host_deinit(&host);
}

static void a_limit_is_divided_by_use_and_what_is_left_evenly(void) {
        struct loss_share shares[] = {
                { .used_bytes = 300 * MIB }, { .unit = "b", .used_bytes = 100 * MIB },
                { .unit = "c", .used_bytes = 50 * MIB, .whole = true },
        };

        loss_divide(650 * MIB, shares, 3);
        CHECK(shares[0].limit_bytes == 400 * MIB && shares[1].limit_bytes == 200 * MIB && shares[2].limit_bytes == 0);
        loss_divide(250 * MIB, shares, 3); /* they use twice as much as there is for them */
        CHECK(shares[0].limit_bytes == 150 * MIB && shares[1].limit_bytes == 50 * MIB && shares[2].limit_bytes == 0);
        loss_divide(40 * MIB, shares, 3); /* nobody is bounded to nothing */
        CHECK(shares[0].limit_bytes == 4 * MIB && shares[1].limit_bytes == 4 * MIB);
        loss_divide(MIB, shares, 0);
}

static void units_are_bounded_as_commands_are(void) {
        struct loss_share units[] = { { .unit = "b.service", .used_bytes = 60 * MIB },
                                      { .unit = "c.service", .used_bytes = 20 * MIB, .whole = true } };
        struct loss loss = { 0 };
        struct place place;
        struct host host;

        host_init(&host);
        place = place_of(&host);
        guest(&host, 256, 512, 128, 100, 0);
        host_write_file(&host, "cgroup/failover/memory.high", "max\n");
        loss_bound(&loss, place.sys, place.proc, place.cgroup, units, 2);
        CHECK(loss.limit_bytes == 0 && units[0].limit_bytes == 0);
        set(&loss, manages("db", 1, 0, "keep"));
        loss_bound(&loss, place.sys, place.proc, place.cgroup, units, 2);
        CHECK(loss.limit_bytes == 256 * MIB); /* of 256 MiB 180 are used: 38 more for each but c */
        CHECK(loss.group_bytes == 138 * MIB && units[0].limit_bytes == 98 * MIB && units[1].limit_bytes == 0);
        units[0].used_bytes = 10 * MIB;
        loss_bound(&loss, place.sys, place.proc, place.cgroup, units, 2);
        CHECK(loss.group_bytes == 163 * MIB && units[0].limit_bytes == 73 * MIB);
        loss_forget(&loss);
        loss_bound(&loss, place.sys, place.proc, place.cgroup, units, 2);
        CHECK(loss.limit_bytes == 0 && loss.group_bytes == 0 && units[0].limit_bytes == 0);
        host_deinit(&host);
}

static void units_are_bounded_where_no_command_runs(void) {
        struct loss_share unit = { .unit = "b.service", .used_bytes = 60 * MIB };
        struct loss loss = { 0 };
        struct place place;
        struct host host;

        host_init(&host);
        place = place_of(&host);
        guest(&host, 256, 512, 128, 0, 0);
        set(&loss, manages("db", 1, 0, "keep"));
        loss_bound(&loss, place.sys, place.proc, "/nonexistent", &unit, 1);
        CHECK(unit.limit_bytes == 256 * MIB);
        host_deinit(&host);
}

static void the_agent_counts_what_is_lost_nowhere(void) {
        struct message ping = { .type = MESSAGE_PING, .nonce = 7 };
        struct host host;

        host_init(&host);
        guest(&host, 256, 512, 128, 300, 0);
        host_send(&host, ping);
        host_expect(&host, MESSAGE_PONG);
        CHECK(host.last.bytes == 192 * MIB);
        host_send(&host, manages("db", 1, 0, "keep"));
        host_send(&host, ping);
        host_expect(&host, MESSAGE_PONG);
        CHECK(host.last.bytes == 64 * MIB);
        host_disconnect(&host); /* a new session begins with nothing lost */
        host_accept(&host);
        host_welcome(&host);
        host_send(&host, ping);
        host_expect(&host, MESSAGE_PONG);
        CHECK(host.last.bytes == 192 * MIB);
        host_deinit(&host);
}

static void no_application_is_started_into_what_is_lost(void) {
        struct application_spec spec;
        struct host host;

        host_init(&host);
        guest(&host, 256, 512, 512, 0, 0);
        spec = host_spec(&host, "sleep 60");
        spec.node = 1;
        spec.memory_bytes = 256 * MIB;
        host_configure(&host, spec);
        host_send(&host, manages("another", 1, 0, "keep"));
        host_send(&host, (struct message) { .type = MESSAGE_START, .token = 1, .node = 1, .bytes = 256 * MIB });
        host_expect(&host, MESSAGE_REQUEST); /* all 512 MiB that are there are lost: it is short */
        CHECK(host.last.bytes == 256 * MIB);
        host_deinit(&host);
}

TEST_MAIN("agent-loss",
          TEST(what_is_lost_shrinks_as_it_goes_and_ends_with_management),
          TEST(applications_are_bounded_by_what_they_have_or_what_is_managed),
          TEST(a_bound_of_an_agent_before_it_does_not_stay),
          TEST(a_limit_is_divided_by_use_and_what_is_left_evenly),
          TEST(units_are_bounded_as_commands_are),
          TEST(units_are_bounded_where_no_command_runs),
          TEST(the_agent_counts_what_is_lost_nowhere),
          TEST(no_application_is_started_into_what_is_lost))
