/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the standby of a VM keeps is what it reads again, and one that lives is not started twice. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/alive.h"
#include "daemon/host/standbys.h"
#include "tests/unit/test.h"

static char directory[] = "/tmp/test-standbys-XXXXXX", program[64], dir[64];
static sd_event *loop;

static const char *path_of(const char *name) {
        static char path[128];

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        return path;
}

/* A program that only says that it was started, into its log. */
static void begin(void) {
        FILE *f;

        REQUIRE(mkdtemp(directory) != NULL && sd_event_new(&loop) >= 0);
        snprintf(program, sizeof(program), "%s/program", directory);
        snprintf(dir, sizeof(dir), "%s/standbys/a", directory);
        f = fopen(program, "w");
        REQUIRE(f && fputs("#!/bin/sh\necho \"$@\"\n", f) >= 0 && fclose(f) == 0 && chmod(program, 0700) == 0);
}

static struct standbys *new_standbys(void) {
        const struct standbys_options options = { .user = true, .runtime_dir = directory, .service_dir = directory,
                                                  .program = program, .policy_path = "/p" };
        struct standbys *standbys = NULL;

        REQUIRE(standbys_new(loop, &options, &standbys, NULL) == 0);
        return standbys;
}

static void what_is_kept_is_read_again(void) {
        struct standbys *standbys = new_standbys();
        struct standby_document read = { 0 }, written = {
                .domain = "a",
                .record = { .run = UINT64_MAX, .slot = 1, .seen_usec = 7, .taken_usec = 8, .wanted = true,
                            .wanted_usec = 9, .held = true, .flaps_usec = { 10, 11 }, .n_flaps = 2, .failovers = 12 },
                .time_usec = 13, .vm = ALONE_LOST, .state = STANDBY_HELD, .every_usec = 14, .took_usec = 15,
                .decided_usec = 16, .running_usec = 17, .lost_usec = 18, .doing = "saving", .text = "what is wrong",
        };
        int fd;

        REQUIRE(mkdir(dir, 0700) == 0);
        CHECK(standbys_read(standbys, "a", &read) == -ENOENT);
        REQUIRE(standby_document_write(dir, &written, NULL) == 0);
        REQUIRE(standbys_read(standbys, "a", &read) == 0);
        CHECK(memcmp(&read, &written, sizeof(read)) == 0);
        written = (struct standby_document) { .domain = "b", .time_usec = 1 };
        REQUIRE(standby_document_write(dir, &written, NULL) == 0);
        CHECK(standbys_read(standbys, "a", &read) == -EBADMSG); /* another VM's */
        fd = open(path_of(STANDBY_DOCUMENT_FILE), O_WRONLY | O_TRUNC);
        REQUIRE(fd >= 0 && write(fd, "{\"domain\":\"a\"", 13) == 13 && close(fd) == 0);
        CHECK(standbys_read(standbys, "a", &read) < 0 && read.record.failovers == 12);
        standbys_free(standbys);
}

static bool was_started(void) {
        return access(path_of("log"), F_OK) == 0;
}

static void one_that_lives_is_not_started_twice(void) {
        struct standbys *standbys = new_standbys();
        int tell[2], child;
        char byte = 0;

        REQUIRE(pipe(tell) == 0);
        child = fork();
        if (child == 0) { /* the one that lives */
                close(tell[0]);
                byte = alive_take(path_of(STANDBY_ALIVE_FILE)) == 0;
                _exit(write(tell[1], &byte, 1) == 1 ? pause() : 1);
        }
        REQUIRE(child > 0 && read(tell[0], &byte, 1) == 1 && byte == 1);
        CHECK(alive_holder(path_of(STANDBY_ALIVE_FILE)) == child);
        CHECK(alive_take(path_of(STANDBY_ALIVE_FILE)) == -EBUSY);
        CHECK(standbys_keep(standbys, "a") == 0 && !was_started());
        REQUIRE(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
        CHECK(standbys_keep(standbys, "a") == 0 && was_started());
        standbys_free(standbys);
        while (waitpid(-1, NULL, 0) > 0) /* until it has ended */
                ;
        close(tell[0]);
        close(tell[1]);
}

static void end(void) {
        static const char *const files[] = { "standbys/a/log", "standbys/a/alive", "standbys/a/standby.json",
                                             "program" };
        char path[128];

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                snprintf(path, sizeof(path), "%s/%s", directory, files[i]);
                CHECK(unlink(path) == 0);
        }
        CHECK(rmdir(dir) == 0);
        snprintf(path, sizeof(path), "%s/standbys", directory);
        CHECK(rmdir(path) == 0 && rmdir(directory) == 0);
        sd_event_unref(loop);
}

TEST_MAIN("standbys", TEST(begin), TEST(what_is_kept_is_read_again), TEST(one_that_lives_is_not_started_twice),
          TEST(end))
