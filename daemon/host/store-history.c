/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store-history.h"

#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/store-schema.h"

static int write_event(sqlite3 *db, const struct history_event *event) {
        return DATABASE_RUN(db, "INSERT INTO event (time_usec, pair, side, kind, text) VALUES (?, ?, ?, ?, ?)",
                            INT_VALUE(event->time_usec), TEXT_VALUE(event->pair),
                            TEXT_VALUE(side_to_string(event->side)),
                            TEXT_VALUE(record_kind_to_string(event->kind) ?: "unknown"), TEXT_VALUE(event->text));
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

/* The time from fault to application started is what a drill is for; -1 where it did not come to that. */
static int write_drill(sqlite3 *db, const struct history_flow *flow) {
        usec_t fault = flow->phase_usec[PHASE_FAULT], started = flow->phase_usec[PHASE_STARTED];

        return DATABASE_RUN(db, "INSERT OR REPLACE INTO drill VALUES (?, ?, ?, ?, ?, ?)", TEXT_VALUE(flow->id),
                            TEXT_VALUE(flow->pair), INT_VALUE(flow->ended_usec), INT_VALUE(flow->result),
                            INT_VALUE(fault > 0 && started >= fault ? started - fault : USEC_INFINITY),
                            TEXT_VALUE(flow->text));
}

int history_write(sqlite3 *db, const struct history_line *line) {
        int r;

        if (line->kind == HISTORY_EVENT)
                return write_event(db, &line->event);
        r = write_flow(db, &line->flow);
        if (r >= 0 && line->kind == HISTORY_END && line->flow.drill)
                r = write_drill(db, &line->flow);
        return r;
}

int history_prune(sqlite3 *db, unsigned events, unsigned flows) {
        static const char *const dependent[] = {
                "DELETE FROM phase WHERE failover IN (SELECT id FROM failover WHERE rowid <= "
                "(SELECT max(rowid) FROM failover) - ?)",
                "DELETE FROM drill WHERE failover IN (SELECT id FROM failover WHERE rowid <= "
                "(SELECT max(rowid) FROM failover) - ?)",
                "DELETE FROM failover WHERE rowid <= (SELECT max(rowid) FROM failover) - ?",
        };
        int r;

        r = DATABASE_RUN(db, "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?", INT_VALUE(events));
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(dependent); i++)
                r = DATABASE_RUN(db, dependent[i], INT_VALUE(flows));
        return r;
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

static int read_flow(sqlite3 *db, sqlite3_stmt *statement, struct history_flow *flow) {
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

static int read_event(sqlite3 *db, sqlite3_stmt *statement, struct history_event *event) {
        event->time_usec = (usec_t) sqlite3_column_int64(statement, 0);
        copy_column(statement, 1, event->pair, sizeof(event->pair));
        event->side = side_from_string((const char *) sqlite3_column_text(statement, 2));
        event->kind = record_kind_from_string((const char *) sqlite3_column_text(statement, 3));
        copy_column(statement, 4, event->text, sizeof(event->text));
        return 0;
}

/* `sql` asks for the rows of one pair (bound as 1, or NULL for all), at most as many as bound as 2. */
static int prepare(sqlite3 *db, const char *sql, const char *pair, size_t max, sqlite3_stmt **ret) {
        return database_prepare(db, sql, (const struct value[]) { TEXT_VALUE(pair), INT_VALUE(max) }, 2, ret);
}

int history_read_flows(sqlite3 *db, const char *pair, size_t max, struct history_flow **ret, size_t *ret_n) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        _cleanup_free_ struct history_flow *flows = NULL;
        size_t n = 0;
        int r, code;

        max = max > HISTORY_ROWS_MAX ? HISTORY_ROWS_MAX : max;
        flows = calloc(max ?: 1, sizeof(*flows));
        if (!flows)
                return -ENOMEM;
        r = prepare(db, pair ? "SELECT id, pair, number, kind, from_side, to_side, drill, cause, begun_usec, ended_usec, "
                               "result, text FROM failover WHERE pair = ?1 ORDER BY rowid DESC LIMIT ?2"
                             : "SELECT id, pair, number, kind, from_side, to_side, drill, cause, begun_usec, ended_usec, "
                               "result, text FROM failover WHERE ?1 IS NULL ORDER BY rowid DESC LIMIT ?2",
                    pair, max, &statement);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW && n < max) {
                r = read_flow(db, statement, &flows[n++]);
                if (r < 0)
                        return r;
        }
        if (code != SQLITE_DONE)
                return sqlite_errno(code);
        *ret = steal_ptr(flows);
        *ret_n = n;
        return 0;
}

int history_read_events(sqlite3 *db, const char *pair, size_t max, struct history_event **ret, size_t *ret_n) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        _cleanup_free_ struct history_event *events = NULL;
        size_t n = 0;
        int r, code;

        max = max > HISTORY_ROWS_MAX ? HISTORY_ROWS_MAX : max;
        events = calloc(max ?: 1, sizeof(*events));
        if (!events)
                return -ENOMEM;
        r = prepare(db, pair ? "SELECT time_usec, pair, side, kind, text FROM event WHERE pair = ?1 "
                               "ORDER BY id DESC LIMIT ?2"
                             : "SELECT time_usec, pair, side, kind, text FROM event WHERE ?1 IS NULL "
                               "ORDER BY id DESC LIMIT ?2",
                    pair, max, &statement);
        if (r < 0)
                return r;
        while ((code = sqlite3_step(statement)) == SQLITE_ROW && n < max) {
                r = read_event(db, statement, &events[n++]);
                if (r < 0)
                        return r;
        }
        if (code != SQLITE_DONE)
                return sqlite_errno(code);
        *ret = steal_ptr(events);
        *ret_n = n;
        return 0;
}
