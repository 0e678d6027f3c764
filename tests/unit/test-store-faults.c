/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/unit/faulty-vfs.h"
#include "tests/unit/store-bench.h"

/* Fails each write and sync of the ownership database in turn. */
static void fail_each(int code, bool succeeds) {
        unsigned n_failed = 0;

        for (unsigned nth = 1;; nth++) {
                struct bench *bench = bench_new();
                struct faults *faults = faults_new("state.db");
                bool fired;
                uint64_t seq;
                int r;

                bench->options.vfs = "faulty";
                REQUIRE(bench_open(bench) == 0);
                CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
                faults_fail(faults, nth, code);
                r = persist(bench, "web", 2, PERSIST_OWNER);
                fired = faults_have_failed(faults);
                if (fired && succeeds)
                        CHECK(r == 0 && store_get_counts(bench->store).reserve_spent);
                if (fired && !succeeds)
                        CHECK(r < 0);
                faults_fail(faults, 0, 0);
                seq = reopen(bench, "boot-2", "web");
                CHECK(r == 0 ? seq == 2 : seq == 1 || seq == 2);
                CHECK(!bench->finding.lost);
                /* and the store is of use again */
                CHECK(persist(bench, "web", 3, PERSIST_OWNER) == 0);
                CHECK(reopen(bench, "boot-3", "web") == 3);
                bench_free(bench);
                faults_free(faults);
                if (!fired)
                        break;
                n_failed++;
        }
        CHECK(n_failed >= 2);
}

static void no_failing_write_loses_a_record(void) {
        fail_each(SQLITE_IOERR_WRITE, false);
        fail_each(SQLITE_IOERR_FSYNC, false);
}

static void the_reserve_stands_in_on_a_full_disk(void) {
        fail_each(SQLITE_FULL, true);
}

static void a_failed_start_can_be_repeated(void) {
        struct faults *faults = faults_new(".db");
        bool fired = true;

        for (unsigned nth = 1; fired; nth++) {
                struct bench *bench = bench_new();
                int r;

                bench->options.vfs = "faulty";
                faults_fail(faults, nth, SQLITE_IOERR_WRITE);
                r = bench_open(bench);
                bench_close(bench);
                fired = faults_have_failed(faults);
                CHECK(r == 0 || fired);
                faults_fail(faults, 0, 0);
                CHECK(reopen(bench, "boot-1", "web") == 0);
                CHECK(!bench->finding.lost);
                CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
                bench_free(bench);
        }
        faults_free(faults);
}

/* In a child: a loop belongs to the process that made it. */
static void bench_adopt(struct bench *bench) {
        bench->event = NULL;
        if (sd_event_new(&bench->event) < 0)
                _exit(EXIT_FAILURE);
}

/* A child that writes as fast as it may and tells each answer; never returns. */
static void write_for_ever(struct bench *bench, enum persist_level level, int fd) {
        for (uint64_t seq = 1;; seq++)
                if (persist(bench, "web", seq, level) != 0 || write(fd, &seq, sizeof(seq)) != sizeof(seq))
                        _exit(EXIT_FAILURE);
}

static void kill_a_writer(enum persist_level level, const char *boot_after, unsigned n_answers) {
        struct bench *bench = bench_new();
        uint64_t acknowledged = 0, seq;
        int pipe_fds[2];
        pid_t pid;

        REQUIRE(pipe(pipe_fds) == 0);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                bench_adopt(bench);
                if (bench_open(bench) < 0)
                        _exit(EXIT_FAILURE);
                write_for_ever(bench, level, pipe_fds[1]);
        }
        close(pipe_fds[1]);
        for (unsigned i = 0; i < n_answers && read(pipe_fds[0], &seq, sizeof(seq)) == sizeof(seq); i++)
                acknowledged = seq;
        CHECK(acknowledged == n_answers);
        CHECK(kill(pid, SIGKILL) == 0);
        while (read(pipe_fds[0], &seq, sizeof(seq)) == sizeof(seq))
                acknowledged = seq;
        CHECK(waitpid(pid, NULL, 0) == pid);
        close(pipe_fds[0]);
        seq = reopen(bench, boot_after, "web");
        CHECK(seq == acknowledged || seq == acknowledged + 1);
        bench_free(bench);
}

static void what_was_acknowledged_survives_a_kill(void) {
        unsigned seed = (unsigned) time(NULL);

        printf("seed %u ", seed);
        for (unsigned i = 0; i < 20; i++) {
                seed = seed * 1103515245 + 12345;
                kill_a_writer(i % 2 ? PERSIST_STEP : PERSIST_OWNER, i % 2 ? "boot-1" : "boot-2", (seed >> 16) % 60);
        }
}

static void wait_until_stalled(struct faults *faults) {
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        while (faults_waiting(faults) == 0 && clock_now() < end_usec)
                sched_yield();
        REQUIRE(faults_waiting(faults) > 0);
}

