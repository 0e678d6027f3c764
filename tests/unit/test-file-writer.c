/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/store/file-writer.h"
#include "tests/unit/test.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC)

struct bench {
        sd_event *loop;
        struct file_writer *writer;
        char root[64], path[96], temporary[104];
        unsigned n_done;
        int result;
        char text[512];
};

static void on_done(void *userdata, int result, const char *text) {
        struct bench *bench = userdata;

        bench->n_done++;
        bench->result = result;
        snprintf(bench->text, sizeof(bench->text), "%s", text);
}

static void bench_init(struct bench *bench) {
        *bench = (struct bench) { 0 };
        strcpy(bench->root, P_tmpdir "/test-file-writer-XXXXXX");
        REQUIRE(mkdtemp(bench->root) != NULL);
        snprintf(bench->path, sizeof(bench->path), "%s/policy.yaml", bench->root);
        snprintf(bench->temporary, sizeof(bench->temporary), "%s.new", bench->path);
        REQUIRE(sd_event_new(&bench->loop) >= 0);
        REQUIRE(file_writer_new(bench->loop, &bench->writer) == 0);
}

static void bench_deinit(struct bench *bench) {
        file_writer_free(bench->writer);
        sd_event_unref(bench->loop);
        (void) unlink(bench->temporary);
        (void) unlink(bench->path);
        (void) rmdir(bench->root);
}

static int begin(struct bench *bench, const char *text, usec_t timeout_usec) {
        return file_writer_begin(bench->writer, bench->path, text, timeout_usec, on_done, bench);
}

/* Until `n` writes have ended, in all. */
static int end(struct bench *bench, unsigned n) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;

        while (bench->n_done < n && clock_usec(CLOCK_MONOTONIC) < until)
                (void) sd_event_run(bench->loop, 100 * USEC_PER_MSEC);
        REQUIRE(bench->n_done == n);
        return bench->result;
}

static void check_content(const struct bench *bench, const char *expected) {
        _cleanup_fclose_ FILE *f = fopen(bench->path, "re");
        char text[128] = "";

        REQUIRE(f != NULL);
        (void) fread(text, 1, sizeof(text) - 1, f);
        CHECK_TEXT(text, expected);
}

static void file_is_replaced_as_a_whole_and_nothing_is_left_beside_it(void) {
        struct bench bench;

        bench_init(&bench);
        CHECK(begin(&bench, "a long first text\n", PATIENCE_USEC) == 0);
        CHECK(begin(&bench, "too soon\n", PATIENCE_USEC) == -EBUSY);
        CHECK(end(&bench, 1) == 0);
        CHECK_TEXT(bench.text, "");
        check_content(&bench, "a long first text\n");
        CHECK(begin(&bench, "second\n", USEC_INFINITY) == 0);
        CHECK(end(&bench, 2) == 0);
        check_content(&bench, "second\n");
        CHECK(access(bench.temporary, F_OK) < 0);
        bench_deinit(&bench);
}

static void file_that_cannot_be_written_stays_and_is_named_with_the_reason(void) {
        struct bench bench;

        bench_init(&bench);
        CHECK(begin(&bench, "first\n", PATIENCE_USEC) == 0 && end(&bench, 1) == 0);
        REQUIRE(mkdir(bench.temporary, 0700) == 0);
        CHECK(begin(&bench, "second\n", PATIENCE_USEC) == 0);
        CHECK(end(&bench, 2) == -EISDIR);
        CHECK(strstr(bench.text, bench.temporary) != NULL && strstr(bench.text, "Is a directory") != NULL);
        check_content(&bench, "first\n");
        (void) rmdir(bench.temporary);
        bench_deinit(&bench);
}

static void full_disk_is_told_and_the_old_file_stays(void) {
        struct bench bench;

        bench_init(&bench);
        CHECK(begin(&bench, "first\n", PATIENCE_USEC) == 0 && end(&bench, 1) == 0);
        REQUIRE(symlink("/dev/full", bench.temporary) == 0);
        CHECK(begin(&bench, "second\n", PATIENCE_USEC) == 0);
        CHECK(end(&bench, 2) == -ENOSPC);
        CHECK(strstr(bench.text, bench.path) != NULL);
        check_content(&bench, "first\n");
        CHECK(access(bench.temporary, F_OK) < 0);
        bench_deinit(&bench);
}

/* A pipe that nobody reads stands for a disk that stalls: opening it does not return. */
static void disk_that_stalls_holds_nobody_up_and_what_was_given_up_is_not_done_later(void) {
        _cleanup_close_ int fd = -1;
        struct bench bench;
        usec_t until;

        bench_init(&bench);
        CHECK(begin(&bench, "first\n", PATIENCE_USEC) == 0 && end(&bench, 1) == 0);
        REQUIRE(mkfifo(bench.temporary, 0600) == 0);
        CHECK(begin(&bench, "second\n", 20 * USEC_PER_MSEC) == 0);
        CHECK(end(&bench, 2) == -ETIMEDOUT);
        CHECK(strstr(bench.text, bench.path) != NULL);
        CHECK(begin(&bench, "third\n", PATIENCE_USEC) == -EBUSY);

        fd = open(bench.temporary, O_RDONLY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;
        while (access(bench.temporary, F_OK) == 0 && clock_usec(CLOCK_MONOTONIC) < until)
                (void) sd_event_run(bench.loop, USEC_PER_MSEC);
        while (begin(&bench, "third\n", PATIENCE_USEC) == -EBUSY && clock_usec(CLOCK_MONOTONIC) < until)
                (void) sd_event_run(bench.loop, USEC_PER_MSEC);
        CHECK(end(&bench, 3) == 0); /* the second was told of once, and never came */
        check_content(&bench, "third\n");
        bench_deinit(&bench);
}

static void writer_that_is_freed_in_mid_write_leaves_nothing_half_done(void) {
        _cleanup_close_ int fd = -1;
        struct bench bench;
        usec_t until;

        bench_init(&bench);
        CHECK(begin(&bench, "first\n", PATIENCE_USEC) == 0 && end(&bench, 1) == 0);
        REQUIRE(mkfifo(bench.temporary, 0600) == 0);
        CHECK(begin(&bench, "second\n", PATIENCE_USEC) == 0);
        bench.writer = file_writer_free(bench.writer);
        fd = open(bench.temporary, O_RDONLY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        until = clock_usec(CLOCK_MONOTONIC) + PATIENCE_USEC;
        while (access(bench.temporary, F_OK) == 0 && clock_usec(CLOCK_MONOTONIC) < until)
                (void) sd_event_run(bench.loop, USEC_PER_MSEC);
        CHECK(access(bench.temporary, F_OK) < 0);
        CHECK(bench.n_done == 1);
        check_content(&bench, "first\n"); /* a pipe cannot be synced */
        bench_deinit(&bench);
}

TEST_MAIN("file-writer", TEST(file_is_replaced_as_a_whole_and_nothing_is_left_beside_it),
          TEST(file_that_cannot_be_written_stays_and_is_named_with_the_reason),
          TEST(full_disk_is_told_and_the_old_file_stays),
          TEST(disk_that_stalls_holds_nobody_up_and_what_was_given_up_is_not_done_later),
          TEST(writer_that_is_freed_in_mid_write_leaves_nothing_half_done))
