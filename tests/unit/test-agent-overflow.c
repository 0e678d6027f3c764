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
        CHECK(swap_prepare(path, false) == -EINVAL);
        REQUIRE(ftruncate(fd, 100 * PAGE) == 0);
        CHECK(swap_prepare(path, false) == 0 && swap_prepare(path, false) == 0);
        REQUIRE(pread(fd, page, PAGE, 0) == PAGE);
        CHECK(memcmp(page + PAGE - 10, "SWAPSPACE2", 10) == 0);
        CHECK(*(uint32_t *) (void *) (page + 1024) == 1 && *(uint32_t *) (void *) (page + 1028) == 99);
        /* One that is from a time when the disk was divided otherwise is made anew. */
        REQUIRE(ftruncate(fd, 50 * PAGE) == 0);
        CHECK(swap_prepare(path, false) == 0);
        REQUIRE(pread(fd, page, PAGE, 0) == PAGE);
        CHECK(*(uint32_t *) (void *) (page + 1028) == 49);
        CHECK(pwrite(fd, "MBR", 3, 4093) == 3); /* no magic any more */
        CHECK(swap_prepare(path, false) == -EEXIST);
        CHECK(swap_prepare("/nowhere/at/all", false) == -ENOENT);
}

/* A disk of one slice that is on. */
static struct overflow_disk one_slice(uint64_t used_mib) {
        struct overflow_disk disk = { "vdb", .room_bytes = UINT64_MAX };

        overflow_divide(&disk, 512 * MIB, true);
        disk.slices[0].on = true;
        disk.slices[0].used_bytes = used_mib * MIB;
        return disk;
}

static struct overflow_sight sight(uint64_t available_mib) {
        return (struct overflow_sight) { .total_bytes = 160 * MIB, .available_bytes = available_mib * MIB };
}

static unsigned slice; /* of the last decision */

static enum overflow_step decide(struct overflow_disk *disk, struct overflow_sight seen, usec_t second) {
        return overflow_decide(disk, &seen, second * SECOND, &slice);
}

static void a_disk_that_the_host_wants_back_is_left_as_soon_as_memory_suffices(void) {
        struct overflow_sight short_of = sight(1);
        struct overflow_disk disk = one_slice(50);

        disk.leave_usec = 10 * SECOND;
        CHECK(decide(&disk, sight(60), 11) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 12) == OVERFLOW_OFF); /* it need not last */
        disk.slices[0].on = false;
        CHECK(decide(&disk, sight(0), 12) == OVERFLOW_LEAVE); /* also one that was never on */
        disk.left = true;
        CHECK(decide(&disk, sight(100), 13) == OVERFLOW_NOTHING);
        /* The host has changed its mind, or is gone. */
        CHECK(decide(&disk, sight(100), 21) == OVERFLOW_ON);
        CHECK(!disk.left);
        /* Memory that runs short meanwhile ends it. */
        short_of.coming_home = true;
        disk.leave_usec = 21 * SECOND;
        CHECK(decide(&disk, short_of, 22) == OVERFLOW_STOP);
}

/* A disk of 512 MiB in four slices, of which as many are on. */
static struct overflow_disk four_slices(unsigned n_on) {
        struct overflow_disk disk = { "vdb", .room_bytes = UINT64_MAX };

        overflow_divide(&disk, 512 * MIB, false);
        for (unsigned i = 0; i < n_on; i++)
                disk.slices[i].on = true;
        return disk;
}

static void a_disk_is_divided_where_its_slices_are_worth_it(void) {
        struct overflow_disk disk = four_slices(0), digit = { "nvme0n1" };
        uint64_t sum = 0;

        CHECK(disk.n_slices == 4 && disk.size_bytes == 512 * MIB);
        CHECK_TEXT(disk.slices[0].name, "vdb1");
        CHECK_TEXT(disk.slices[3].name, "vdb4");
        overflow_divide(&disk, 515 * MIB + 4096, false);
        for (unsigned i = 0; i < disk.n_slices; i++)
                sum += disk.slices[i].size_bytes;
        CHECK(disk.slices[2].size_bytes == 128 * MIB && sum == 515 * MIB + 4096);
        overflow_divide(&disk, 63 * MIB, false);
        CHECK(disk.n_slices == 1 && disk.slices[0].size_bytes == 63 * MIB);
        CHECK_TEXT(disk.slices[0].name, "vdb");
        overflow_divide(&digit, GIB, false);
        CHECK_TEXT(digit.slices[1].name, "nvme0n1p2");
        overflow_divide(&disk, UINT64_MAX, false); /* sizes come from the guest's kernel: any is borne */
        CHECK(disk.n_slices == 4);
}

