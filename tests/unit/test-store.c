/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sched.h>

#include "daemon/host/store/store-history.h"
#include "tests/unit/store-bench.h"

static void records_read_back_as_written(void) {
        struct bench *bench = bench_new();
        _cleanup_free_ struct record *records = NULL;
        struct record blank = { .pair = "blank", .seq = 1 };
        size_t n;

        REQUIRE(bench_open(bench) == 0);
        CHECK(bench->finding.fresh && !bench->finding.lost);
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        CHECK(persist(bench, "db", 5, PERSIST_STEP) == 0);
        REQUIRE(store_persist(bench->store, &blank, PERSIST_OWNER, 0, 1, PATIENCE_USEC) == 0);
        CHECK(bench_wait(bench, 3) == 0);
        CHECK(reopen(bench, "boot-1", "web") == 1);
        CHECK(reopen(bench, "boot-1", "db") == 5);
        bench_close(bench);
        REQUIRE(bench_open(bench) == 0);
        CHECK(!bench->finding.fresh && !bench->finding.lost);
        REQUIRE(store_load(bench->store, &records, &n) == 0);
        REQUIRE(n == 3);
        CHECK(records_equal(&records[0], &blank));
        CHECK_TEXT(records[1].pair, "db");
        CHECK(store_load(bench->store, &records, &n) == -EALREADY);
        bench_free(bench);
}

static void nonsense_is_not_written(void) {
        struct bench *bench = bench_new();
        struct record record = make_record("web", 1);

        REQUIRE(bench_open(bench) == 0);
        record.apps[1].owner = SIDE_INVALID;
        CHECK(store_persist(bench->store, &record, PERSIST_OWNER, 0, 1, PATIENCE_USEC) == -EINVAL);
        record = make_record("", 1);
        CHECK(store_persist(bench->store, &record, PERSIST_OWNER, 0, 1, PATIENCE_USEC) == -EINVAL);
        bench_free(bench);
}

static void steps_survive_a_crash_and_owners_a_power_loss(void) {
        struct bench *bench = bench_new();

        REQUIRE(bench_open(bench) == 0);
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        CHECK(persist(bench, "web", 2, PERSIST_STEP) == 0);
        CHECK(reopen(bench, "boot-1", "web") == 2);
        CHECK(reopen(bench, "boot-2", "web") == 1);
        CHECK(!bench->finding.lost);
        bench_free(bench);
}

static void files_are_for_the_owner_only(void) {
        static const char *const files[] = { "state/state.db", "state/state.db-wal", "state/installed", "state/reserve",
                                             "state/lock", "run/steps.db", "run/steps.db-wal" };
        struct bench *bench = bench_new();
        char path[160];
        struct stat st;

        REQUIRE(bench_open(bench) == 0);
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                CHECK(stat(bench_path(bench, files[i], path), &st) == 0 && (st.st_mode & 0777) == 0600);
        CHECK(stat(bench->state, &st) == 0 && (st.st_mode & 0777) == 0700);
        CHECK(stat(bench->runtime, &st) == 0 && (st.st_mode & 0777) == 0700);
        bench_free(bench);
}

static void two_do_not_share_a_store(void) {
        struct bench *bench = bench_new();
        struct store *second = NULL;
        struct store_finding finding;
        struct error error = ERROR_INIT;

        REQUIRE(bench_open(bench) == 0);
        CHECK(store_new(&bench->options, bench->event, &bench->sink, &second, &finding, &error) == -EBUSY);
        CHECK(strstr(error_text(&error), "another failoverd") != NULL);
        error_deinit(&error);
        bench_free(bench);
}

static void a_newer_schema_is_refused(void) {
        struct bench *bench = bench_new();
        char text[96];

        REQUIRE(bench_open(bench) == 0);
        bench_close(bench);
        database_edit(bench, "state/state.db", "PRAGMA user_version = 999");
        CHECK(bench_open(bench) == -EPROTO);
        snprintf(text, sizeof(text), "written by a newer failoverd (schema 999, this one knows %d)", n_schema_steps);
        CHECK(strstr(error_text(&bench->error), text) != NULL);
        snprintf(text, sizeof(text), "PRAGMA user_version = %d", n_schema_steps);
        database_edit(bench, "state/state.db", text);
        CHECK(bench_open(bench) == 0);
        bench_free(bench);
}

