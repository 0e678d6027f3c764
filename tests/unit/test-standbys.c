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
#include "daemon/host/children/standbys.h"
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
                                                  .state_dir = directory, .program = program, .policy_path = "/p" };
        struct standbys *standbys = NULL;

        REQUIRE(standbys_new(loop, &options, &standbys, NULL) == 0);
        return standbys;
}

static void what_is_kept_is_read_again(void) {
        struct standbys *standbys = new_standbys();
        struct standby_document read = { 0 }, written = {
                .domain = "a",
                .record = { .run = UINT64_MAX, .slot = 1, .seen_usec = 7, .taken_usec = 8, .wanted = true,
                            .saved_usec = 19, .other_taken_usec = 20, .other_saved_usec = 21, .aside = true,
                            .resumed_usec = 22, .wanted_usec = 9, .held = true,
                            .flaps_usec = { 10, 11 }, .n_flaps = 2, .failovers = 12 },
                .time_usec = 13, .vm = ALONE_LOST, .state = STANDBY_HELD, .every_usec = 14, .took_usec = 15,
                .decided_usec = 16, .running_usec = 17, .lost_usec = 18, .copies = 2, .kept_usec = 23,
                .flaps_left = 3, .hears_panic = true, .hears_hang = true, .doing = "saving", .text = "what is wrong",
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

static void write_events(struct standby_events *events, const char *text) {
        standby_events_add(events, NEWS_HELD, text, 100);
        REQUIRE(standby_events_write(dir, events, false, NULL) == 0);
}

static void what_was_told_is_read_once(void) {
        struct standbys *standbys = new_standbys();
        static struct standby_events events = { .domain = "a" }, read;
        struct stat seen = { 0 };

        CHECK(standbys_read_events(standbys, "a", &seen, &read) == -ENOENT);
        write_events(&events, "one\nof two lines");
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == 1 && memcmp(&read, &events, sizeof(read)) == 0);
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == 0);
        write_events(&events, "another"); /* its time is its name: the clock may have stood still, or gone back */
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == 1 && read.n_events == 2);
        CHECK(read.events[1].time_usec == 101 && strcmp(read.events[1].text, "another") == 0);
        for (int i = 0; i < STANDBY_EVENTS_MAX; i++)
                write_events(&events, "more");
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == 1 && read.n_events == STANDBY_EVENTS_MAX);
        CHECK(read.events[0].time_usec == 102 && strcmp(read.events[0].text, "more") == 0);
        read.events[5].time_usec = read.events[4].time_usec;
        REQUIRE(standby_events_write(dir, &read, true, NULL) == 0);
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == -EBADMSG);
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == 0); /* and said once */
        snprintf(events.domain, sizeof(events.domain), "b");
        write_events(&events, "another VM's");
        CHECK(standbys_read_events(standbys, "a", &seen, &read) == -EBADMSG);
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
                                             "standbys/a/events.json",
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

TEST_MAIN("standbys", TEST(begin), TEST(what_is_kept_is_read_again), TEST(what_was_told_is_read_once),
          TEST(one_that_lives_is_not_started_twice),
          TEST(end))
