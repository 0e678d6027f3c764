/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Resident memory out of a made-up /proc: the command line and smaps of a QEMU as files. */

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/memory/resident-survey.h"
#include "tests/unit/test.h"

#define PID 4711
#define WAIT_MSEC 10000

struct proc {
        char root[64], directory[96];
};

static void path_of(const struct proc *proc, const char *name, char path[static 160]) {
        snprintf(path, 160, "%s/%s", proc->directory, name);
}

static void write_file(const struct proc *proc, const char *name, const char *text, size_t n) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[160];

        path_of(proc, name, path);
        f = fopen(path, "we");
        REQUIRE(f != NULL);
        REQUIRE(fwrite(text, 1, n, f) == n);
}

static void proc_init(struct proc *proc) {
        strcpy(proc->root, "/tmp/failover-test-resident-XXXXXX");
        REQUIRE(mkdtemp(proc->root) != NULL);
        snprintf(proc->directory, sizeof(proc->directory), "%s/%d", proc->root, PID);
        REQUIRE(mkdir(proc->directory, 0700) == 0);
}

static void proc_deinit(struct proc *proc) {
        char path[160];

        path_of(proc, "cmdline", path);
        unlink(path);
        path_of(proc, "smaps", path);
        unlink(path);
        rmdir(proc->directory);
        rmdir(proc->root);
}

#define OBJECT(id, size) \
        "-object\0{\"qom-type\":\"memory-backend-ram\",\"id\":\"" id "\",\"reserve\":false,\"size\":" #size "}\0"
#define HEAD \
        "/usr/bin/qemu-system-x86_64\0-name\0guest=a,debug-threads=on\0" \
        "-object\0{\"qom-type\":\"secret\",\"id\":\"masterKey0\"}\0"
#define NODES OBJECT("ram-node0", 192937984) OBJECT("ram-node1", 4194304) OBJECT("ram-node2", 4194304)
#define DEVICES OBJECT("memua-db", 134217728) OBJECT("memua-web", 134217728)

#define MAP(range, modes, inode, path, rss) \
        range " " modes " 00000000 00:01 " inode "                   " path "\nSize: 1 kB\nRss: " rss \
              " kB\nPss: 77777 kB\n"

/* In the order of addresses; what QEMU maps first is highest. */
#define PROGRAM MAP("5632c9d5e000-5632ca165000", "r--p", "10977398", "/usr/bin/qemu-system-x86_64", "4124") \
                MAP("5632e0bd9000-5632e25d3000", "rw-p", "0", "[heap]", "5820")
#define CODE MAP("7f2620000000-7f265ffff000", "rwxp", "0", "", "53248") /* not a guest's, whatever its size */
#define GUARD(range) MAP(range, "---p", "0", "", "0")
#define GUARD_WEB GUARD("7f260c200000-7f260c201000")
#define GUARD_DB GUARD("7f2614400000-7f2614401000")
#define WEB MAP("7f2604200000-7f260c200000", "rw-p", "0", "", "32768") GUARD_WEB
#define DB MAP("7f260c400000-7f2614400000", "rw-p", "0", "", "98304") GUARD_DB
#define NODE0 MAP("7f2614600000-7f261fe00000", "rw-p", "0", "", "129024") GUARD("7f261fe00000-7f261fe01000")
#define NODE1 MAP("7f2666400000-7f2666800000", "rw-p", "0", "", "4096") GUARD("7f2666800000-7f2666801000")
#define NODE1_2 NODE1 MAP("7f2666a00000-7f2666e00000", "rw-p", "0", "", "2048") GUARD("7f2666e00000-7f2666e01000")

#define TOTAL_KIB (4124 + 5820 + 53248 + 32768 + 98304 + 129024 + 4096 + 2048)

static const struct app_names names = { { "db", "web" } };

static int read_with(const char *cmdline, size_t n, const char *smaps, struct resident_parts *ret) {
        struct proc proc;
        int r;

        proc_init(&proc);
        write_file(&proc, "cmdline", cmdline, n);
        write_file(&proc, "smaps", smaps, strlen(smaps));
        r = resident_read_parts(proc.directory, &names, ret);
        proc_deinit(&proc);
        return r;
}

#define READ(cmdline, smaps, ret) read_with(cmdline, sizeof(cmdline) - 1, smaps, ret)

static bool is_kib(struct resident_part part, uint64_t kib) {
        return part.known && part.bytes == kib * KIB;
}