static void no_more_slices_are_on_than_servers_have_room_for(void) {
        struct overflow_disk disk = four_slices(0);

        for (unsigned i = 0; i < 4; i++) { /* before the host has said anything, all */
                CHECK(decide(&disk, sight(100), i) == OVERFLOW_ON && slice == i);
                disk.slices[i].on = true;
        }
        CHECK(decide(&disk, sight(100), 4) == OVERFLOW_NOTHING);
        disk.room_bytes = 300 * MIB;
        disk.slices[0].used_bytes = disk.slices[1].used_bytes = MIB;
        CHECK(decide(&disk, sight(0), 5) == OVERFLOW_WITHDRAW && slice == 3); /* what is empty costs nothing */
        disk.slices[3].on = false;
        CHECK(decide(&disk, sight(0), 5) == OVERFLOW_WITHDRAW && slice == 2);
        disk.slices[2].on = false;
        CHECK(decide(&disk, sight(0), 5) == OVERFLOW_NOTHING);
        disk.room_bytes = 0;
        disk.slices[0].used_bytes = 40 * MIB;
        disk.slices[1].used_bytes = 20 * MIB;
        CHECK(decide(&disk, sight(40), 6) == OVERFLOW_NOTHING); /* its pages would have no place */
        CHECK(decide(&disk, sight(60), 7) == OVERFLOW_WITHDRAW && slice == 1);
        disk = one_slice(0); /* all or nothing: the servers refuse what they cannot hold */
        disk.room_bytes = 0;
        CHECK(decide(&disk, sight(100), 8) == OVERFLOW_NOTHING);
}

static void a_slice_comes_back_when_there_has_been_room_to_spare_for_a_while(void) {
        struct overflow_disk disk = four_slices(2);

        disk.slices[2].withdrawn = disk.slices[3].withdrawn = true;
        disk.room_bytes = 3 * 128 * MIB;
        CHECK(decide(&disk, sight(100), 10) == OVERFLOW_NOTHING && disk.roomy_usec == 0);
        disk.room_bytes += 32 * MIB;
        CHECK(decide(&disk, sight(100), 11) == OVERFLOW_NOTHING);
        disk.room_bytes -= 4096; /* counted anew */
        CHECK(decide(&disk, sight(100), 14) == OVERFLOW_NOTHING);
        disk.room_bytes += 4096;
        CHECK(decide(&disk, sight(100), 15) == OVERFLOW_NOTHING && decide(&disk, sight(100), 19) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 20) == OVERFLOW_ON && slice == 2);
        disk.slices[2].on = true;
        disk.slices[2].withdrawn = false;
        CHECK(decide(&disk, sight(100), 21) == OVERFLOW_NOTHING); /* no room for the last */
}

static void a_disk_that_is_left_is_empty(void) {
        char path[PATH_LENGTH], page[PAGE], zeroes[PAGE] = "";
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/left", directory);
        fd = open(path, O_RDWR | O_CREAT, 0600);
        REQUIRE(fd >= 0 && ftruncate(fd, 100 * PAGE) == 0);
        REQUIRE(swap_prepare(path, false) == 0);
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
        CHECK(swap_prepare(path, false) == -EEXIST && swap_erase(path) == -EEXIST);
        CHECK(swap_divide(path, (const uint64_t[]) { 50 * PAGE, 50 * PAGE }, 2) == -EEXIST);
        CHECK(pread(fd, text, 3, 512) == 3);
        CHECK_TEXT(text, "LVM");
}

