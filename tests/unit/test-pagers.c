/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is seen of a pager, and that one which cannot be seen is not taken for dead. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/children/pager-parameters.h"
#include "daemon/host/children/pagers.h"
#include "tests/unit/test.h"

static char directory[] = "/tmp/test-pagers-XXXXXX", nbdkit[64];
static struct pagers *pagers;
static sd_event *loop;

static const char *path_of(const char *relative) {
        static char path[256];

        snprintf(path, sizeof(path), "%s/pagers/%s", directory, relative);
        return path;
}

static void begin(void) {
        struct pagers_options options = { .user = true, .runtime_dir = directory, .service_dir = directory,
                                          .nbdkit = nbdkit, .plugin = "plugin" };
        struct error error = ERROR_INIT;
        FILE *f;

        REQUIRE(mkdtemp(directory) != NULL && sd_event_new(&loop) >= 0);
        snprintf(nbdkit, sizeof(nbdkit), "%s/nbdkit", directory);
        f = fopen(nbdkit, "w");
        REQUIRE(f && fputs("#!/bin/sh\nexec env\n", f) >= 0 && fclose(f) == 0 && chmod(nbdkit, 0700) == 0);
        REQUIRE(pagers_new(loop, &options, &pagers, &error) == 0);
        REQUIRE(mkdir(path_of("vm-a"), 0700) == 0);
        REQUIRE(pagers_configure(pagers, "vm-a", "size=1GiB\n") == 0);
}

/* A process that lives as a pager does: with the lock. */
static pid_t live(void) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
        int ready[2], fd;
        char c = 0;
        pid_t pid;

        REQUIRE(pipe(ready) == 0);
        pid = fork();
        if (pid == 0) {
                fd = open(path_of("vm-a/alive"), O_RDWR | O_CREAT, 0600);
                if (fd < 0 || fcntl(fd, F_SETLK, &lock) < 0 || write(ready[1], "", 1) != 1)
                        _exit(1);
                for (;;)
                        pause();
        }
        close(ready[1]);
        REQUIRE(pid > 0 && read(ready[0], &c, 1) == 1);
        close(ready[0]);
        return pid;
}

static struct pager_status look(void) {
        struct pager_status status;

        pagers_look(pagers, "vm-a", "size=1GiB\n", &status);
        return status;
}

static void a_pager_lives_for_as_long_as_it_has_the_lock(void) {
        struct pager_status status = look();
        pid_t pid;

        CHECK(status.known == 0 && status.configured && status.current && !status.alive);
        pid = live();
        status = look();
        CHECK(status.known == 0 && status.alive && status.pid == pid);
        CHECK(pagers_start(pagers, "vm-a") == -EEXIST);
        CHECK(pagers_forget(pagers, "vm-a") == -EBUSY);
        CHECK(pagers_end(pagers, "vm-a") == 0);
        REQUIRE(waitpid(pid, NULL, 0) == pid);
        status = look();
        CHECK(status.known == 0 && !status.alive);
}

static void a_pager_that_cannot_be_looked_at_is_not_taken_for_dead(void) {
        struct rlimit before, none;
        struct pager_status status;
        pid_t pid = live();

        REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
        none = (struct rlimit) { .rlim_cur = 0, .rlim_max = before.rlim_max };
        REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
        status = look();
        CHECK(status.known == -EMFILE && !status.current);
        CHECK(pagers_start(pagers, "vm-a") == -EMFILE);
        CHECK(pagers_forget(pagers, "vm-a") == -EMFILE);
        CHECK(pagers_end(pagers, "vm-a") == -EMFILE);
        REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
        CHECK(access(path_of("vm-a/alive"), F_OK) == 0 && access(path_of("vm-a.conf"), F_OK) == 0);
        status = look();
        CHECK(status.known == 0 && status.alive && status.current && status.pid == pid);

        kill(pid, SIGKILL);
        REQUIRE(waitpid(pid, NULL, 0) == pid);
        CHECK(pagers_forget(pagers, "vm-a") == 0);
        CHECK(access(path_of("vm-a"), F_OK) < 0 && access(path_of("vm-a.conf"), F_OK) < 0);
}

/* `more` is further members, each with a comma behind it. */
static void tell_status(usec_t boottime_usec, usec_t time_usec, const char *more) {
        _cleanup_fclose_ FILE *f = fopen(path_of("vm-a/status"), "we");

        REQUIRE(f != NULL);
        fprintf(f, "{\"state\": \"recovering\", \"clients\": 1, \"waiting\": 2, \"held_bytes\": 4096, %s"
                   "\"boottime_usec\": %llu, \"time_usec\": %llu}\n", more,
                (unsigned long long) boottime_usec, (unsigned long long) time_usec);
}

static void the_age_of_what_a_pager_told_is_of_a_clock_that_nobody_sets(void) {
        pid_t pid = live();
        struct pager_status status;

        tell_status(clock_usec(CLOCK_BOOTTIME), 1, "");
        status = look();
        CHECK(status.fresh && status.recovering && status.waiting == 2 && status.held_bytes == 4096);
        tell_status(1, clock_usec(CLOCK_REALTIME), "");
        status = look();
        CHECK(!status.fresh && status.held_bytes == 4096);
        tell_status(0, clock_usec(CLOCK_REALTIME), ""); /* an older pager tells no other */
        CHECK(look().fresh);
        kill(pid, SIGKILL);
        REQUIRE(waitpid(pid, NULL, 0) == pid);
}