/* A thread that was left behind has ended its work. */
static void wait_until_closed(struct faults *faults) {
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        while (faults_open(faults) > 0 && clock_now() < end_usec)
                sched_yield();
        REQUIRE(faults_open(faults) == 0);
}

static void a_stalled_disk_holds_up_neither_steps_nor_answers(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");
        struct record record = make_record("web", 2);

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        faults_stall(faults, true);
        REQUIRE(store_persist(bench->store, &record, PERSIST_OWNER, 0, 42, 300 * USEC_PER_MSEC) == 0);
        wait_until_stalled(faults);
        for (uint64_t seq = 100; seq < 150; seq++)
                CHECK(persist(bench, "db", seq, PERSIST_STEP) == 0 ||
                      bench->answers[bench->n_answers - 1].action_id == 42);
        CHECK(bench_wait(bench, 52) != -ETIME);
        CHECK(store_get_counts(bench->store).late == 1);
        faults_stall(faults, false);
        CHECK(persist(bench, "other", 7, PERSIST_OWNER) == 0);
        CHECK(bench->n_answers == 53); /* the late write has given no second answer */
        for (unsigned i = 0; i < bench->n_answers; i++)
                CHECK(bench->answers[i].result == (bench->answers[i].action_id == 42 ? -ETIMEDOUT : 0));
        CHECK(reopen(bench, "boot-2", "web") == 2);
        bench_free(bench);
        faults_free(faults);
}

static void question_about_history_waits_for_a_stalled_disk_and_nobody_else_does(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        read_history(bench, NULL, 10);
        faults->stalls_reads = true;
        faults_stall(faults, true);
        for (unsigned i = 0; i < READER_QUESTIONS_MAX; i++)
                CHECK(store_ask_history(bench->store, "web", NULL, 10, on_history, bench) == 0);
        CHECK(store_ask_history(bench->store, "web", NULL, 10, on_history, bench) == -EBUSY);
        CHECK(persist(bench, "web", 2, PERSIST_STEP) == 0);
        CHECK(bench->n_histories == 1);
        CHECK(bench_wait_history(bench, 1 + READER_QUESTIONS_MAX) == -ETIMEDOUT);
        faults_stall(faults, false);
        while (store_ask_history(bench->store, "web", NULL, 10, on_history, bench) == -EBUSY)
                (void) sd_event_run(bench->event, USEC_PER_MSEC);
        CHECK(bench_wait_history(bench, 2 + READER_QUESTIONS_MAX) == 0);
        bench_free(bench);
        wait_until_closed(faults);
        faults_free(faults);
}

static void store_that_is_freed_answers_what_was_asked_of_history(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        faults->stalls_reads = true;
        faults_stall(faults, true);
        CHECK(store_ask_history(bench->store, "web", NULL, 10, on_history, bench) == 0);
        wait_until_stalled(faults);
        faults_stall(faults, false);
        bench_close(bench);
        CHECK(bench->n_histories == 1 && bench->history_result == -ECANCELED);
        bench_free(bench);
        wait_until_closed(faults);
        faults_free(faults);
}

static void newer_records_take_the_place_of_waiting_ones(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");
        uint64_t written;

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        faults_stall(faults, true);
        for (uint64_t seq = 1; seq <= 100; seq++) {
                struct record record = make_record("web", seq);

                REQUIRE(store_persist(bench->store, &record, PERSIST_OWNER, 0, seq, PATIENCE_USEC) == 0);
                if (seq == 1)
                        wait_until_stalled(faults);
        }
        faults_stall(faults, false);
        CHECK(bench_wait(bench, 100) == 0);
        written = store_get_counts(bench->store).written[PERSIST_OWNER];
        CHECK(written == 2);
        CHECK(reopen(bench, "boot-2", "web") == 100);
        CHECK(bench->n_answers == 100);
        bench_free(bench);
        faults_free(faults);
}

static void a_stalled_disk_does_not_hold_up_the_end(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");
        struct record record = make_record("web", 1);
        usec_t begun_usec;

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        faults_stall(faults, true);
        REQUIRE(store_persist(bench->store, &record, PERSIST_OWNER, 0, 1, PATIENCE_USEC) == 0);
        wait_until_stalled(faults);
        begun_usec = clock_now();
        bench_close(bench);
        CHECK(clock_now() - begun_usec < 10 * USEC_PER_SEC);
        faults_stall(faults, false);
        wait_until_closed(faults);
        CHECK(reopen(bench, "boot-2", "web") == 1); /* and the write was made */
        bench_free(bench);
        faults_free(faults);
}

static void wait_for_reserve(struct bench *bench) {
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        while (store_get_counts(bench->store).reserve_spent && clock_now() < end_usec)
                (void) sd_event_run(bench->event, 50 * USEC_PER_MSEC);
        CHECK(!store_get_counts(bench->store).reserve_spent);
}

