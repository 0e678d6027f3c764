/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/guest/cpu.h"
#include "agents/guest/file.h"
#include "agents/guest/memory.h"
#include "daemon/base/units.h"
#include "tests/unit/test.h"

static char directory[32];

static void put(const char *name, const char *text) {
        char path[PATH_LENGTH];

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        for (char *p = path + strlen(directory) + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(path, 0700);
                *p = '/';
        }
        FILE *file = fopen(path, "w");
        REQUIRE(file != NULL);
        CHECK(fputs(text, file) >= 0);
        CHECK(fclose(file) == 0);
}

static const char *get(const char *name) {
        static char text[64];

        CHECK(file_read(text, sizeof(text), "%s/%s", directory, name) >= 0);
        return text;
}

static void set_up(void) {
        strcpy(directory, "/tmp/test-memory-XXXXXX");
        REQUIRE(mkdtemp(directory) != NULL);
}

static void tear_down(void) {
        char command[64];

        snprintf(command, sizeof(command), "rm -rf %s", directory);
        CHECK(system(command) == 0);
}

#define NODE1 "devices/system/node/node1/"

static void a_nodes_usage_is_read_in_bytes(void) {
        struct memory_usage usage = { 1, 2, 3, 4 };

        set_up();
        CHECK(memory_node_usage(directory, 1, &usage) == -ENOENT);
        CHECK(usage.total_bytes == 1);
        put(NODE1 "meminfo", "\nNode 1 MemTotal:        1048576 kB\nNode 1 MemFree:          524288 kB\nNode 1 "
                             "MemUsed:          524288 kB\n"
                             "Node 1 FilePages:        100 kB\n");
        CHECK(memory_node_usage(directory, 1, &usage) == 0);
        CHECK(usage.total_bytes == GIB && usage.free_bytes == 512 * MIB && usage.file_bytes == 100 * KIB);
        tear_down();
}

static void free_memory_and_clean_cache_can_be_spared(void) {
        struct memory_usage usage = { 0 };

        set_up();
        put(NODE1 "meminfo", "Node 1 MemTotal: 1000 kB\nNode 1 MemFree: 100 kB\nNode 1 Active(file): 30 kB\n"
                             "Node 1 Inactive(file): 40 kB\nNode 1 Dirty: 20 kB\nNode 1 Writeback: 5 kB\n"
                             "Node 1 FilePages: 400 kB\nNode 1 Shmem: 330 kB\n");
        CHECK(memory_node_usage(directory, 1, &usage) == 0 && usage.spare_bytes == 145 * KIB);
        put(NODE1 "meminfo", "Node 1 MemTotal: 1000 kB\nNode 1 MemFree: 100 kB\nNode 1 Active(file): 30 kB\n"
                             "Node 1 Dirty: 31 kB\n");
        CHECK(memory_node_usage(directory, 1, &usage) == 0 && usage.spare_bytes == 100 * KIB);
        put(NODE1 "meminfo", "Node 1 MemTotal: 1000 kB\nNode 1 MemFree: 1000 kB\nNode 1 Active(file): 1 kB\n");
        CHECK(memory_node_usage(directory, 1, &usage) == 0 && usage.spare_bytes == 1000 * KIB);
        tear_down();
}

static void a_broken_meminfo_is_an_error_and_the_output_untouched(void) {
        static const char *const broken[] = {
                "", "Node 1 MemTotal: kB", "Node 1 MemTotal: -5 kB\nNode 1 MemFree: 1 kB", "Node 1 MemFree: 1 kB",
                "Node 1 MemTotal: 99999999999999999999999 kB\nNode 1 MemFree: 1 kB",
                "Node 1 MemTotal: 18446744073709551615 kB\nNode 1 MemFree: 1 kB",
        };
        struct memory_usage usage = { 1, 2, 3, 4 };

        set_up();
        for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
                put(NODE1 "meminfo", broken[i]);
                CHECK(memory_node_usage(directory, 1, &usage) == -EBADMSG);
                CHECK(usage.total_bytes == 1 && usage.free_bytes == 2 && usage.file_bytes == 3);
        }
        tear_down();
}

static void only_offline_blocks_of_that_node_are_set_online(void) {
        set_up();
        put(NODE1 "memory32/state", "offline\n");
        put(NODE1 "memory33/state", "online\n");
        put(NODE1 "memory34/state", "offline\n");
        put(NODE1 "memory_failure/state", "offline\n");
        put("devices/system/node/node2/memory40/state", "offline\n");
        CHECK(memory_online_blocks(directory, 1) == 2);
        CHECK(strncmp(get(NODE1 "memory32/state"), "online_movable", 14) == 0);
        CHECK(strncmp(get(NODE1 "memory34/state"), "online_movable", 14) == 0);
        CHECK_TEXT(get(NODE1 "memory33/state"), "online");
        CHECK_TEXT(get(NODE1 "memory_failure/state"), "offline");
        CHECK_TEXT(get("devices/system/node/node2/memory40/state"), "offline");
        CHECK(memory_online_blocks(directory, 3) == -ENOENT);
        tear_down();
}