static void pages_come_home_once_memory_has_sufficed_for_a_while(void) {
        struct overflow_disk disk = one_slice(50);

        CHECK(decide(&disk, sight(100), 100) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 104) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 105) == OVERFLOW_HOME);
        CHECK(decide(&disk, sight(60), 106) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 107) == OVERFLOW_NOTHING); /* counted anew */
        CHECK(decide(&disk, sight(100), 112) == OVERFLOW_HOME);
        disk.slices[0].used_bytes = 0;
        CHECK(decide(&disk, sight(100), 113) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 200) == OVERFLOW_NOTHING);
}

static void slices_come_home_one_after_the_other_and_each_once(void) {
        struct overflow_disk disk = four_slices(4);

        disk.slices[1].used_bytes = disk.slices[3].used_bytes = 20 * MIB;
        CHECK(decide(&disk, sight(60), 100) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(60), 105) == OVERFLOW_NOTHING); /* for both of them there is not enough */
        CHECK(decide(&disk, sight(70), 106) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(70), 111) == OVERFLOW_HOME && slice == 1);
        CHECK(decide(&disk, sight(70), 111) == OVERFLOW_HOME && slice == 3);
        CHECK(decide(&disk, sight(70), 112) == OVERFLOW_NOTHING); /* what went there meanwhile waits again */
        CHECK(decide(&disk, sight(70), 116) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(70), 121) == OVERFLOW_HOME && slice == 1);
}

static void a_disk_is_switched_on_and_tried_again_only_after_a_while(void) {
        struct overflow_disk disk = one_slice(0);

        disk.slices[0].on = false;
        CHECK(decide(&disk, sight(100), 100) == OVERFLOW_ON);
        disk.slices[0].failed_usec = 100 * SECOND;
        CHECK(decide(&disk, sight(100), 129) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 130) == OVERFLOW_ON);
        disk = one_slice(0);
        disk.leave_usec = 125 * SECOND;
        disk.slices[0].on = false;
        disk.failed_usec = 100 * SECOND; /* it could not be emptied */
        CHECK(decide(&disk, sight(100), 129) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 130) == OVERFLOW_LEAVE);
}

static void a_slice_that_fails_keeps_no_other_waiting(void) {
        struct overflow_disk disk = four_slices(4);
        unsigned tries = 0, home = 0;

        disk.slices[2].on = false; /* its first page is lost */
        disk.slices[3].used_bytes = 20 * MIB;
        for (usec_t now = 1000; now < 1100; now++) {
                enum overflow_step step = decide(&disk, sight(100), now);

                CHECK(step == OVERFLOW_NOTHING || slice == (step == OVERFLOW_ON ? 2 : 3));
                tries += step == OVERFLOW_ON;
                home += step == OVERFLOW_HOME;
                if (step == OVERFLOW_ON) {
                        disk.slices[2].failed_usec = now * SECOND;
                        disk.enough_usec = disk.n_home = 0;
                }
        }
        CHECK(tries == 4 && home > 4);
        disk = four_slices(3);
        disk.slices[2].failed_usec = 100 * SECOND; /* it could not be switched off */
        disk.room_bytes = 300 * MIB;
        CHECK(decide(&disk, sight(100), 101) == OVERFLOW_WITHDRAW && slice == 1);
        disk.slices[0].failed_usec = disk.slices[1].failed_usec = 100 * SECOND;
        CHECK(decide(&disk, sight(100), 101) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, sight(100), 130) == OVERFLOW_WITHDRAW && slice == 2);
}

static void coming_home_ends_where_memory_runs_short(void) {
        struct overflow_sight short_of = sight(10), enough = sight(30);
        struct overflow_disk disk = one_slice(50);

        short_of.coming_home = enough.coming_home = true;
        CHECK(decide(&disk, enough, 100) == OVERFLOW_NOTHING);
        CHECK(decide(&disk, short_of, 101) == OVERFLOW_STOP);
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
          TEST(a_disk_is_divided_where_its_slices_are_worth_it), TEST(no_more_slices_are_on_than_servers_have_room_for),
          TEST(a_slice_comes_back_when_there_has_been_room_to_spare_for_a_while),
          TEST(slices_come_home_one_after_the_other_and_each_once),
          TEST(a_slice_that_fails_keeps_no_other_waiting), TEST(tidy_up))
