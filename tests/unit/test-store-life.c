/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A whole life of the store, from the migration of what an earlier version has left to the next start, with each
 * operation on its databases failing in its turn: nothing that was acknowledged is lost, and what could not be read is
 * not taken for damage.
 */

#include "tests/unit/faulty-vfs.h"
#include "tests/unit/store-bench.h"

/* A store as an earlier version of failoverd has left it. */
static void make_old(struct bench *bench) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        char path[160];

        REQUIRE(mkdir(bench->state, 0700) == 0 && mkdir(bench->runtime, 0700) == 0);
        REQUIRE(sqlite3_open(bench_path(bench, "state/state.db", path), &db) == SQLITE_OK);
        REQUIRE(schema_migrate(db, path, schema_steps, 1, NULL) == 0);
}

/* A life: opened, brought to the present schema, read, written, and read again by the next. Returns the seq that the
 * last good answer was for. */
static uint64_t live(struct bench *bench) {
        struct record *records = NULL;
        uint64_t acknowledged = 0;
        size_t n;

        if (bench_open(bench) < 0) {
                CHECK(bench->error.code < 0 && bench->error.message);
                CHECK(bench->error.code != -EUCLEAN); /* nothing is damaged: it must not be set aside */
                return 0;
        }
        CHECK(!bench->finding.lost);
        if (store_load(bench->store, &records, &n) == 0)
                CHECK(n == 0);
        free(records);
        for (uint64_t seq = 1; seq <= 2; seq++) {
                store_add_event(bench->store, "web", SIDE_A, RECORD_ARMED, "a line of history");
                if (persist(bench, "web", seq, PERSIST_STEP) == 0)
                        acknowledged = seq;
                if (persist(bench, "web", seq, PERSIST_OWNER) == 0)
                        acknowledged = seq;
        }
        return acknowledged;
}

static void a_life_on_a_disk_that_fails_once(int code) {
        /* Hundreds of lives: where writes cost nothing, if there is such a place. */
        const char *directory = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir;
        struct faults *faults = faults_new(".db");
        unsigned nth;
        bool fired = true;

        faults->reads_fail = true;
        for (nth = 1; fired; nth++) {
                struct bench *bench = bench_new_in(directory);
                uint64_t acknowledged, seq;

                make_old(bench);
                bench->options.vfs = "faulty";
                faults_fail(faults, nth, code);
                acknowledged = live(bench);
                fired = faults_have_failed(faults);
                CHECK(fired || acknowledged == 2);
                faults_fail(faults, 0, 0);
                seq = reopen(bench, "boot-1", "web"); /* a crash; the run-time directory is there */
                CHECK(seq >= acknowledged);
                CHECK(!bench->finding.lost);
                CHECK(persist(bench, "web", 3, PERSIST_OWNER) == 0);
                CHECK(reopen(bench, "boot-2", "web") == 3);
                bench_free(bench);
        }
        CHECK(nth > 20);
        faults_free(faults);
}

static void each_failing_operation_of_a_life_is_survived(void) {
        a_life_on_a_disk_that_fails_once(SQLITE_IOERR_READ);
        a_life_on_a_disk_that_fails_once(SQLITE_FULL);
}

TEST_MAIN("store-life", TEST(each_failing_operation_of_a_life_is_survived))
