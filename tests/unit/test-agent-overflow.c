/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "agents/guest/overflow.h"
#include "agents/guest/swap.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "tests/unit/test.h"

#define SECOND USEC_PER_SEC
#define PAGE 4096

static char directory[] = "/tmp/test-overflow-XXXXXX";

static void put(const char *relative, const char *text) {
        char path[PATH_LENGTH];
        _cleanup_fclose_ FILE *file = NULL;

        snprintf(path, sizeof(path), "%s/%s", directory, relative);
        for (char *p = path + strlen(directory) + 1; (p = strchr(p, '/')); p++) {
                *p = 0;
                (void) mkdir(path, 0700);
                *p = '/';
        }
        file = fopen(path, "w");
        REQUIRE(file != NULL);
        CHECK(fputs(text, file) >= 0);
}

static void disks_are_found_by_their_serial_number_alone(void) {
        char names[OVERFLOW_DISKS_MAX][OVERFLOW_NAME_LEN];

        CHECK(overflow_find(directory, names) == 0); /* no disks at all */
        put("block/vda/serial", "vda");
        put("block/vdb/serial", "failover-overflow");
        put("block/vdc/size", "7");
        put("block/sda/serial", "my-failover-overflow");
        REQUIRE(overflow_find(directory, names) == 1);
        CHECK_TEXT(names[0], "vdb");
        put("block/vdd/serial", "failover-over");
        put("block/vde/serial", "failover-overflow-2");
        CHECK(overflow_find(directory, names) == 2);
        for (char name[32] = "block/vf0/serial"; name[8] <= '9'; name[8]++)
                put(name, "failover-overflow");
        CHECK(overflow_find(directory, names) == OVERFLOW_DISKS_MAX);
}

static void use_of_a_disk_is_read_by_its_whole_name(void) {
        uint64_t used = 1;

        CHECK(swap_used(directory, "vdb", &used) == 0); /* a kernel without swap */
        put("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                     "/dev/vdb1                               partition\t524284\t\t7\t\t-2\n"
                     "/dev/vdb                                partition\t524284\t\t20480\t\t-3\n");
        REQUIRE(swap_used(directory, "vdb", &used) == 1);
        CHECK(used == 20 * MIB);
        CHECK(swap_used(directory, "vd", &used) == 0 && swap_used(directory, "db", &used) == 0);
}

static void a_new_disk_becomes_a_swap_area_and_no_other(void) {
        char path[PATH_LENGTH], page[PAGE] = "";
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/disk", directory);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        REQUIRE(fd >= 0 && ftruncate(fd, 5 * PAGE) == 0);
        CHECK(swap_prepare(path) == -EINVAL);
        REQUIRE(ftruncate(fd, 100 * PAGE) == 0);
        CHECK(swap_prepare(path) == 0 && swap_prepare(path) == 0);
        REQUIRE(pread(fd, page, PAGE, 0) == PAGE);
        CHECK(memcmp(page + PAGE - 10, "SWAPSPACE2", 10) == 0);
        CHECK(*(uint32_t *) (void *) (page + 1024) == 1 && *(uint32_t *) (void *) (page + 1028) == 99);
        CHECK(pwrite(fd, "MBR", 3, 4093) == 3); /* no magic any more */
        CHECK(swap_prepare(path) == -EEXIST);
        CHECK(swap_prepare("/nowhere/at/all") == -ENOENT);
}

static struct overflow_sight sight(uint64_t used_mib, uint64_t available_mib) {
        return (struct overflow_sight) { .on = true, .used_bytes = used_mib * MIB, .total_bytes = 160 * MIB,
                                         .available_bytes = available_mib * MIB };
}

static void a_disk_that_the_host_wants_back_is_left_as_soon_as_memory_suffices(void) {
        struct overflow_sight enough = sight(50, 100), too_little = sight(50, 60), off = sight(0, 100);
        struct overflow_disk disk = { "vdb" };

        off.on = false;
        disk.leave_usec = 10 * SECOND;
        CHECK(overflow_decide(&disk, &too_little, 11 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &enough, 12 * SECOND) == OVERFLOW_LEAVE); /* it need not last */
        disk.left = true;
        CHECK(overflow_decide(&disk, &off, 13 * SECOND) == OVERFLOW_NOTHING);
        /* One that was never on is emptied all the same. */
        disk.left = false;
        CHECK(overflow_decide(&disk, &off, 14 * SECOND) == OVERFLOW_LEAVE);
        disk.left = true;
        /* The host has changed its mind, or is gone. */
        CHECK(overflow_decide(&disk, &off, 21 * SECOND) == OVERFLOW_ON);
        CHECK(!disk.left);
        /* Memory that runs short meanwhile ends it. */
        too_little = sight(50, 1);
        too_little.coming_home = true;
        disk.leave_usec = 21 * SECOND;
        CHECK(overflow_decide(&disk, &too_little, 22 * SECOND) == OVERFLOW_STOP);
}

