/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-record.h"

#include <limits.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/store/store-schema.h"

/* Sorted, without overlap. */
static bool assigned_is_valid(const struct assigned *assigned) {
        uint64_t end = 0;

        if (assigned->n_spans > ASSIGNED_SPANS_MAX)
                return false;
        for (unsigned i = 0; i < assigned->n_spans; i++) {
                if (assigned->spans[i].start < end || assigned->spans[i].end <= assigned->spans[i].start)
                        return false;
                end = assigned->spans[i].end;
        }
        return true;
}

bool record_is_valid(const struct record *record) {
        const struct flow *flow = &record->flow;

        if (!*record->pair || record->n_apps > POLICY_APPLICATIONS_MAX || record->n_flaps > FLAP_MAX ||
            !drill_level_to_string(record->last_drill.level) || !rehearsal_state_to_string(record->rehearsal) ||
            !side_to_string(record->rehearsal_side) || !flow_kind_to_string(flow->kind) ||
            !side_to_string(flow->from) || !side_to_string(flow->to))
                return false;
        if (!assigned_is_valid(&record->assigned[SIDE_A]) || !assigned_is_valid(&record->assigned[SIDE_B]))
                return false;
        for (unsigned i = 0; i < record->n_apps; i++)
                if (!*record->apps[i].name || !side_to_string(record->apps[i].owner) ||
                    !application_kind_to_string(record->apps[i].kind))
                        return false;
        return true;
}

static int write_applications(sqlite3 *db, const struct record *record) {
        int r;

        r = DATABASE_RUN(db, "DELETE FROM application WHERE pair = ?", TEXT_VALUE(record->pair));
        for (unsigned i = 0; r >= 0 && i < record->n_apps; i++) {
                const struct record_app *app = &record->apps[i];

                r = DATABASE_RUN(db,
                                 "INSERT INTO application VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                                 "?, ?, ?, ?)",
                                 TEXT_VALUE(record->pair), INT_VALUE(i), TEXT_VALUE(app->name),
                                 TEXT_VALUE(side_to_string(app->owner)), INT_VALUE(app->token),
                                 INT_VALUE(app->granted_bytes[SIDE_A]), INT_VALUE(app->granted_bytes[SIDE_B]),
                                 INT_VALUE(app->releasing[SIDE_A]), INT_VALUE(app->releasing[SIDE_B]),
                                 TEXT_VALUE(application_kind_to_string(app->kind)), INT_VALUE(app->ended),
                                 INT_VALUE(app->moving), INT_VALUE(app->stopped), INT_VALUE(app->started),
                                 INT_VALUE(app->using_bytes[SIDE_A]), INT_VALUE(app->using_bytes[SIDE_B]),
                                 INT_VALUE(app->rehearsed), INT_VALUE(app->state_kept),
                                 INT_VALUE(app->state_left), INT_VALUE(app->state_granted),
                                 INT_VALUE(app->state_moved));
        }
        return r;
}

