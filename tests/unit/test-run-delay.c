/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Waiting for a processor, out of a made-up /proc, and out of the real one. */

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/run-delay.h"
#include "tests/unit/test.h"

#define PID 77

static char root[64];

static void write_text(int tid, const char *name, const char *text) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[160];

        snprintf(path, sizeof(path), "%s/%d/task/%d", root, PID, tid);
        REQUIRE(mkdir(path, 0700) == 0 || errno == EEXIST);
        snprintf(path, sizeof(path), "%s/%d/task/%d/%s", root, PID, tid, name);
        f = fopen(path, "we");
        REQUIRE(f != NULL && fputs(text, f) >= 0);
}

static void begin(void) {
        char path[160];

        strcpy(root, P_tmpdir "/test-run-delay-XXXXXX");
        REQUIRE(mkdtemp(root) != NULL);
        snprintf(path, sizeof(path), "%s/%d", root, PID);
        REQUIRE(mkdir(path, 0700) == 0);
        strcat(path, "/task");
        REQUIRE(mkdir(path, 0700) == 0);
}

static void end(void) {
        char command[160];

        snprintf(command, sizeof(command), "rm -r %s", root);
        CHECK(system(command) == 0);
}

static void the_thread_that_waited_most_counts(void) {
        struct run_delay delay = { 0 };
        usec_t waited = 1;

        begin();
        write_text(77, "schedstat", "1000000 5000000 7\n");
        write_text(78, "schedstat", "1000000 90000000 7\n");
        write_text(78, "stat", "78 (CPU 0/TCG) R 1 77\n");
        REQUIRE(run_delay_look(&delay, root, PID, &waited) == 0);
        CHECK(waited == 0); /* there is nothing to compare with yet */
        write_text(77, "schedstat", "1000000 8000000 7\n");
        write_text(78, "schedstat", "1000001 92000000 7\n");
        write_text(79, "schedstat", "1000001 99000000 7\n"); /* a new one: how long it has been there is not known */
        REQUIRE(run_delay_look(&delay, root, PID, &waited) == 0);
        CHECK(waited == 3000);
        end();
}

static void a_ready_thread_of_which_nothing_is_told_has_waited_all_the_time(void) {
        struct run_delay delay = { 0 };
        usec_t waited = 0, before;

        begin();
        write_text(77, "schedstat", "1000000 5000000 7\n");
        write_text(77, "stat", "77 (a) ) R (b) S 1 77\n"); /* its name tries to look ready; it sleeps */
        REQUIRE(run_delay_look(&delay, root, PID, &waited) == 0);
        before = delay.seen_usec;
        while (clock_usec(CLOCK_MONOTONIC) == before) {}
        REQUIRE(run_delay_look(&delay, root, PID, &waited) == 0);
        CHECK(waited == 0);
        write_text(77, "stat", "77 (a) R 1 77\n");
        before = delay.seen_usec;
        while (clock_usec(CLOCK_MONOTONIC) == before) {}
        REQUIRE(run_delay_look(&delay, root, PID, &waited) == 0);
        CHECK(waited == delay.seen_usec - before && waited > 0);
        end();
}

static void files_of_no_use_are_errors(void) {
        struct run_delay delay = { 0 };
        usec_t waited = 5;

        begin();
        CHECK(run_delay_look(&delay, root, PID, &waited) == -ESRCH);
        write_text(77, "schedstat", "garbage\n");
        CHECK(run_delay_look(&delay, root, PID, &waited) == -ESRCH);
        CHECK(run_delay_look(&delay, root, PID + 1, &waited) == -ENOENT);
        CHECK(waited == 5 && delay.seen_usec == 0);
        end();
}

/* Two that want the same processor: each waits while the other runs. */
static void the_kernel_tells_who_waits(void) {
        usec_t until_usec = clock_usec(CLOCK_MONOTONIC) + 20 * USEC_PER_SEC, waited = 0;
        struct run_delay delay = { 0 };
        pid_t pids[2];
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET(0, &one);
        for (int i = 0; i < 2; i++) {
                pids[i] = fork();
                REQUIRE(pids[i] >= 0);
                if (pids[i] == 0) {
                        sched_setaffinity(0, sizeof(one), &one);
                        for (;;) {}
                }
        }
        while (waited == 0 && clock_usec(CLOCK_MONOTONIC) < until_usec) {
                REQUIRE(run_delay_look(&delay, "/proc", pids[0], &waited) == 0);
                sched_yield();
        }
        CHECK(waited > 0);
        for (int i = 0; i < 2; i++) {
                kill(pids[i], SIGKILL);
                CHECK(waitpid(pids[i], NULL, 0) == pids[i]);
        }
}

TEST_MAIN("run-delay",
          TEST(the_thread_that_waited_most_counts),
          TEST(a_ready_thread_of_which_nothing_is_told_has_waited_all_the_time),
          TEST(files_of_no_use_are_errors),
          TEST(the_kernel_tells_who_waits))