static void parts_are_told_apart_and_add_up(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES DEVICES, PROGRAM WEB DB NODE0 CODE NODE1_2, &parts) == 0);
        CHECK(parts.total_bytes == TOTAL_KIB * KIB);
        CHECK(is_kib(parts.system, 129024 + 4096 + 2048));
        CHECK(is_kib(parts.apps[0], 98304));
        CHECK(is_kib(parts.apps[1], 32768));
        CHECK(is_kib(parts.overhead, 4124 + 5820 + 53248));
        CHECK(parts.system.bytes + parts.apps[0].bytes + parts.apps[1].bytes + parts.overhead.bytes ==
              parts.total_bytes);
        CHECK(!parts.apps[2].known);
}

static void memory_files_are_told_apart_by_their_numbers(void) {
        struct resident_parts parts;

        /* by address it would be the other way around */
        REQUIRE(READ(HEAD NODES DEVICES,
                     PROGRAM MAP("7f2604200000-7f260c200000", "rw-s", "1030", "/memfd:memory-backend-memfd (deleted)",
                                 "1000") GUARD_WEB MAP("7f260c400000-7f2614400000", "rw-s", "1031",
                                                       "/memfd:memory-backend-memfd (deleted)", "2000")
                             GUARD_DB NODE0 NODE1_2,
                     &parts) == 0);
        CHECK(is_kib(parts.apps[0], 1000));
        CHECK(is_kib(parts.apps[1], 2000));
}

static void what_the_kernel_has_split_is_one_again(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES DEVICES,
                     PROGRAM WEB MAP("7f260c400000-7f260d400000", "rw-p", "0", "", "1000")
                     MAP("7f260d400000-7f2614400000", "rw-p", "0", "", "500") GUARD_DB NODE0 NODE1_2, &parts) == 0);
        CHECK(is_kib(parts.apps[0], 1500));
        CHECK(parts.overhead.known);
}

static void neighbours_and_blocks_without_a_guard_are_others(void) {
        struct resident_parts parts;

        /* what touches the block from below, and an allocation of QEMU's that happens to have a node's size */
        REQUIRE(READ(HEAD NODES DEVICES,
                     PROGRAM MAP("7f2500000000-7f2500400000", "rw-p", "0", "", "10")
                     MAP("7f2604100000-7f2604200000", "rw-p", "0", "", "20") WEB DB NODE0 NODE1_2, &parts) == 0);
        CHECK(is_kib(parts.apps[1], 32768));
        CHECK(is_kib(parts.system, 129024 + 4096 + 2048));
        CHECK(is_kib(parts.overhead, 4124 + 5820 + 10 + 20));
}

static void huge_pages_count(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES DEVICES,
                     PROGRAM WEB MAP("7f260c400000-7f2614400000", "rw-p", "0", "",
                                     "0") "Private_Hugetlb: 4096 kB\n" GUARD_DB NODE0 NODE1_2,
                     &parts) == 0);
        CHECK(is_kib(parts.apps[0], 4096));
}

static void what_is_paged_out_is_told_apart_from_what_is_not_there(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES DEVICES,
                     PROGRAM WEB MAP("7f260c400000-7f260d400000", "rw-s", "1031", "/memfd:ram (deleted)",
                                     "1000") "Swap: 96 kB\nSwapPss: 7 kB\n"
                     MAP("7f260d400000-7f2614400000", "rw-s", "1031", "/memfd:ram (deleted)", "0") "Swap: 4000 kB\n"
                     GUARD_DB NODE0 NODE1_2, &parts) == 0);
        CHECK(!parts.apps[0].known && !parts.apps[1].known); /* one anonymous, one a file: which is which? */
        REQUIRE(READ(HEAD NODES OBJECT("memua-db", 134217728),
                     PROGRAM MAP("7f260c400000-7f260d400000", "rw-s", "1031", "/memfd:ram (deleted)",
                                 "1000") "Swap: 96 kB\nSwapPss: 7 kB\n"
                     MAP("7f260d400000-7f2614400000", "rw-s", "1031", "/memfd:ram (deleted)", "0") "Swap: 4000 kB\n"
                     GUARD_DB NODE0 NODE1_2, &parts) == 0);
        CHECK(is_kib(parts.apps[0], 1000));
        CHECK(parts.apps[0].swapped_bytes == 4096 * KIB);
        REQUIRE(READ(HEAD NODES DEVICES, PROGRAM WEB DB NODE0 NODE1_2, &parts) == 0);
        CHECK(parts.apps[0].swapped_bytes == 0);
}

static void one_mapping_too_many_is_unknown_and_not_guessed(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES DEVICES,
                     PROGRAM MAP("7f2500000000-7f2508000000", "rw-p", "0", "", "10")
                     GUARD("7f2508000000-7f2508001000") WEB DB NODE0 NODE1_2, &parts) == 0);
        CHECK(!parts.apps[0].known && !parts.apps[1].known && !parts.overhead.known);
        CHECK(is_kib(parts.system, 129024 + 4096 + 2048));
}