static int write_flow(sqlite3 *db, const struct record *record) {
        const struct flow *flow = &record->flow;
        struct value values[8 + PHASE_MAX] = {
                TEXT_VALUE(record->pair),
                TEXT_VALUE(flow_kind_to_string(flow->kind)),
                INT_VALUE(flow->number),
                TEXT_VALUE(side_to_string(flow->from)),
                TEXT_VALUE(side_to_string(flow->to)),
                INT_VALUE(flow->drill),
                INT_VALUE(flow->command_id),
                TEXT_VALUE(flow->cause),
        };

        for (int i = 0; i < PHASE_MAX; i++)
                values[8 + i] = INT_VALUE(flow->phase_usec[i]);
        return database_run(db,
                            "INSERT OR REPLACE INTO flow VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            values, ELEMENTSOF(values));
}

static int write_flaps(sqlite3 *db, const struct record *record) {
        int r;

        r = DATABASE_RUN(db, "DELETE FROM flap WHERE pair = ?", TEXT_VALUE(record->pair));
        for (unsigned i = 0; r >= 0 && i < record->n_flaps; i++)
                r = DATABASE_RUN(db, "INSERT INTO flap VALUES (?, ?, ?)", TEXT_VALUE(record->pair), INT_VALUE(i),
                                 INT_VALUE(record->flaps_usec[i]));
        return r;
}

static int write_assigned(sqlite3 *db, const struct record *record) {
        unsigned position = 0;
        int r;

        r = DATABASE_RUN(db, "DELETE FROM assigned WHERE pair = ?", TEXT_VALUE(record->pair));
        for (enum side side = 0; side < SIDE_MAX; side++)
                for (unsigned i = 0; r >= 0 && i < record->assigned[side].n_spans; i++)
                        r = DATABASE_RUN(db, "INSERT INTO assigned VALUES (?, ?, ?, ?, ?)", TEXT_VALUE(record->pair),
                                         INT_VALUE(position++), TEXT_VALUE(side_to_string(side)),
                                         INT_VALUE(record->assigned[side].spans[i].start),
                                         INT_VALUE(record->assigned[side].spans[i].end));
        return r;
}

static int write_last_drill(sqlite3 *db, const struct record *record) {
        const struct drill_result *drill = &record->last_drill;

        if (drill->at_usec == 0)
                return DATABASE_RUN(db, "DELETE FROM last_drill WHERE pair = ?", TEXT_VALUE(record->pair));
        return DATABASE_RUN(db, "INSERT OR REPLACE INTO last_drill VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                            TEXT_VALUE(record->pair), DRILL_VALUES(drill));
}

int record_write(sqlite3 *db, const struct record *record) {
        int r;

        r = DATABASE_RUN(db, "INSERT OR REPLACE INTO pair VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
                             "?, ?, ?, ?)",
                         TEXT_VALUE(record->pair), INT_VALUE(record->seq), INT_VALUE(record->known),
                         INT_VALUE(record->failovers), INT_VALUE(record->fence_wanted[SIDE_A]),
                         INT_VALUE(record->fence_wanted[SIDE_B]), INT_VALUE(record->fence_frozen[SIDE_A]),
                         INT_VALUE(record->fence_frozen[SIDE_B]), INT_VALUE(record->paused),
                         INT_VALUE(record->paused_until_usec), TEXT_VALUE(record->pause_reason),
                         INT_VALUE(record->held), TEXT_VALUE(record->held_reason),
                         INT_VALUE(record->lost_bytes), INT_VALUE(record->reserve_used_bytes),
                         TEXT_VALUE(rehearsal_state_to_string(record->rehearsal)),
                         TEXT_VALUE(side_to_string(record->rehearsal_side)),
                         INT_VALUE(record->fence_stated[SIDE_A]), INT_VALUE(record->fence_stated[SIDE_B]),
                         INT_VALUE(record->away[SIDE_A]), INT_VALUE(record->away[SIDE_B]));
        if (r >= 0)
                r = write_applications(db, record);
        if (r >= 0)
                r = write_flow(db, record);
        if (r >= 0)
                r = write_flaps(db, record);
        if (r >= 0)
                r = write_assigned(db, record);
        if (r >= 0)
                r = write_last_drill(db, record);
        return r;
}

/* One row being taken apart, column by column; what does not fit is remembered in `r`. */
struct row {
        sqlite3_stmt *statement;
        int column;
        int r;
};

static uint64_t take_uint64(struct row *row) {
        if (sqlite3_column_type(row->statement, row->column) != SQLITE_INTEGER)
                row->r = -EUCLEAN;
        return (uint64_t) sqlite3_column_int64(row->statement, row->column++);
}

static bool take_bool(struct row *row) {
        uint64_t value = take_uint64(row);

        if (value > 1)
                row->r = -EUCLEAN;
        return value == 1;
}

static const char *take_word(struct row *row) {
        const char *text = (const char *) sqlite3_column_text(row->statement, row->column++);

        if (!text)
                row->r = -EUCLEAN;
        return text ?: "";
}

static void take_text(struct row *row, char *buffer, size_t size) {
        const char *text = take_word(row);

        if (strlen(text) >= size)
                row->r = -EUCLEAN;
        else
                memcpy(buffer, text, strlen(text) + 1);
}

static enum side take_side(struct row *row) {
        enum side side = side_from_string(take_word(row));

        if (side < 0)
                row->r = -EUCLEAN;
        return side;
}

static unsigned take_position(struct row *row, unsigned expected, unsigned limit) {
        uint64_t position = take_uint64(row);

        if (position != expected || position >= limit)
                row->r = -EUCLEAN;
        return row->r < 0 ? 0 : expected;
}

static void take_pair(struct row *row, struct record *record) {
        take_text(row, record->pair, sizeof(record->pair));
        record->seq = take_uint64(row);
        record->known = take_bool(row);
        record->failovers = take_uint64(row);
        for (int side = 0; side < SIDE_MAX; side++)
                record->fence_wanted[side] = take_bool(row);
        for (int side = 0; side < SIDE_MAX; side++)
                record->fence_frozen[side] = take_bool(row);
        record->paused = take_bool(row);
        record->paused_until_usec = take_uint64(row);
        take_text(row, record->pause_reason, sizeof(record->pause_reason));
        record->held = take_bool(row);
        take_text(row, record->held_reason, sizeof(record->held_reason));
        record->lost_bytes = take_uint64(row);
        record->reserve_used_bytes = take_uint64(row);
        record->rehearsal = rehearsal_state_from_string(take_word(row));
        if ((int) record->rehearsal < 0)
                row->r = -EUCLEAN;
        record->rehearsal_side = take_side(row);
        for (int side = 0; side < SIDE_MAX; side++) {
                uint64_t pid = take_uint64(row);

                if (pid > INT_MAX)
                        row->r = -EUCLEAN;
                else
                        record->fence_stated[side] = (int) pid;
        }
        for (int side = 0; side < SIDE_MAX; side++)
                record->away[side] = take_bool(row);
}

static void take_application(struct row *row, struct record *record) {
        struct record_app *app;

        app = &record->apps[take_position(row, record->n_apps, POLICY_APPLICATIONS_MAX)];
        take_text(row, app->name, sizeof(app->name));
        app->owner = take_side(row);
        app->token = take_uint64(row);
        app->granted_bytes[SIDE_A] = take_uint64(row);
        app->granted_bytes[SIDE_B] = take_uint64(row);
        app->releasing[SIDE_A] = take_bool(row);
        app->releasing[SIDE_B] = take_bool(row);
        app->kind = application_kind_from_string(take_word(row));
        if ((int) app->kind < 0)
                row->r = -EUCLEAN;
        app->ended = take_bool(row);
        app->moving = take_bool(row);
        app->stopped = take_bool(row);
        app->started = take_bool(row);
        for (int side = 0; side < SIDE_MAX; side++)
                app->using_bytes[side] = take_uint64(row);
        app->rehearsed = take_bool(row);
        app->state_kept = (unsigned) take_uint64(row);
        app->state_left = take_bool(row);
        app->state_granted = take_uint64(row);
        app->state_moved = (unsigned) take_uint64(row);
        record->n_apps++;
}

static void take_flow(struct row *row, struct record *record) {
        struct flow *flow = &record->flow;

        flow->kind = flow_kind_from_string(take_word(row));
        if ((int) flow->kind < 0)
                row->r = -EUCLEAN;
        flow->number = take_uint64(row);
        flow->from = take_side(row);
        flow->to = take_side(row);
        flow->drill = take_bool(row);
        flow->command_id = take_uint64(row);
        take_text(row, flow->cause, sizeof(flow->cause));
        for (int i = 0; i < PHASE_MAX; i++)
                flow->phase_usec[i] = take_uint64(row);
}

static void take_flap(struct row *row, struct record *record) {
        unsigned i = take_position(row, record->n_flaps, FLAP_MAX);

        record->flaps_usec[i] = take_uint64(row);
        record->n_flaps++;
}

static void take_assigned(struct row *row, struct record *record) {
        unsigned n = record->assigned[SIDE_A].n_spans + record->assigned[SIDE_B].n_spans;
        struct assigned *assigned;
        enum side side;

        (void) take_position(row, n, SIDE_MAX * ASSIGNED_SPANS_MAX);
        side = take_side(row);
        assigned = &record->assigned[side < 0 ? SIDE_A : side];
        if (row->r < 0 || assigned->n_spans == ASSIGNED_SPANS_MAX) {
                row->r = -EUCLEAN;
                return;
        }
        assigned->spans[assigned->n_spans].start = take_uint64(row);
        assigned->spans[assigned->n_spans++].end = take_uint64(row);
}

static void take_last_drill(struct row *row, struct record *record) {
        struct drill_result *drill = &record->last_drill;

        drill->level = drill_level_from_string(take_word(row));
        if ((int) drill->level < 0)
                row->r = -EUCLEAN;
        drill->at_usec = take_uint64(row);
        drill->ok = take_bool(row);
        drill->took_usec = take_uint64(row);
        drill->objective_usec = take_uint64(row);
        drill->number = take_uint64(row);
        take_text(row, drill->text, sizeof(drill->text));
        drill->wanted_bytes = take_uint64(row);
        drill->rehearsed_bytes = take_uint64(row);
        drill->plugged_usec = take_uint64(row);
        drill->touched_usec = take_uint64(row);
        drill->canary_usec = take_uint64(row);
}

/* Hands each row of a table, for one pair, to `take`. Returns the number of rows. */
static int read_rows(sqlite3 *db, const char *table, const char *columns, struct record *record,
                     void (*take)(struct row *row, struct record *record), struct error *error) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        char sql[384];
        int r, code, n = 0;

        snprintf(sql, sizeof(sql), "SELECT %s FROM %s WHERE pair = ? ORDER BY 1", columns, table);
        r = database_prepare(db, sql, &TEXT_VALUE(record->pair), 1, &statement);
        if (r < 0)
                return error_set(error, r, "%s of pair %s: %s", table, record->pair, sqlite3_errmsg(db));
        while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
                struct row row = { .statement = statement };

                take(&row, record);
                if (row.r < 0)
                        return error_set(error, row.r, "%s of pair %s: row %d makes no sense", table, record->pair, n);
                n++;
        }
        if (code != SQLITE_DONE)
                return error_set(error, sqlite_errno(code), "%s of pair %s: %s", table, record->pair,
                                 sqlite3_errmsg(db));
        return n;
}

