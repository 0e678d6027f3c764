/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-history.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/store/store-schema.h"

static int write_event(sqlite3 *db, const struct history_event *event) {
        return DATABASE_RUN(db, "INSERT INTO event (time_usec, pair, side, kind, text) VALUES (?, ?, ?, ?, ?)",
                            INT_VALUE(event->time_usec), TEXT_VALUE(event->pair),
                            TEXT_VALUE(side_to_string(event->side)),
                            TEXT_VALUE(record_kind_to_string(event->kind) ?: "unknown"), TEXT_VALUE(event->text));
}

/* The mark and the event in one transaction: handed in again after a crash, it is there once. */
static int write_told(sqlite3 *db, const struct history_event *event) {
        int r = DATABASE_RUN(db, "INSERT INTO event (time_usec, pair, kind, text) SELECT ?1, ?2, ?3, ?4 WHERE ?1 > "
                                 "coalesce((SELECT time_usec FROM told WHERE domain = ?2), 0)",
                             INT_VALUE(event->time_usec), TEXT_VALUE(event->pair),
                             TEXT_VALUE(record_kind_to_string(event->kind) ?: "unknown"), TEXT_VALUE(event->text));

        return r < 0 ? r : DATABASE_RUN(db, "INSERT INTO told VALUES (?, ?) ON CONFLICT (domain) DO UPDATE SET "
                                            "time_usec = max(time_usec, excluded.time_usec)",
                                        TEXT_VALUE(event->pair), INT_VALUE(event->time_usec));
}

/* Whole again with each phase, so that a dropped line costs nothing but time. A phase may come after the end
 * (rejoined), which then stays. */
static int write_flow(sqlite3 *db, const struct history_flow *flow) {
        int r;

        r = DATABASE_RUN(db, "INSERT INTO failover VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                             "ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, from_side = excluded.from_side, "
                             "to_side = excluded.to_side, cause = excluded.cause, begun_usec = excluded.begun_usec, "
                             "ended_usec = max(ended_usec, excluded.ended_usec), "
                             "result = iif(excluded.ended_usec > 0, excluded.result, result), "
                             "text = iif(excluded.ended_usec > 0, excluded.text, text)",
                         TEXT_VALUE(flow->id), TEXT_VALUE(flow->pair), INT_VALUE(flow->number),
                         TEXT_VALUE(flow_kind_to_string(flow->kind) ?: "none"),
                         TEXT_VALUE(side_to_string(flow->from) ?: "a"), TEXT_VALUE(side_to_string(flow->to) ?: "a"),
                         INT_VALUE(flow->drill), TEXT_VALUE(flow->cause), INT_VALUE(flow->begun_usec),
                         INT_VALUE(flow->ended_usec), INT_VALUE(flow->result), TEXT_VALUE(flow->text));
        for (int i = 0; r >= 0 && i < PHASE_MAX; i++)
                if (flow->phase_usec[i] > 0)
                        r = DATABASE_RUN(db, "INSERT OR REPLACE INTO phase VALUES (?, ?, ?)", TEXT_VALUE(flow->id),
                                         TEXT_VALUE(phase_to_string((enum phase) i)), INT_VALUE(flow->phase_usec[i]));
        return r;
}

static int write_drill(sqlite3 *db, const struct history_drill *drill) {
        return DATABASE_RUN(db,
                            "INSERT INTO drill (pair, " DRILL_NAMES ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            TEXT_VALUE(drill->pair), DRILL_VALUES(&drill->result));
}

struct history_line *history_line_free(struct history_line *line) {
        if (line)
                free(line->explanation);
        free(line);
        return NULL;
}

static int write_explanation(sqlite3 *db, const struct history_line *line) {
        return DATABASE_RUN(db, "INSERT OR REPLACE INTO explanation VALUES (?, ?)", TEXT_VALUE(line->flow.id),
                            TEXT_VALUE(line->explanation));
}

int history_write(sqlite3 *db, const struct history_line *line) {
        if (line->kind == HISTORY_EVENT)
                return write_event(db, &line->event);
        if (line->kind == HISTORY_TOLD)
                return write_told(db, &line->event);
        if (line->kind == HISTORY_DRILL)
                return write_drill(db, &line->drill);
        if (line->kind == HISTORY_EXPLANATION)
                return write_explanation(db, line);
        return write_flow(db, &line->flow);
}