static void an_older_schema_is_brought_forward_or_left_alone(void) {
        static const char *const good[] = { "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
                                            "ALTER TABLE t ADD COLUMN b; UPDATE t SET b = a + 1" };
        static const char *const bad[] = { "", "", "CREATE TABLE u (a); INSERT INTO nowhere VALUES (1)" };
        _cleanup_(database_closep) sqlite3 *db = NULL;
        struct error error = ERROR_INIT;

        REQUIRE(sqlite3_open(":memory:", &db) == SQLITE_OK);
        CHECK(schema_migrate(db, "x", good, 1, &error) == 0);
        CHECK(schema_migrate(db, "x", good, 2, &error) == 0);
        CHECK(database_exec(db, "UPDATE t SET b = b + 1") == 0);
        CHECK(schema_migrate(db, "x", bad, 3, &error) < 0);
        CHECK(strstr(error_text(&error), "from schema 2 to 3") != NULL);
        CHECK(database_exec(db, "SELECT * FROM u") < 0);
        CHECK(schema_migrate(db, "x", good, 2, &error) == 0);
        CHECK(schema_migrate(db, "x", good, 1, &error) == -EPROTO);
        error_deinit(&error);
}

static void a_lost_store_is_told_until_it_is_settled(void) {
        struct bench *bench = bench_new();
        char path[160];
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        REQUIRE(bench_open(bench) == 0);
        CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
        bench_close(bench);
        CHECK(unlink(bench_path(bench, "state/state.db", path)) == 0);
        CHECK(reopen(bench, "boot-2", "web") == 0);
        CHECK(bench->finding.lost && !bench->finding.fresh);
        CHECK(strstr(bench->finding.text, "state.db was there and is gone") != NULL);
        CHECK(reopen(bench, "boot-2", "web") == 0);
        CHECK(bench->finding.lost);
        store_settle(bench->store);
        while (access(bench_path(bench, "state/lost", path), F_OK) == 0 && clock_now() < end_usec)
                sched_yield();
        CHECK(reopen(bench, "boot-2", "web") == 0);
        CHECK(!bench->finding.lost && !bench->finding.fresh);
        bench_close(bench);
        CHECK(truncate(bench_path(bench, "state/state.db", path), 0) == 0);
        CHECK(reopen(bench, "boot-3", "web") == 0);
        CHECK(bench->finding.lost);
        bench_free(bench);
}

static void steps_without_owners_are_a_loss_but_are_read(void) {
        struct bench *bench = bench_new();
        char path[160];

        REQUIRE(bench_open(bench) == 0);
        CHECK(persist(bench, "web", 4, PERSIST_OWNER) == 0);
        bench_close(bench);
        CHECK(unlink(bench_path(bench, "state/state.db", path)) == 0);
        CHECK(unlink(bench_path(bench, "state/installed", path)) == 0);
        CHECK(reopen(bench, "boot-1", "web") == 4);
        CHECK(bench->finding.lost);
        bench_free(bench);
}

/* Overwrites `n` bytes from `at`. */
static void scribble(const struct bench *bench, const char *name, off_t at, size_t n) {
        char path[160], junk[8192];
        _cleanup_close_ int fd = open(bench_path(bench, name, path), O_WRONLY);

        memset(junk, 0xa5, sizeof(junk));
        REQUIRE(fd >= 0 && pwrite(fd, junk, n, at) == (ssize_t) n);
}

static void check_damage(struct bench *bench, const char *name) {
        CHECK(bench_open(bench) == -EUCLEAN);
        CHECK(strstr(error_text(&bench->error), name) != NULL);
        error_deinit(&bench->error);
        CHECK(store_set_aside(&bench->options, &bench->error) == 0);
        CHECK(bench_open(bench) == 0);
        CHECK(bench->finding.lost);
        CHECK(strstr(bench->finding.text, "was damaged") != NULL);
        bench_close(bench);
}

static void damage_is_told_and_can_be_set_aside(void) {
        static const struct {
                off_t at;
                size_t n;
        } spots[] = { { 0, 100 }, { 100, 200 }, { 4096, 4096 }, { 8192, 8192 } };

        for (size_t i = 0; i < ELEMENTSOF(spots); i++) {
                struct bench *bench = bench_new();
                char path[160];

                REQUIRE(bench_open(bench) == 0);
                CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
                bench_close(bench);
                if (i == ELEMENTSOF(spots) - 1)
                        CHECK(truncate(bench_path(bench, "state/state.db", path), 20000) == 0); /* torn */
                scribble(bench, "state/state.db", spots[i].at, spots[i].n);
                check_damage(bench, "state.db");
                CHECK(reopen(bench, "boot-1", "web") == 1); /* from the steps */
                bench_free(bench);
        }
}