static void the_cache_is_dropped_only_where_free_pages_do_not_do(void) {
        set_up();
        put(NODE1 "meminfo", "Node 1 MemTotal: 2048 kB\nNode 1 MemFree: 1024 kB\nNode 1 FilePages: 512 kB\n");
        put(NODE1 "compact", "");
        put("sys/vm/drop_caches", "");
        CHECK(memory_prepare_detach(directory, directory, 1, MIB) == 0);
        CHECK_TEXT(get("sys/vm/drop_caches"), "");
        CHECK_TEXT(get(NODE1 "compact"), "1");
        CHECK(memory_prepare_detach(directory, directory, 1, 2 * MIB) == 0);
        CHECK_TEXT(get("sys/vm/drop_caches"), "1");
        put("sys/vm/drop_caches", "");
        put(NODE1 "meminfo", "Node 1 MemTotal: 2048 kB\nNode 1 MemFree: 1024 kB\nNode 1 FilePages: 0 kB\n");
        CHECK(memory_prepare_detach(directory, directory, 1, 2 * MIB) == 0);
        CHECK_TEXT(get("sys/vm/drop_caches"), "");
        tear_down();
}

static void the_guests_own_figures_are_read(void) {
        uint64_t bytes = 7;

        set_up();
        CHECK(memory_total(directory, &bytes) == -ENOENT && bytes == 7);
        put("meminfo", "MemTotal:       2048 kB\nMemFree:        100 kB\nMemAvailable:   1024 kB\n");
        CHECK(memory_total(directory, &bytes) == 0 && bytes == 2 * MIB);
        CHECK(memory_available(directory, &bytes) == 0 && bytes == MIB);
        tear_down();
}

static void nodes_out_of_range_cannot_be_bound(void) {
        CHECK(memory_bind(-1) == -EINVAL);
        CHECK(memory_bind(1024) == -EINVAL);
}

#define CPU "devices/system/cpu/"

static void a_processor_that_the_kernel_says_was_added_is_set_online(void) {
        set_up();
        put(CPU "cpu1/online", "0\n");
        put(CPU "cpu2/online", "0\n"); /* by hand */
        CHECK(cpu_online_added(directory, "add@/devices/system/cpu/cpu1") == 0);
        CHECK(get(CPU "cpu1/online")[0] == '1');
        CHECK(get(CPU "cpu2/online")[0] == '0');
        CHECK(cpu_online_added(directory, "remove@/devices/system/cpu/cpu2") == -ENOMSG);
        CHECK(cpu_online_added(directory, "add@/devices/system/cpu/cpu2/cache") == -ENOMSG);
        CHECK(cpu_online_added(directory, "add@/devices/system/cpu/cpufreq") == -ENOMSG);
        CHECK(cpu_online_added(directory, "") == -ENOMSG);
        CHECK(get(CPU "cpu2/online")[0] == '0');
        CHECK(cpu_online_added(directory, "add@/devices/system/cpu/cpu0") == 0); /* has no switch */
        tear_down();
}

static void all_offline_processors_are_set_online_at_once(void) {
        set_up();
        CHECK(cpu_online_all(directory) == -ENOENT);
        put(CPU "cpu0/topology", ""); /* has no switch */
        put(CPU "cpu1/online", "1\n");
        put(CPU "cpu12/online", "0\n");
        put(CPU "cpufreq/online", "0\n");
        CHECK(cpu_online_all(directory) == 1);
        CHECK(get(CPU "cpu12/online")[0] == '1');
        CHECK(get(CPU "cpufreq/online")[0] == '0');
        CHECK(cpu_online_all(directory) == 0);
        tear_down();
}

TEST_MAIN("agent-memory",
          TEST(a_nodes_usage_is_read_in_bytes),
          TEST(free_memory_and_clean_cache_can_be_spared),
          TEST(a_broken_meminfo_is_an_error_and_the_output_untouched),
          TEST(only_offline_blocks_of_that_node_are_set_online),
          TEST(the_cache_is_dropped_only_where_free_pages_do_not_do),
          TEST(the_guests_own_figures_are_read),
          TEST(nodes_out_of_range_cannot_be_bound),
          TEST(a_processor_that_the_kernel_says_was_added_is_set_online),
          TEST(all_offline_processors_are_set_online_at_once))