int history_prune(sqlite3 *db, unsigned events, unsigned flows) {
        static const char *const dependent[] = {
                ("DELETE FROM phase WHERE failover IN (SELECT id FROM failover WHERE rowid <= "
                 "(SELECT max(rowid) FROM failover) - ?)"),
                "DELETE FROM drill WHERE id <= (SELECT max(id) FROM drill) - ?",
                "DELETE FROM failover WHERE rowid <= (SELECT max(rowid) FROM failover) - ?",
        };
        int r;

        r = DATABASE_RUN(db, "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", INT_VALUE(events));
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(dependent); i++)
                r = DATABASE_RUN(db, dependent[i], INT_VALUE(flows));
        return r < 0 ? r : database_exec(db, "DELETE FROM explanation WHERE failover NOT IN (SELECT id FROM failover)");
}

int history_thin(sqlite3 *db) {
        return DATABASE_RUN(db, "DELETE FROM event WHERE id < (SELECT min(id) FROM event) + ? "
                                "AND id <= (SELECT max(id) FROM event) - ?",
                            INT_VALUE(HISTORY_THINNED), INT_VALUE(HISTORY_EVENTS_KEPT / 2));
}

/* For display: what does not fit is cut. */
static void copy_column(sqlite3_stmt *statement, int column, char *buffer, size_t size) {
        const char *text = (const char *) sqlite3_column_text(statement, column);

        snprintf(buffer, size, "%s", text ?: "");
}

static int read_phases(sqlite3 *db, struct history_flow *flow) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        int r, code;

        r = database_prepare(db, "SELECT phase, time_usec FROM phase WHERE failover = ?", &TEXT_VALUE(flow->id), 1,
                             &statement);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
                enum phase phase = phase_from_string((const char *) sqlite3_column_text(statement, 0));

                if ((int) phase >= 0)
                        flow->phase_usec[phase] = (usec_t) sqlite3_column_int64(statement, 1);
        }
        return sqlite_errno(code);
}

static int read_flow(sqlite3 *db, sqlite3_stmt *statement, void *row) {
        struct history_flow *flow = row;

        copy_column(statement, 0, flow->id, sizeof(flow->id));
        copy_column(statement, 1, flow->pair, sizeof(flow->pair));
        flow->number = (uint64_t) sqlite3_column_int64(statement, 2);
        flow->kind = flow_kind_from_string((const char *) sqlite3_column_text(statement, 3));
        flow->from = side_from_string((const char *) sqlite3_column_text(statement, 4));
        flow->to = side_from_string((const char *) sqlite3_column_text(statement, 5));
        flow->drill = sqlite3_column_int(statement, 6) != 0;
        copy_column(statement, 7, flow->cause, sizeof(flow->cause));
        flow->begun_usec = (usec_t) sqlite3_column_int64(statement, 8);
        flow->ended_usec = (usec_t) sqlite3_column_int64(statement, 9);
        flow->result = sqlite3_column_int(statement, 10);
        copy_column(statement, 11, flow->text, sizeof(flow->text));
        if ((int) flow->kind < 0 || (int) flow->from < 0 || (int) flow->to < 0)
                return -EUCLEAN;
        return read_phases(db, flow);
}

static int read_event(sqlite3 *db, sqlite3_stmt *statement, void *row) {
        struct history_event *event = row;

        event->time_usec = (usec_t) sqlite3_column_int64(statement, 0);
        copy_column(statement, 1, event->pair, sizeof(event->pair));
        event->side = side_from_string((const char *) sqlite3_column_text(statement, 2));
        event->kind = record_kind_from_string((const char *) sqlite3_column_text(statement, 3));
        copy_column(statement, 4, event->text, sizeof(event->text));
        return 0;
}

static int read_drill(sqlite3 *db, sqlite3_stmt *statement, void *row) {
        struct history_drill *drill = row;
        struct drill_result *result = &drill->result;

        copy_column(statement, 0, drill->pair, sizeof(drill->pair));
        result->level = drill_level_from_string((const char *) sqlite3_column_text(statement, 1));
        result->at_usec = (usec_t) sqlite3_column_int64(statement, 2);
        result->ok = sqlite3_column_int(statement, 3) != 0;
        result->took_usec = (usec_t) sqlite3_column_int64(statement, 4);
        result->objective_usec = (usec_t) sqlite3_column_int64(statement, 5);
        result->number = (uint64_t) sqlite3_column_int64(statement, 6);
        copy_column(statement, 7, result->text, sizeof(result->text));
        result->wanted_bytes = (uint64_t) sqlite3_column_int64(statement, 8);
        result->rehearsed_bytes = (uint64_t) sqlite3_column_int64(statement, 9);
        result->plugged_usec = (usec_t) sqlite3_column_int64(statement, 10);
        result->touched_usec = (usec_t) sqlite3_column_int64(statement, 11);
        result->canary_usec = (usec_t) sqlite3_column_int64(statement, 12);
        return (int) result->level < 0 ? -EUCLEAN : 0;
}