/* In a mount name space of its own, in a child: the real thing. */
static int fill_a_disk(struct bench *bench) {
        char path[160], junk[4096] = { 1 };
        uint64_t seq = 1;
        int fd;

        if (bench_open(bench) < 0 || persist(bench, "web", seq, PERSIST_OWNER) < 0)
                return 2;
        fd = open(bench_path(bench, "state/junk", path), O_WRONLY | O_CREAT, 0600);
        while (write(fd, junk, sizeof(junk)) > 0)
                ;
        close(fd);
        for (unsigned i = 0; i < 3000; i++)
                store_add_event(bench->store, "web", SIDE_A, RECORD_SUSPECTED, "a line of history that needs room");
        while (!store_get_counts(bench->store).reserve_spent && seq < 2000)
                if (persist(bench, "web", ++seq, PERSIST_OWNER) < 0)
                        return 3;
        for (unsigned i = 0; i < 1000; i++) /* more than the reserve would hold one after the other */
                if (persist(bench, "web", ++seq, PERSIST_OWNER) < 0)
                        return 4;
        if (store_get_counts(bench->store).history_waiting == 0 || store_get_counts(bench->store).history_dropped > 0)
                return 5;
        store_add_event(bench->store, "web", SIDE_A, RECORD_SUSPECTED, "the last line");
        if (unlink(path) < 0)
                return 6;
        wait_for_reserve(bench);
        if (store_get_counts(bench->store).reserve_spent)
                return 7;
        bench_close(bench); /* writes all that waits */
        if (bench_open(bench) < 0)
                return 10;
        read_history(bench, "web", 1);
        if (bench->rows.n_events != 1 || strcmp(bench->events[0].text, "the last line") != 0)
                return 9;
        return reopen(bench, "boot-2", "web") == seq ? 0 : 8;
}

static void ownership_is_written_on_a_full_disk(void) {
        struct bench *bench = bench_new();
        int status;
        pid_t pid;

        REQUIRE(mkdir(bench->state, 0700) == 0);
        fflush(stdout);
        pid = fork();
        REQUIRE(pid >= 0);
        if (pid == 0) {
                if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
                    mount("tmpfs", bench->state, "tmpfs", 0, "size=3m") < 0)
                        _exit(77);
                bench_adopt(bench);
                _exit(fill_a_disk(bench));
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        REQUIRE(WIFEXITED(status));
        if (WEXITSTATUS(status) == 77)
                printf("skipped: no right to mount a file system ");
        else if (WEXITSTATUS(status) != 0)
                printf("step %d ", WEXITSTATUS(status));
        CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
        bench_free(bench);
}

static void history_fails_alone(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        database_edit(bench, "state/state.db", "DROP TABLE event");
        store_add_event(bench->store, "web", SIDE_A, RECORD_ARMED, "into nowhere");
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        /* what waits is bounded, and what does not fit is counted */
        faults_stall(faults, true);
        for (unsigned i = 0; i < 5000; i++)
                store_add_event(bench->store, "web", SIDE_A, RECORD_ARMED, "too many");
        CHECK(store_get_counts(bench->store).history_dropped >= 5000 - 4096 - 32);
        faults_stall(faults, false);
        CHECK(persist(bench, "web", 2, PERSIST_OWNER) == 0);
        CHECK(reopen(bench, "boot-2", "web") == 2);
        bench_free(bench);
        faults_free(faults);
}

static void every_ownership_is_synced_before_its_answer(void) {
        struct bench *bench = bench_new();
        struct faults *faults = faults_new("state.db");

        bench->options.vfs = "faulty";
        REQUIRE(bench_open(bench) == 0);
        for (uint64_t seq = 1; seq <= 20; seq++) {
                unsigned n_syncs;

                for (unsigned i = 0; seq % 2 && i < 100; i++) /* not synced itself */
                        store_add_event(bench->store, "web", SIDE_A, RECORD_ARMED, "history in between");
                n_syncs = faults_syncs(faults);
                CHECK(persist(bench, "web", seq, PERSIST_OWNER) == 0);
                CHECK(faults_syncs(faults) > n_syncs);
        }
        bench_free(bench);
        faults_free(faults);
}

TEST_MAIN("store-faults",
          TEST(no_failing_write_loses_a_record),
          TEST(the_reserve_stands_in_on_a_full_disk),
          TEST(a_failed_start_can_be_repeated),
          TEST(what_was_acknowledged_survives_a_kill),
          TEST(a_stalled_disk_holds_up_neither_steps_nor_answers),
          TEST(question_about_history_waits_for_a_stalled_disk_and_nobody_else_does),
          TEST(store_that_is_freed_answers_what_was_asked_of_history),
          TEST(newer_records_take_the_place_of_waiting_ones),
          TEST(a_stalled_disk_does_not_hold_up_the_end),
          TEST(ownership_is_written_on_a_full_disk),
          TEST(history_fails_alone),
          TEST(every_ownership_is_synced_before_its_answer))
