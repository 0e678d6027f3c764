/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A store in a directory of its own, for its tests. */

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/records/evidence.h"
#include "daemon/host/store/store-schema.h"
#include "daemon/host/store/store.h"
#include "tests/unit/test.h"

#define ANSWERS_MAX 8192
#define ROWS_MAX 10 /* of history that a test asks for */
#define PATIENCE_USEC (20 * USEC_PER_SEC)

/* One store in a directory of its own, and what it has answered. */
struct bench {
        char root[64], state[96], runtime[96];
        struct store_options options;
        sd_event *event;
        struct sink sink;
        struct store *store;
        struct store_finding finding;
        struct error error;
        struct {
                uint64_t action_id;
                int result;
        } answers[ANSWERS_MAX];
        unsigned n_answers;
        unsigned n_histories; /* answers of history, and the last of them */
        int history_result;
        struct history_flow flows[ROWS_MAX];
        struct history_drill drills[ROWS_MAX];
        struct history_event events[ROWS_MAX];
        struct history_rows rows; /* into these */
        char explanation[256], file[64]; /* of the failover asked about, and the first file kept of it; empty: none */
};

static inline usec_t clock_now(void) {
        struct timespec time;

        (void) clock_gettime(CLOCK_MONOTONIC, &time);
        return (usec_t) time.tv_sec * USEC_PER_SEC + (usec_t) time.tv_nsec / 1000;
}

static inline void on_event(void *userdata, const struct event *event) {
        struct bench *bench = userdata;

        CHECK(event->kind == EVENT_DONE && event->action == ACTION_PERSIST);
        REQUIRE(bench->n_answers < ANSWERS_MAX);
        bench->answers[bench->n_answers].action_id = event->action_id;
        bench->answers[bench->n_answers++].result = event->result;
}

static inline struct bench *bench_new_in(const char *directory) {
        struct bench *bench = calloc(1, sizeof(*bench));

        REQUIRE(bench != NULL);
        snprintf(bench->root, sizeof(bench->root), "%s/test-store-XXXXXX", directory);
        REQUIRE(mkdtemp(bench->root) != NULL);
        snprintf(bench->state, sizeof(bench->state), "%s/state", bench->root);
        snprintf(bench->runtime, sizeof(bench->runtime), "%s/run", bench->root);
        bench->options = (struct store_options) { bench->state, bench->runtime, "boot-1", NULL, NULL };
        bench->sink = (struct sink) { on_event, bench };
        REQUIRE(sd_event_new(&bench->event) >= 0);
        return bench;
}

static inline struct bench *bench_new(void) {
        return bench_new_in(P_tmpdir);
}

static inline int bench_open(struct bench *bench) {
        error_deinit(&bench->error);
        return store_new(&bench->options, bench->event, &bench->sink, &bench->store, &bench->finding, &bench->error);
}