static void a_disk_that_is_left_is_empty(void) {
        char path[PATH_LENGTH], page[PAGE], zeroes[PAGE] = "";
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/left", directory);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        REQUIRE(fd >= 0 && ftruncate(fd, 100 * PAGE) == 0);
        REQUIRE(swap_prepare(path) == 0);
        CHECK(swap_erase(path) == 0);
        REQUIRE(pread(fd, page, PAGE, 0) == PAGE);
        CHECK(memcmp(page, zeroes, PAGE) == 0);
        CHECK(swap_erase(path) == 0); /* of an earlier attempt, that ended half-way */
        CHECK(swap_erase("/nowhere/at/all") == -ENOENT);
}

static void a_disk_that_somebody_else_uses_is_not_erased(void) {
        char path[PATH_LENGTH], text[4] = "";
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/other", directory);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        REQUIRE(fd >= 0 && ftruncate(fd, 100 * PAGE) == 0);
        REQUIRE(pwrite(fd, "LVM", 3, 512) == 3);
        CHECK(swap_prepare(path) == -EEXIST && swap_erase(path) == -EEXIST);
        CHECK(pread(fd, text, 3, 512) == 3);
        CHECK_TEXT(text, "LVM");
}

static void pages_come_home_once_memory_has_sufficed_for_a_while(void) {
        struct overflow_sight enough = sight(50, 100), too_little = sight(50, 60), nothing = sight(0, 100);
        struct overflow_disk disk = { "vdb" };

        CHECK(overflow_decide(&disk, &enough, 100 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &enough, 104 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &enough, 105 * SECOND) == OVERFLOW_HOME);
        CHECK(overflow_decide(&disk, &too_little, 106 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &enough, 107 * SECOND) == OVERFLOW_NOTHING); /* counted anew */
        CHECK(overflow_decide(&disk, &enough, 112 * SECOND) == OVERFLOW_HOME);
        CHECK(overflow_decide(&disk, &nothing, 113 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &nothing, 200 * SECOND) == OVERFLOW_NOTHING);
}

static void a_disk_is_switched_on_and_tried_again_only_after_a_while(void) {
        struct overflow_sight off = sight(0, 100);
        struct overflow_disk disk = { "vdb" };

        off.on = false;
        CHECK(overflow_decide(&disk, &off, 100 * SECOND) == OVERFLOW_ON);
        disk.failed_usec = 100 * SECOND;
        CHECK(overflow_decide(&disk, &off, 129 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &off, 130 * SECOND) == OVERFLOW_ON);
}

static void coming_home_ends_where_memory_runs_short(void) {
        struct overflow_sight short_of = sight(50, 10), enough = sight(50, 30);
        struct overflow_disk disk = { "vdb" };

        short_of.coming_home = enough.coming_home = true;
        CHECK(overflow_decide(&disk, &enough, 100 * SECOND) == OVERFLOW_NOTHING);
        CHECK(overflow_decide(&disk, &short_of, 101 * SECOND) == OVERFLOW_STOP);
}

static void a_start_makes_the_agent_look_for_disks_at_once(void) {
        struct overflow overflow = { .loop = NULL };

        overflow_look_soon(&overflow); /* an agent that looks after none */
        CHECK(overflow.timer.at_usec == 0);
        REQUIRE(loop_new(&overflow.loop) == 0);
        loop_arm(overflow.loop, &overflow.timer, loop_now() + SECOND);
        overflow_look_soon(&overflow);
        CHECK(overflow.timer.at_usec <= loop_now() && overflow.timer.next == NULL);
        loop_disarm(overflow.loop, &overflow.timer);
        loop_free(overflow.loop);
}

static void tidy_up(void) {
        char command[64];

        snprintf(command, sizeof(command), "rm -rf %s", directory);
        CHECK(system(command) == 0);
}

static void make_directory(void) {
        REQUIRE(mkdtemp(directory) != NULL);
}

TEST_MAIN("agent-overflow", TEST(make_directory), TEST(disks_are_found_by_their_serial_number_alone),
          TEST(use_of_a_disk_is_read_by_its_whole_name), TEST(a_new_disk_becomes_a_swap_area_and_no_other),
          TEST(pages_come_home_once_memory_has_sufficed_for_a_while),
          TEST(a_disk_is_switched_on_and_tried_again_only_after_a_while),
          TEST(coming_home_ends_where_memory_runs_short), TEST(a_start_makes_the_agent_look_for_disks_at_once),
          TEST(a_disk_that_the_host_wants_back_is_left_as_soon_as_memory_suffices),
          TEST(a_disk_that_is_left_is_empty), TEST(a_disk_that_somebody_else_uses_is_not_erased),
          TEST(tidy_up))