static void a_missing_mapping_is_unknown(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES DEVICES, PROGRAM WEB DB NODE1_2, &parts) == 0);
        CHECK(!parts.system.known && !parts.overhead.known);
        CHECK(is_kib(parts.apps[0], 98304));
}

static void a_device_plugged_later_is_unknown_and_so_is_the_overhead(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD NODES OBJECT("memua-db", 134217728), PROGRAM DB NODE0 NODE1_2, &parts) == 0);
        CHECK(is_kib(parts.apps[0], 98304));
        CHECK(!parts.apps[1].known && !parts.overhead.known);
}

static void memory_of_no_application_is_the_systems(void) {
        struct resident_parts parts;

        REQUIRE(READ(HEAD OBJECT("pc.ram", 192937984) DEVICES OBJECT("memdimm0", 4194304),
                     PROGRAM WEB DB NODE0 MAP("7f2666400000-7f2666800000", "rw-p", "0", "", "64")
                     GUARD("7f2666800000-7f2666801000"), &parts) == 0);
        CHECK(is_kib(parts.system, 129024 + 64));
        CHECK(parts.overhead.known);
}

static void files_of_no_use_are_refused(void) {
        struct resident_parts parts;
        struct proc proc;

        CHECK(READ(HEAD, PROGRAM, &parts) == -EBADMSG);
        CHECK(READ("", PROGRAM, &parts) == -EBADMSG);
        CHECK(READ(HEAD NODES, "", &parts) == -ESRCH);
        CHECK(READ(HEAD NODES, "nonsense\n", &parts) == -EBADMSG);
        proc_init(&proc);
        CHECK(resident_read_parts(proc.directory, &names, &parts) == -ENOENT);
        proc_deinit(&proc);
}

static bool wait_for(struct resident_survey *survey) {
        for (int i = 0; resident_survey_working(survey) && i < WAIT_MSEC; i++)
                poll(NULL, 0, 1);
        return !resident_survey_working(survey);
}

static void a_survey_answers_for_each_process(void) {
        struct resident_question questions[] = { { PID, "a", names }, { PID + 1, "b", names } };
        static const char cmdline[] = HEAD NODES DEVICES;
        struct resident_survey *survey = NULL;
        struct resident_answer answer;
        struct proc proc;

        proc_init(&proc);
        write_file(&proc, "cmdline", cmdline, sizeof(cmdline) - 1);
        write_file(&proc, "smaps", PROGRAM WEB DB NODE0 NODE1_2, strlen(PROGRAM WEB DB NODE0 NODE1_2));
        REQUIRE(resident_survey_new(proc.root, NULL, &survey) == 0);
        CHECK(resident_survey_find(survey, RESIDENT_COUNTED, PID, &answer) == -ENOENT);
        CHECK(resident_survey_begin(survey, questions, 0, 1) == 0);
        REQUIRE(resident_survey_begin(survey, questions, 2, 1) == 1);
        REQUIRE(wait_for(survey));
        REQUIRE(resident_survey_find(survey, RESIDENT_COUNTED, PID, &answer) == 0);
        CHECK(answer.result == 0 && answer.seen_usec > 0 && is_kib(answer.parts.apps[0], 98304));
        REQUIRE(resident_survey_find(survey, RESIDENT_COUNTED, PID + 1, &answer) == 0);
        CHECK(answer.result == -ENOENT);
        CHECK(resident_survey_begin(survey, questions, 2, 1) == 0); /* too soon */
        CHECK(resident_survey_begin(survey, questions, 2, USEC_INFINITY) == 1);
        CHECK(resident_survey_begin(survey, questions, 2, USEC_INFINITY) >= 0);
        survey = resident_survey_free(survey); /* while it may be at work */
        proc_deinit(&proc);
}

TEST_MAIN("resident",
          TEST(parts_are_told_apart_and_add_up),
          TEST(memory_files_are_told_apart_by_their_numbers),
          TEST(what_the_kernel_has_split_is_one_again),
          TEST(neighbours_and_blocks_without_a_guard_are_others),
          TEST(huge_pages_count),
          TEST(what_is_paged_out_is_told_apart_from_what_is_not_there),
          TEST(one_mapping_too_many_is_unknown_and_not_guessed),
          TEST(a_missing_mapping_is_unknown),
          TEST(a_device_plugged_later_is_unknown_and_so_is_the_overhead),
          TEST(memory_of_no_application_is_the_systems),
          TEST(files_of_no_use_are_refused),
          TEST(a_survey_answers_for_each_process))