static int read_parts(sqlite3 *db, struct record *record, struct error *error) {
        int r;

        r = read_rows(db, "application",
                      "position, name, owner, token, granted_a_bytes, granted_b_bytes, releasing_a, releasing_b, kind, "
                      "ended, moving, stopped, started, using_a_bytes, using_b_bytes, rehearsed, state_kept, "
                      "state_left, state_granted, state_moved",
                      record, take_application, error);
        if (r < 0)
                return r;
        r = read_rows(
                db, "flow",
                "kind, number, from_side, to_side, drill, command_id, cause, fault_usec, detected_usec, "
                "decided_usec, fenced_usec, granted_usec, plugged_usec, started_usec, healthy_usec, rejoined_usec",
                record, take_flow, error);
        if (r < 0)
                return r;
        if (r != 1)
                return error_set(error, -EUCLEAN, "flow of pair %s: is missing", record->pair);
        r = read_rows(db, "flap", "position, time_usec", record, take_flap, error);
        if (r >= 0)
                r = read_rows(db, "assigned", "position, side, start_bytes, end_bytes", record, take_assigned, error);
        if (r >= 0)
                r = read_rows(db, "last_drill", DRILL_NAMES, record,
                              take_last_drill, error);
        return r < 0 ? r : 0;
}

int record_read_all(sqlite3 *db, struct record **ret, size_t *ret_n, struct error *error) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        _cleanup_free_ struct record *records = NULL;
        size_t n = 0, n_allocated = 0;
        int r, code;

        r = database_prepare(db, "SELECT name, seq, known, failovers, fence_wanted_a, fence_wanted_b, fence_frozen_a, "
                                 "fence_frozen_b, paused, paused_until_usec, pause_reason, held, held_reason, "
                                 "lost_bytes, reserve_used_bytes, rehearsal, rehearsal_side, fence_stated_a, "
                                 "fence_stated_b, away_a, away_b "
                                 "FROM pair ORDER BY name", NULL, 0, &statement);
        if (r < 0)
                return error_set(error, r, "pair: %s", sqlite3_errmsg(db));
        while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
                struct row row = { .statement = statement };

                if (n == n_allocated) {
                        struct record *larger = reallocarray(records, n_allocated * 2 + 8, sizeof(*records));
                        if (!larger)
                                return error_set(error, -ENOMEM, "out of memory");
                        records = larger;
                        n_allocated = n_allocated * 2 + 8;
                }
                records[n] = (struct record) { 0 };
                take_pair(&row, &records[n]);
                if (row.r < 0)
                        return error_set(error, row.r, "pair %s: makes no sense", records[n].pair);
                r = read_parts(db, &records[n], error);
                if (r < 0)
                        return r;
                n++;
        }
        if (code != SQLITE_DONE)
                return error_set(error, sqlite_errno(code), "pair: %s", sqlite3_errmsg(db));
        *ret = steal_ptr(records);
        *ret_n = n;
        return 0;
}