static inline void bench_close(struct bench *bench) {
        bench->store = store_free(bench->store);
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static inline void bench_free(struct bench *bench) {
        bench_close(bench);
        (void) nftw(bench->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        sd_event_unref(bench->event);
        error_deinit(&bench->error);
        free(bench);
}

static inline const char *bench_path(const struct bench *bench, const char *name, char buffer[160]) {
        snprintf(buffer, 160, "%s/%s", bench->root, name);
        return buffer;
}

/* Runs the loop until `n` answers are there; the result of the last, or -ETIME. */
static inline int bench_wait(struct bench *bench, unsigned n) {
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        while (bench->n_answers < n && clock_now() < end_usec)
                (void) sd_event_run(bench->event, 10 * USEC_PER_MSEC);
        return bench->n_answers >= n ? bench->answers[n - 1].result : -ETIME;
}

static inline void on_history(void *userdata, int result, const struct history_rows *rows) {
        struct bench *bench = userdata;

        bench->n_histories++;
        bench->history_result = result;
        if (result < 0)
                return;
        REQUIRE(rows->n_flows <= ROWS_MAX && rows->n_drills <= ROWS_MAX && rows->n_events <= ROWS_MAX);
        memcpy(bench->flows, rows->flows, rows->n_flows * sizeof(bench->flows[0]));
        memcpy(bench->drills, rows->drills, rows->n_drills * sizeof(bench->drills[0]));
        memcpy(bench->events, rows->events, rows->n_events * sizeof(bench->events[0]));
        bench->rows = *rows;
        snprintf(bench->explanation, sizeof(bench->explanation), "%s", rows->explanation ?: "");
        snprintf(bench->file, sizeof(bench->file), "%s", rows->n_files ? rows->files[0].name : "");
}

/* Runs the loop until `n` questions about history are answered; the result of the last, or -ETIME. */
static inline int bench_wait_history(struct bench *bench, unsigned n) {
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        while (bench->n_histories < n && clock_now() < end_usec)
                (void) sd_event_run(bench->event, 10 * USEC_PER_MSEC);
        return bench->n_histories >= n ? bench->history_result : -ETIME;
}

/* Asks for the latest `max` of a pair, or of all, with what is kept of one failover, and waits for the answer. */
static inline void read_failover(struct bench *bench, const char *pair, const char *failover, size_t max) {
        REQUIRE(store_ask_history(bench->store, pair, failover, max, on_history, bench) == 0);
        REQUIRE(bench_wait_history(bench, bench->n_histories + 1) == 0);
}

static inline void read_history(struct bench *bench, const char *pair, size_t max) {
        read_failover(bench, pair, NULL, max);
}

static inline struct record make_record(const char *pair, uint64_t seq) {
        struct record record = {
                .seq = seq, .known = true, .failovers = 7, .n_apps = 2, .n_flaps = 3, .paused = true,
                .paused_until_usec = USEC_INFINITY, .pause_reason = "it's \"night\"", .held = true,
                .held_reason = "two owners", .fence_wanted = { false, true }, .fence_frozen = { true, false },
                .fence_stated = { 0, 4711 },
                .flaps_usec = { 1, 2, UINT64_C(1) << 60 }, .lost_bytes = 3 * MIB, .reserve_used_bytes = 2 * MIB,
                .flow = { .kind = FLOW_APPLICATION_FAILURE, .number = 7, .from = SIDE_A, .to = SIDE_B, .drill = true,
                          .command_id = UINT64_MAX - 1, .cause = "exit 1 \xc3\xa9" },
                .last_drill = { .level = DRILL_LEVEL_REHEARSE, .at_usec = 1, .ok = true, .took_usec = 2,
                .objective_usec = 3,
                                .number = 4, .text = "it's met", .wanted_bytes = 5, .rehearsed_bytes = 6,
                                .plugged_usec = 7,
                                .touched_usec = USEC_INFINITY, .canary_usec = 8 },
                .rehearsal = REHEARSAL_TOUCH, .rehearsal_side = SIDE_B,
                .assigned = { { .n_spans = 2, .spans = { { 0, GIB }, { 2 * GIB, 3 * GIB } } },
                              { .n_spans = 1, .spans = { { UINT64_C(1) << 46, UINT64_C(1) << 47 } } } },
        };

        snprintf(record.pair, sizeof(record.pair), "%s", pair);
        for (unsigned i = 0; i < record.n_apps; i++) {
                record.apps[i] = (struct record_app) { .owner = i ? SIDE_B : SIDE_A, .token = seq + i, .ended = i == 0,
                                                       .moving = i == 1, .stopped = i == 0, .started = i == 1,
                                                       .granted_bytes = { i * GIB, GIB },
                                                       .using_bytes = { 0, i * MIB }, .rehearsed = i == 1 };
                snprintf(record.apps[i].name, sizeof(record.apps[i].name), "app%u", i);
        }
        for (unsigned i = 0; i < PHASE_MAX; i++)
                record.flow.phase_usec[i] = i * 1000;
        return record;
}

static inline bool drills_equal(const struct drill_result *a, const struct drill_result *b) {
        return a->level == b->level && a->at_usec == b->at_usec && a->ok == b->ok && a->took_usec == b->took_usec &&
               a->objective_usec == b->objective_usec && a->number == b->number && strcmp(a->text, b->text) == 0 &&
               a->wanted_bytes == b->wanted_bytes && a->rehearsed_bytes == b->rehearsed_bytes &&
               a->plugged_usec == b->plugged_usec && a->touched_usec == b->touched_usec &&
               a->canary_usec == b->canary_usec;
}

static inline bool records_equal(const struct record *a, const struct record *b) {
        bool equal = strcmp(a->pair, b->pair) == 0 && a->seq == b->seq && a->known == b->known &&
                     a->failovers == b->failovers && a->n_apps == b->n_apps && a->n_flaps == b->n_flaps &&
                     a->paused == b->paused && a->paused_until_usec == b->paused_until_usec &&
                     strcmp(a->pause_reason, b->pause_reason) == 0 && a->held == b->held &&
                     strcmp(a->held_reason, b->held_reason) == 0 && a->flow.kind == b->flow.kind &&
                     a->flow.number == b->flow.number && a->flow.from == b->flow.from && a->flow.to == b->flow.to &&
                     a->flow.drill == b->flow.drill && a->flow.command_id == b->flow.command_id &&
                     strcmp(a->flow.cause, b->flow.cause) == 0 && a->lost_bytes == b->lost_bytes &&
                     a->reserve_used_bytes == b->reserve_used_bytes && drills_equal(&a->last_drill, &b->last_drill) &&
                     a->rehearsal == b->rehearsal && a->rehearsal_side == b->rehearsal_side &&
                     memcmp(a->assigned, b->assigned, sizeof(a->assigned)) == 0 &&
                     memcmp(a->flow.phase_usec, b->flow.phase_usec, sizeof(a->flow.phase_usec)) == 0 &&
                     memcmp(a->flaps_usec, b->flaps_usec, sizeof(a->flaps_usec)) == 0 &&
                     memcmp(a->fence_wanted, b->fence_wanted, sizeof(a->fence_wanted)) == 0 &&
                     memcmp(a->fence_frozen, b->fence_frozen, sizeof(a->fence_frozen)) == 0 &&
                     memcmp(a->fence_stated, b->fence_stated, sizeof(a->fence_stated)) == 0;

        for (unsigned i = 0; equal && i < a->n_apps; i++) {
                const struct record_app *x = &a->apps[i], *y = &b->apps[i];

                equal = strcmp(x->name, y->name) == 0 && x->owner == y->owner && x->token == y->token &&
                        memcmp(x->granted_bytes, y->granted_bytes, sizeof(x->granted_bytes)) == 0 &&
                        memcmp(x->using_bytes, y->using_bytes, sizeof(x->using_bytes)) == 0 &&
                        x->ended == y->ended && x->moving == y->moving && x->stopped == y->stopped &&
                        x->rehearsed == y->rehearsed && x->started == y->started;
        }
        return equal;
}

/* Writes a record and waits for its answer. */
static inline int persist(struct bench *bench, const char *pair, uint64_t seq, enum persist_level level) {
        struct record record = make_record(pair, seq);

        REQUIRE(store_persist(bench->store, &record, level, 3, seq, PATIENCE_USEC) == 0);
        return bench_wait(bench, bench->n_answers + 1);
}

/* Opens anew, after a power loss (another boot) or a crash, and tells the seq of a pair; 0: it is not there. The
 * store is open afterwards. */
static inline uint64_t reopen(struct bench *bench, const char *boot_id, const char *pair) {
        _cleanup_free_ struct record *records = NULL;
        uint64_t seq = 0;
        size_t n;

        bool new_boot = strcmp(bench->options.boot_id, boot_id) != 0;

        bench_close(bench);
        bench->options.boot_id = boot_id;
        REQUIRE(bench_open(bench) == 0);
        REQUIRE(store_load(bench->store, &records, &n) == 0);
        for (size_t i = 0; i < n; i++)
                if (strcmp(records[i].pair, pair) == 0) {
                        struct record expected = make_record(pair, records[i].seq);
                        if (new_boot) /* memory that is bad in this boot has to show again */
                                expected.lost_bytes = expected.reserve_used_bytes = 0;
                        CHECK(records_equal(&records[i], &expected));
                        seq = records[i].seq;
                }
        return seq;
}

static inline void database_edit(const struct bench *bench, const char *name, const char *sql) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        char path[160];

        REQUIRE(sqlite3_open(bench_path(bench, name, path), &db) == SQLITE_OK);
        REQUIRE(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK);
}