/* What one question is about: a table, its columns in the order in which `read` takes them, and what they become. */
struct question {
        const char *table, *columns, *order;
        size_t size;
        int (*read)(sqlite3 *db, sqlite3_stmt *statement, void *row);
};

/* The latest rows of one pair, or (NULL) of all, at most `max`. */
static int read_rows(sqlite3 *db, const struct question *question, const char *pair, size_t max, void **ret,
                     size_t *ret_n) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        _cleanup_free_ char *rows = NULL;
        char sql[384];
        size_t n = 0;
        int r, code;

        max = max > HISTORY_ROWS_MAX ? HISTORY_ROWS_MAX : max;
        rows = calloc(max ?: 1, question->size);
        if (!rows)
                return -ENOMEM;
        snprintf(sql, sizeof(sql), "SELECT %s FROM %s WHERE %s ORDER BY %s DESC LIMIT ?2", question->columns,
                 question->table, pair ? "pair = ?1" : "?1 IS NULL", question->order);
        r = database_prepare(db, sql, (const struct value[]) { TEXT_VALUE(pair), INT_VALUE(max) }, 2, &statement);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW && n < max) {
                r = question->read(db, statement, rows + n++ * question->size);
                if (r < 0)
                        return r;
        }
        if (code != SQLITE_DONE)
                return sqlite_errno(code);
        *ret = steal_ptr(rows);
        *ret_n = n;
        return 0;
}

int history_read_flows(sqlite3 *db, const char *pair, size_t max, struct history_flow **ret, size_t *ret_n) {
        static const struct question question = {
                .table = "failover",
                .order = "rowid",
                .size = sizeof(struct history_flow),
                .read = read_flow,
                .columns = "id, pair, number, kind, from_side, to_side, drill, cause, begun_usec, ended_usec, result, "
                           "text",
        };
        void *rows;
        int r = read_rows(db, &question, pair, max, &rows, ret_n);

        if (r >= 0)
                *ret = rows;
        return r;
}

int history_read_events(sqlite3 *db, const char *pair, size_t max, struct history_event **ret, size_t *ret_n) {
        static const struct question question = {
                .table = "event", .order = "id", .size = sizeof(struct history_event), .read = read_event,
                .columns = "time_usec, pair, side, kind, text",
        };
        void *rows;
        int r = read_rows(db, &question, pair, max, &rows, ret_n);

        if (r >= 0)
                *ret = rows;
        return r;
}

int history_read_drills(sqlite3 *db, const char *pair, size_t max, struct history_drill **ret, size_t *ret_n) {
        static const struct question question = {
                .table = "drill", .order = "id", .size = sizeof(struct history_drill), .read = read_drill,
                .columns = "pair, " DRILL_NAMES,
        };
        void *rows;
        int r = read_rows(db, &question, pair, max, &rows, ret_n);

        if (r >= 0)
                *ret = rows;
        return r;
}

int history_read_told(sqlite3 *db, struct history_told **ret, size_t *ret_n) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        _cleanup_free_ struct history_told *rows = NULL;
        size_t n = 0;
        int r, code;

        r = database_prepare(db, "SELECT domain, time_usec FROM told", NULL, 0, &statement);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
                struct history_told *grown = reallocarray(rows, n + 1, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                rows = grown;
                copy_column(statement, 0, rows[n].domain, sizeof(rows[n].domain));
                rows[n++].time_usec = (usec_t) sqlite3_column_int64(statement, 1);
        }
        if (code != SQLITE_DONE)
                return sqlite_errno(code);
        *ret = steal_ptr(rows);
        *ret_n = n;
        return 0;
}

int history_read_explanation(sqlite3 *db, const char *failover, char **ret) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        char *copy = NULL;
        int r, code;

        r = database_prepare(db, "SELECT document FROM explanation WHERE failover = ?", &TEXT_VALUE(failover), 1,
                             &statement);
        if (r < 0)
                return r;
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW && !(copy = strdup((const char *) sqlite3_column_text(statement, 0) ?: "")))
                return -ENOMEM;
        *ret = copy;
        return sqlite_errno(code);
}