static void rows_without_sense_are_damage(void) {
        static const char *const edits[] = {
                "UPDATE flow SET kind = 'holiday'", "DELETE FROM flow", "UPDATE pair SET known = 2",
                "UPDATE application SET position = position + 10", "UPDATE application SET token = 'x'",
                "UPDATE pair SET held_reason = printf('%.300c', 'x')",
        };

        for (size_t i = 0; i < ELEMENTSOF(edits); i++) {
                struct bench *bench = bench_new();

                REQUIRE(bench_open(bench) == 0);
                CHECK(persist(bench, "web", 1, PERSIST_OWNER) == 0);
                bench_close(bench);
                database_edit(bench, i % 2 ? "run/steps.db" : "state/state.db", edits[i]);
                check_damage(bench, i % 2 ? "steps.db" : "state.db");
                bench_free(bench);
        }
}

/* What is queued is written when the store is closed. */
static void bench_flush(struct bench *bench) {
        bench_close(bench);
        REQUIRE(bench_open(bench) == 0);
}

static void history_tells_what_happened(void) {
        struct bench *bench = bench_new();
        struct flow flow = { .kind = FLOW_APPLICATION_FAILURE, .number = 3, .from = SIDE_A, .to = SIDE_B, .drill = true,
                             .cause = "panicked" };

        REQUIRE(bench_open(bench) == 0);
        flow.phase_usec[PHASE_FAULT] = 1000;
        flow.phase_usec[PHASE_DETECTED] = 2000;
        store_add_phase(bench->store, "web", &flow, PHASE_DETECTED);
        flow.kind = FLOW_OS_FAILURE; /* it came to that on the way */
        flow.phase_usec[PHASE_STARTED] = 31000;
        store_end_flow(bench->store, "web", &flow, -EIO, "its disk was gone");
        store_add_event(bench->store, "web", SIDE_B, RECORD_STARTED, "first");
        store_add_event(bench->store, NULL, SIDE_INVALID, RECORD_DOUBT, "second");
        flow.number = 4;
        store_add_phase(bench->store, "db", &flow, PHASE_DETECTED);
        bench_flush(bench);
        read_history(bench, NULL, 10);
        REQUIRE(bench->rows.n_events == 2);
        CHECK_TEXT(bench->events[0].text, "second");
        CHECK(bench->events[0].side == SIDE_INVALID && bench->events[0].kind == RECORD_DOUBT &&
              bench->events[0].pair[0] == 0);
        CHECK(bench->events[1].side == SIDE_B && bench->events[1].kind == RECORD_STARTED &&
              strcmp(bench->events[1].pair, "web") == 0);
        read_history(bench, "web", 10);
        REQUIRE(bench->rows.n_flows == 1 && bench->rows.n_events == 1);
        CHECK_TEXT(bench->flows[0].id, "web-3");
        CHECK_TEXT(bench->flows[0].text, "its disk was gone");
        CHECK(bench->flows[0].kind == FLOW_OS_FAILURE && bench->flows[0].to == SIDE_B && bench->flows[0].drill &&
              bench->flows[0].result == -EIO);
        CHECK(bench->flows[0].phase_usec[PHASE_STARTED] - bench->flows[0].phase_usec[PHASE_FAULT] == 30000);
        CHECK(bench->flows[0].phase_usec[PHASE_HEALTHY] == 0 &&
              bench->flows[0].ended_usec > bench->flows[0].begun_usec);
        CHECK(bench->flows[0].begun_usec == bench->flows[0].phase_usec[PHASE_FAULT]);
        read_history(bench, NULL, 1);
        CHECK(bench->rows.n_flows == 1 && strcmp(bench->flows[0].id, "db-4") == 0 && bench->flows[0].ended_usec == 0);
        bench_free(bench);
}

