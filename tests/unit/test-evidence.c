/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/records/evidence-dump.h"
#include "daemon/host/records/evidence.h"
#include "tests/unit/test.h"

struct bench {
        char root[64], directory[96], console[96];
};

static void bench_init(struct bench *bench) {
        strcpy(bench->root, P_tmpdir "/test-evidence-XXXXXX");
        REQUIRE(mkdtemp(bench->root) != NULL);
        snprintf(bench->directory, sizeof(bench->directory), "%s/evidence", bench->root);
        snprintf(bench->console, sizeof(bench->console), "%s/console.log", bench->root);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void bench_deinit(struct bench *bench) {
        (void) nftw(bench->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

/* Contents of a kept file, "" where there is none; the caller frees. */
static char *kept(const struct bench *bench, const char *name) {
        char path[160], *text = calloc(1, 128 * 1024);
        _cleanup_fclose_ FILE *file = NULL;
        struct stat st;

        snprintf(path, sizeof(path), "%s/%s", bench->directory, name);
        file = fopen(path, "re");
        REQUIRE(text != NULL);
        if (file) {
                (void) fread(text, 1, 128 * 1024 - 1, file);
                CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
        }
        return text;
}

static void write_console(const struct bench *bench, size_t n, const char *end) {
        _cleanup_fclose_ FILE *file = fopen(bench->console, "we");

        REQUIRE(file != NULL);
        for (size_t i = 0; i < n; i++)
                fputc('x', file);
        fputs(end, file);
}

static void the_end_of_the_console_is_kept_printable(void) {
        struct bench bench;
        struct evidence_request request = { .failover_id = "web-1", .side = SIDE_B, .console_path = bench.console,
                                            .messages = "1 ms ago: {}\n" };
        _cleanup_free_ char *console = NULL, *messages = NULL;

        bench_init(&bench);
        write_console(&bench, 1024 * 1024, "\n\033[2JKernel panic\r\n");
        CHECK(evidence_write(bench.directory, &request) == 0);
        console = kept(&bench, "web-1/console-b");
        CHECK(strlen(console) == 32 * 1024);
        CHECK(strstr(console, "\n?[2JKernel panic?\n") != NULL);
        messages = kept(&bench, "web-1/messages-b");
        CHECK_TEXT(messages, "1 ms ago: {}\n");
        bench_deinit(&bench);
}

static void what_a_process_was_doing_is_kept(void) {
        struct bench bench;
        struct evidence_request request = { .failover_id = "web-1", .side = SIDE_A };
        _cleanup_free_ char *process = NULL;
        int status;

        bench_init(&bench);
        request.pid = fork();
        REQUIRE(request.pid >= 0);
        if (request.pid == 0)
                for (;;)
                        (void) pause();
        CHECK(kill(request.pid, SIGSTOP) == 0);
        CHECK(waitpid(request.pid, &status, WUNTRACED) == request.pid);
        CHECK(evidence_write(bench.directory, &request) == 0);
        process = kept(&bench, "web-1/process-a");
        CHECK(strstr(process, "State:\tT (stopped)") != NULL);
        CHECK(strstr(process, "/wchan: ") != NULL);
        CHECK(strstr(process, "/task/") != NULL);
        CHECK(strlen(process) <= EVIDENCE_BYTES_MAX);
        (void) kill(request.pid, SIGKILL);
        (void) waitpid(request.pid, &status, 0);
        bench_deinit(&bench);
}

static void what_cannot_be_read_is_said(void) {
        struct bench bench;
        struct evidence_request request = { .failover_id = "web-1", .console_path = bench.console, .pid = 1 << 30 };
        _cleanup_free_ char *console = NULL, *process = NULL;

        bench_init(&bench);
        REQUIRE(mkfifo(bench.console, 0600) == 0); /* opening it for reading would wait for a writer */
        CHECK(evidence_write(bench.directory, &request) == 0);
        console = kept(&bench, "web-1/console-a");
        CHECK(strstr(console, "it is no regular file") != NULL);
        process = kept(&bench, "web-1/process-a");
        CHECK(strstr(process, "No such file") != NULL);
        bench_deinit(&bench);
}

static void an_id_is_a_file_name(void) {
        struct bench bench;
        static const char *const bad[] = { "", ".", "..", "../x", "a/b", ".hidden" };
        struct evidence_request request = { .messages = "x" };

        bench_init(&bench);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                request.failover_id = bad[i];
                CHECK(evidence_write(bench.directory, &request) == -EINVAL);
        }
        bench_deinit(&bench);
}

static void messages_are_bounded(void) {
        struct bench bench;
        struct evidence_request request = { .failover_id = "web-1" };
        _cleanup_free_ char *messages = calloc(1, 512 * 1024), *found = NULL;

        bench_init(&bench);
        memset(messages, 'm', 512 * 1024 - 1);
        request.messages = messages;
        CHECK(evidence_write(bench.directory, &request) == 0);
        found = kept(&bench, "web-1/messages-a");
        CHECK(strlen(found) > 0 && strlen(found) <= EVIDENCE_BYTES_MAX);
        bench_deinit(&bench);
}

static unsigned count_directories(const char *path) {
        DIR *directory = opendir(path);
        struct dirent *entry;
        unsigned n = 0;

        REQUIRE(directory != NULL);
        while ((entry = readdir(directory)))
                n += entry->d_name[0] != '.';
        closedir(directory);
        return n;
}

static void the_oldest_go_first(void) {
        struct bench bench;
        char id[16], path[160];
        struct evidence_request request = { .failover_id = id, .messages = "x" };

        bench_init(&bench);
        for (int i = 0; i < EVIDENCE_KEPT + 5; i++) {
                time_t then = time(NULL) - 1000 + i;
                struct timespec times[2] = { { .tv_sec = then }, { .tv_sec = then } };

                snprintf(id, sizeof(id), "web-%d", i);
                CHECK(evidence_write(bench.directory, &request) == 0);
                snprintf(path, sizeof(path), "%s/%s", bench.directory, id);
                CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
        }
        CHECK(count_directories(bench.directory) == EVIDENCE_KEPT);
        snprintf(path, sizeof(path), "%s/web-4", bench.directory);
        CHECK(access(path, F_OK) < 0);
        snprintf(path, sizeof(path), "%s/web-5", bench.directory);
        CHECK(access(path, F_OK) == 0);
        bench_deinit(&bench);
}

static void what_is_too_old_goes(void) {
        time_t then = time(NULL) - (time_t) (EVIDENCE_AGE_USEC / USEC_PER_SEC) - 10;
        struct timespec times[2] = { { .tv_sec = then }, { .tv_sec = then } };
        struct evidence_request request = { .failover_id = "web-1", .messages = "x" };
        struct bench bench;
        char path[160];

        bench_init(&bench);
        CHECK(evidence_write(bench.directory, &request) == 0);
        snprintf(path, sizeof(path), "%s/web-1", bench.directory);
        CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
        request.failover_id = "web-2";
        CHECK(evidence_write(bench.directory, &request) == 0);
        CHECK(access(path, F_OK) < 0);
        CHECK(count_directories(bench.directory) == 1);
        bench_deinit(&bench);
}

static void files_are_listed_by_name(void) {
        struct evidence_request request = { .failover_id = "web-1", .side = SIDE_B, .messages = "hello",
                                            .pid = getpid() };
        _cleanup_free_ struct evidence_file *files = NULL;
        struct bench bench;
        size_t n = 0;

        bench_init(&bench);
        CHECK(evidence_list(bench.directory, "web-1", &files, &n) == -ENOENT);
        CHECK(evidence_list(bench.directory, "../web-1", &files, &n) == -EINVAL);
        CHECK(evidence_write(bench.directory, &request) == 0);
        REQUIRE(evidence_list(bench.directory, "web-1", &files, &n) == 0);
        REQUIRE(n == 2);
        CHECK_TEXT(files[0].name, "messages-b");
        CHECK(files[0].bytes == 5 && files[0].time_usec > 0);
        CHECK_TEXT(files[1].name, "process-b");
        bench_deinit(&bench);
}

static void touch_dump(const char *path, time_t then) {
        struct timespec times[2] = { { .tv_sec = then }, { .tv_sec = then } };
        _cleanup_fclose_ FILE *file = fopen(path, "we");

        REQUIRE(file != NULL && fputs("core", file) >= 0 && fflush(file) == 0);
        CHECK(utimensat(AT_FDCWD, path, times, 0) == 0);
}

static void few_dumps_are_kept(void) {
        struct evidence_request request = { .failover_id = "web-1", .messages = "x" };
        char id[16], path[160];
        struct bench bench;

        bench_init(&bench);
        CHECK(evidence_write(bench.directory, &request) == 0);
        for (int i = 1; i <= EVIDENCE_DUMPS_KEPT + 2; i++) {
                _cleanup_free_ char *dump = NULL;

                snprintf(id, sizeof(id), "web-%d", i);
                CHECK(evidence_dump_prepare(bench.directory, id, i % 2 ? SIDE_A : SIDE_B, 4, &dump) == 0);
                snprintf(path, sizeof(path), "%s/web-%d/core-%c", bench.directory, i, i % 2 ? 'a' : 'b');
                CHECK_TEXT(dump, path);
                touch_dump(dump, 1000 + i);
        }
        for (int i = 1; i <= EVIDENCE_DUMPS_KEPT + 2; i++) {
                snprintf(path, sizeof(path), "%s/web-%d/core-%c", bench.directory, i, i % 2 ? 'a' : 'b');
                CHECK((access(path, F_OK) == 0) == (i > 2));
        }
        snprintf(path, sizeof(path), "%s/web-1/messages-a", bench.directory); /* the rest stays */
        CHECK(access(path, F_OK) == 0);
        bench_deinit(&bench);
}

static void no_dump_is_begun_that_would_not_fit(void) {
        _cleanup_free_ char *dump = NULL;
        struct bench bench;
        char path[160];

        bench_init(&bench);
        CHECK(evidence_dump_prepare(bench.directory, "web-1", SIDE_A, UINT64_MAX / 2, &dump) == -ENOSPC);
        CHECK(evidence_dump_prepare(bench.directory, "a/b", SIDE_A, 1, &dump) == -EINVAL);
        CHECK(evidence_dump_prepare(bench.console, "web-1", SIDE_A, 1, &dump) == 0); /* made where it is missing */
        free(dump);
        dump = NULL;
        snprintf(path, sizeof(path), "%s/none/evidence", bench.root);
        CHECK(evidence_dump_prepare(path, "web-1", SIDE_A, 1, &dump) == -ENOENT && !dump);
        bench_deinit(&bench);
}

static void it_is_kept_beside_the_loop(void) {
        struct bench bench;
        struct evidence *evidence = NULL;
        struct evidence_request request = { .failover_id = "web-9", .messages = "hello", .pid = getpid() };
        _cleanup_free_ char *messages = NULL;

        bench_init(&bench);
        REQUIRE(evidence_new(bench.directory, &evidence) == 0);
        CHECK(evidence_keep(evidence, &request) == 0);
        request.failover_id = "../up";
        CHECK(evidence_keep(evidence, &request) == -EINVAL);
        evidence = evidence_free(evidence); /* waits */
        messages = kept(&bench, "web-9/messages-a");
        CHECK_TEXT(messages, "hello");
        bench_deinit(&bench);
}

TEST_MAIN("evidence",
          TEST(the_end_of_the_console_is_kept_printable),
          TEST(what_a_process_was_doing_is_kept),
          TEST(what_cannot_be_read_is_said),
          TEST(an_id_is_a_file_name),
          TEST(messages_are_bounded),
          TEST(the_oldest_go_first),
          TEST(what_is_too_old_goes),
          TEST(files_are_listed_by_name),
          TEST(few_dumps_are_kept),
          TEST(no_dump_is_begun_that_would_not_fit),
          TEST(it_is_kept_beside_the_loop))