#define RUN(offset, length) "{\"offset\": " #offset ", \"length\": " #length "}"

static void which_pages_are_lost_is_told_as_far_as_there_is_room(void) {
        static const struct {
                const char *runs, *told;
        } cases[] = {
                { "[]", "" },
                { "{}", "" },
                { "[" RUN(0, 16384) "]", "KiB 0-15" },
                { "[" RUN(0, 16384) ", " RUN(65536, 4096) "]", "KiB 0-15, 64-67" },
                { "[" RUN(1073741824, 4096) ", " RUN(2147483648, 4096) ", " RUN(4294967296, 4096) "]",
                  "KiB 1048576-1048579, 2097152-2097155, ..." },
                { "[7, " RUN(18446744073709551615, 1) ", " RUN(18446744073709551615, 18446744073709551615) "]", NULL },
        };
        pid_t pid = live();

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                char more[512];
                struct pager_status status;

                snprintf(more, sizeof(more), "\"lost_bytes\": 4096, \"lost\": %s, ", cases[i].runs);
                tell_status(clock_usec(CLOCK_BOOTTIME), 1, more);
                status = look();
                CHECK(status.lost_bytes == 4096 && strlen(status.lost) < PAGER_LOST_LEN);
                if (cases[i].told)
                        CHECK_TEXT(status.lost, cases[i].told);
        }
        kill(pid, SIGKILL);
        REQUIRE(waitpid(pid, NULL, 0) == pid);
}

/* What it logs and what it inherits, told by a stand-in for nbdkit. */
static void a_pager_gets_little_of_the_environment_and_its_log_stays_small(void) {
        char text[4096] = "";
        _cleanup_close_ int fd = -1;
        siginfo_t ended;
        struct stat st;

        REQUIRE(setenv("FAILOVER_TEST_SECRET", "x", 1) == 0 && setenv("LD_BIND_NOW", "1", 1) == 0);
        REQUIRE(pagers_configure(pagers, "vm-a", "size=1GiB\n") == 0 && pagers_start(pagers, "vm-a") == 0);
        REQUIRE(waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT) == 0); /* pagers.c waits for it */
        fd = open(path_of("vm-a/log"), O_RDWR | O_APPEND);
        REQUIRE(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
        CHECK(strstr(text, "PATH=") != NULL);
        CHECK(strstr(text, "FAILOVER_TEST_SECRET") == NULL && strstr(text, "LD_BIND_NOW") == NULL);
        REQUIRE(ftruncate(fd, 2 << 20) == 0);
        (void) look();
        CHECK(fstat(fd, &st) == 0 && st.st_size == 0);
}

static void what_can_wait_is_told_from_what_cannot(void) {
        static const char old[] = "node=n\nowner=vm-a\nspace=vm.overflow\nsize=1GiB\nmirror=yes\n"
                                  "server=/c1,nbd://one\nserver=/c2,nbd://two\npsk=/a\ntls-required=yes\n";

        CHECK(pager_parameters_bear(old, old));
        CHECK(pager_parameters_bear(old, "node=n\nowner=vm-a\nspace=vm.overflow\nsize=1GiB\nmirror=yes\nnew-key=7\n"
                                         "server=/c2,nbd://elsewhere\nserver=/c1,nbd://one\npsk=/b\n"));
        CHECK(!pager_parameters_bear(old, "node=n\nowner=vm-a\nspace=vm.overflow\nsize=2GiB\nmirror=yes\n"
                                          "server=/c1,nbd://one\nserver=/c2,nbd://two\n"));
        CHECK(!pager_parameters_bear(old, "node=n\nowner=vm-a\nspace=vm.overflow\nsize=1GiB\nmirror=yes\n"
                                          "server=/c1,nbd://one\n"));
        CHECK(!pager_parameters_bear(old, "node=n\nowner=vm-a\nspace=vm.overflow\nsize=1GiB\nmirror=yes\n"
                                          "server=/c1,nbd://one\nserver=/c2,nbd://two\nserver=/c3,nbd://x\n"));
}

static void end(void) {
        char command[128];

        pagers_free(pagers);
        sd_event_unref(loop);
        snprintf(command, sizeof(command), "rm -rf %s", directory);
        CHECK(system(command) == 0);
}

TEST_MAIN("pagers", TEST(begin), TEST(a_pager_lives_for_as_long_as_it_has_the_lock),
          TEST(the_age_of_what_a_pager_told_is_of_a_clock_that_nobody_sets),
          TEST(which_pages_are_lost_is_told_as_far_as_there_is_room),
          TEST(a_pager_that_cannot_be_looked_at_is_not_taken_for_dead),
          TEST(a_pager_gets_little_of_the_environment_and_its_log_stays_small),
          TEST(what_can_wait_is_told_from_what_cannot), TEST(end))