/* What was believed when it was decided is kept as long as the failover is, and its files are named. */
static void history_tells_why(void) {
        struct bench *bench = bench_new();
        const struct evidence_request evidence = { .failover_id = "web-3", .messages = "{}" };
        struct flow flow = { .kind = FLOW_OS_FAILURE, .number = 3 };
        char directory[160];

        bench->options.evidence_dir = bench_path(bench, "evidence", directory);
        REQUIRE(bench_open(bench) == 0);
        REQUIRE(evidence_write(directory, &evidence) == 0);
        store_add_phase(bench->store, "web", &flow, PHASE_DECIDED);
        store_add_explanation(bench->store, "web", &flow, "{\"rule\": \"it's hung\"}");
        flow.number = 4;
        store_add_explanation(bench->store, "web", &flow, "{}"); /* of a failover that was not written */
        bench_flush(bench);
        read_failover(bench, "web", "web-3", 10);
        CHECK_TEXT(bench->explanation, "{\"rule\": \"it's hung\"}");
        CHECK(bench->rows.n_files == 1);
        CHECK_TEXT(bench->file, "messages-a");
        read_failover(bench, "web", "web-4", 10);
        CHECK_TEXT(bench->explanation, "");
        CHECK(bench->rows.n_files == 0);
        read_history(bench, "web", 10);
        CHECK_TEXT(bench->explanation, "");
        bench_free(bench);
}

static void history_tells_what_drills_came_to(void) {
        struct bench *bench = bench_new();
        struct drill_result drill = {
                .level = DRILL_LEVEL_FULL, .at_usec = 5 * USEC_PER_SEC, .ok = true, .took_usec = 30000,
                .objective_usec = USEC_PER_SEC,
                .number = 3, .text = "healthy",
        };

        REQUIRE(bench_open(bench) == 0);
        store_add_drill(bench->store, "web", &drill);
        drill = (struct drill_result) { .level = DRILL_LEVEL_REHEARSE, .took_usec = USEC_INFINITY, .text = "too old",
                                        .wanted_bytes = 512 * MIB, .rehearsed_bytes = 384 * MIB,
                                        .touched_usec = USEC_INFINITY };
        store_add_drill(bench->store, "web", &drill);
        store_add_drill(bench->store, "db", &drill);
        bench_flush(bench);
        read_history(bench, "web", 10);
        REQUIRE(bench->rows.n_drills == 2);
        CHECK(bench->drills[0].result.level == DRILL_LEVEL_REHEARSE && !bench->drills[0].result.ok);
        CHECK(bench->drills[0].result.took_usec == USEC_INFINITY);
        CHECK_TEXT(bench->drills[0].result.text, "too old");
        CHECK(bench->drills[1].result.level == DRILL_LEVEL_FULL && bench->drills[1].result.ok &&
              bench->drills[1].result.number == 3);
        CHECK(bench->drills[1].result.took_usec == 30000 && bench->drills[1].result.objective_usec == USEC_PER_SEC);
        CHECK(bench->drills[1].result.at_usec == 5 * USEC_PER_SEC &&
              bench->drills[0].result.touched_usec == USEC_INFINITY);
        CHECK(bench->drills[0].result.wanted_bytes == 512 * MIB &&
              bench->drills[0].result.rehearsed_bytes == 384 * MIB);
        bench_free(bench);
}

/* The drills that an earlier version wrote are kept. */
static void drills_are_brought_forward(void) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        _cleanup_free_ struct history_drill *drills = NULL;
        struct error error = ERROR_INIT;
        size_t n;

        REQUIRE(sqlite3_open(":memory:", &db) == SQLITE_OK);
        REQUIRE(schema_migrate(db, "x", schema_steps, 2, &error) == 0);
        REQUIRE(database_exec(db, "INSERT INTO drill VALUES ('web-10', 'web', 2, -5, -1, 'lost'), ('web-9', 'web', 1, "
                                  "0, 1200000, 'good')") == 0);
        REQUIRE(schema_migrate(db, "x", schema_steps, n_schema_steps, &error) == 0);
        REQUIRE(history_read_drills(db, "web", 10, &drills, &n) == 0);
        REQUIRE(n == 2);
        CHECK(drills[0].result.number == 10 && !drills[0].result.ok && drills[0].result.took_usec == USEC_INFINITY);
        CHECK(drills[1].result.number == 9 && drills[1].result.ok && drills[1].result.took_usec == 1200000);
        CHECK(drills[1].result.level == DRILL_LEVEL_FULL && drills[1].result.touched_usec == USEC_INFINITY);
}

static void history_is_bounded(void) {
        struct bench *bench = bench_new();
        char path[160];
        _cleanup_(database_closep) sqlite3 *db = NULL;
        struct flow flow = { .kind = FLOW_SWITCH, .phase_usec = { 1, 2, 3 } };
        struct history_line line = { .kind = HISTORY_EVENT };
        _cleanup_free_ struct history_event *events = NULL;
        size_t n;

        REQUIRE(bench_open(bench) == 0);
        bench_close(bench);
        REQUIRE(sqlite3_open(bench_path(bench, "state/state.db", path), &db) == SQLITE_OK);
        REQUIRE(database_exec(db, "BEGIN") == 0);
        for (unsigned i = 0; i < 60; i++) {
                snprintf(line.flow.id, sizeof(line.flow.id), "web-%u", i);
                memcpy(line.flow.phase_usec, flow.phase_usec, sizeof(flow.phase_usec));
                line.kind = HISTORY_END;
                REQUIRE(history_write(db, &line) == 0);
                line.kind = HISTORY_EVENT;
                snprintf(line.event.text, sizeof(line.event.text), "%u", i);
                REQUIRE(history_write(db, &line) == 0);
        }
        CHECK(history_prune(db, 50, 40) == 0);
        REQUIRE(database_exec(db, "COMMIT") == 0);
        CHECK(database_exec(db, "CREATE TEMP TABLE t (x CHECK (x = 50), y CHECK (y = 40), z CHECK (z = 120));"
                                "INSERT INTO t SELECT (SELECT count(*) FROM event), (SELECT count(*) FROM failover), "
                                "(SELECT count(*) FROM phase)") == 0);
        REQUIRE(history_read_events(db, NULL, 5, &events, &n) == 0);
        CHECK(n == 5 && strcmp(events[0].text, "59") == 0);
        bench_free(bench);
}

static void a_full_history_is_thinned_down_to_half(void) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        struct bench *bench = bench_new();
        struct history_line line = { .kind = HISTORY_EVENT };
        char path[160];
        int changes = 0;

        REQUIRE(bench_open(bench) == 0);
        bench_close(bench);
        REQUIRE(sqlite3_open(bench_path(bench, "state/state.db", path), &db) == SQLITE_OK);
        REQUIRE(database_exec(db, "BEGIN") == 0);
        for (unsigned i = 0; i < HISTORY_EVENTS_KEPT / 2 + 700; i++)
                REQUIRE(history_write(db, &line) == 0);
        for (unsigned i = 0; i < 4; i++) {
                CHECK(history_thin(db) == 0);
                CHECK(sqlite3_changes(db) <= HISTORY_THINNED);
                changes += i < 2 ? sqlite3_changes(db) : 0;
        }
        CHECK(changes == 700);
        CHECK(database_exec(
                      db, "CREATE TEMP TABLE t (x CHECK (x = 10000)); INSERT INTO t SELECT count(*) FROM event") == 0);
        bench_free(bench);
}

/* By a standby, that failoverd asks again after each crash of its own. */
static void what_was_told_of_a_vm_is_in_history_once(void) {
        struct bench *bench = bench_new();

        for (int life = 0; life < 3; life++) {
                REQUIRE(bench_open(bench) == 0);
                CHECK(store_get_told(bench->store, "alone") == (life == 0 ? 0u : 101 + (usec_t) life));
                CHECK(store_get_told(bench->store, "other") == 0);
                for (usec_t i = 100; i <= 102 + (usec_t) life; i++) /* each life knows of one more */
                        store_add_told(bench->store, "alone", i, RECORD_HELD, i == 100 ? "the first" : "a later one");
                bench_flush(bench);
                read_history(bench, "alone", 10);
                CHECK(bench->rows.n_events == 3 + (size_t) life);
                CHECK_TEXT(bench->events[bench->rows.n_events - 1].text, "the first");
                CHECK(bench->events[0].time_usec == 102 + (usec_t) life && bench->events[0].side == SIDE_INVALID);
                bench_close(bench);
        }
        bench_free(bench);
}

TEST_MAIN("store",
          TEST(records_read_back_as_written),
          TEST(nonsense_is_not_written),
          TEST(steps_survive_a_crash_and_owners_a_power_loss),
          TEST(files_are_for_the_owner_only),
          TEST(two_do_not_share_a_store),
          TEST(a_newer_schema_is_refused),
          TEST(an_older_schema_is_brought_forward_or_left_alone),
          TEST(a_lost_store_is_told_until_it_is_settled),
          TEST(steps_without_owners_are_a_loss_but_are_read),
          TEST(damage_is_told_and_can_be_set_aside),
          TEST(rows_without_sense_are_damage),
          TEST(history_tells_what_happened),
          TEST(history_tells_why),
          TEST(what_was_told_of_a_vm_is_in_history_once),
          TEST(history_tells_what_drills_came_to),
          TEST(drills_are_brought_forward),
          TEST(history_is_bounded),
          TEST(a_full_history_is_thinned_down_to_half))
