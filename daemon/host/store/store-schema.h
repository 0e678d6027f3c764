/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The shape of the databases. Its version is SQLite's user_version; an older database is brought forward one step
 * at a time, all in one transaction, and a newer one is refused.
 */

#include <sqlite3.h>

#include "daemon/base/error.h"
#include "daemon/core/update.h"

/* Meaning of an SQLite result code as a negative errno; 0 for SQLITE_OK, SQLITE_ROW and SQLITE_DONE. */
int sqlite_errno(int code);

/* Runs statements that give no rows. */
int database_exec(sqlite3 *db, const char *sql);

/* Prepares a statement and binds `n` values to it: NULL text is stored as NULL. The caller finalizes. */
enum value_kind { VALUE_TEXT, VALUE_INT };
struct value {
        enum value_kind kind;
        const char *text; /* has to live until the statement is done with */
        int64_t number;
};
#define TEXT_VALUE(t) \
        (struct value) { .kind = VALUE_TEXT, .text = (t) }
#define INT_VALUE(i) \
        (struct value) { .kind = VALUE_INT, .number = (int64_t) (i) }
/* The columns that `drill` and `last_drill` share, for a struct drill_result. */
#define DRILL_VALUES(drill)                                                                          \
        TEXT_VALUE(drill_level_to_string((drill)->level)), INT_VALUE((drill)->at_usec),              \
        INT_VALUE((drill)->ok), INT_VALUE((drill)->took_usec), INT_VALUE((drill)->objective_usec),   \
        INT_VALUE((drill)->number), TEXT_VALUE((drill)->text), INT_VALUE((drill)->wanted_bytes),     \
        INT_VALUE((drill)->rehearsed_bytes), INT_VALUE((drill)->plugged_usec),                       \
        INT_VALUE((drill)->touched_usec), INT_VALUE((drill)->canary_usec)
/* Their names, in the same order. */
#define DRILL_NAMES \
        "level, at_usec, ok, took_usec, objective_usec, number, text, wanted_bytes, rehearsed_bytes, plugged_usec, " \
        "touched_usec, canary_usec"
int database_prepare(sqlite3 *db, const char *sql, const struct value *values, size_t n, sqlite3_stmt **ret);

/* Prepares, runs and finalizes a statement that gives no rows. */
int database_run(sqlite3 *db, const char *sql, const struct value *values, size_t n);
#define DATABASE_RUN(db, sql, ...)                                                                          \
        database_run(db, sql, (const struct value[]) { __VA_ARGS__ },                                       \
                     sizeof((const struct value[]) { __VA_ARGS__ }) / sizeof(struct value))

static inline void statement_finalizep(sqlite3_stmt **statement) {
        (void) sqlite3_finalize(*statement);
}

static inline void database_closep(sqlite3 **db) {
        (void) sqlite3_close_v2(*db);
}

/* Opens or creates a database (mode 0600) for writing, sets how it writes, checks it for damage and brings it to
 * the present version. `vfs` may be NULL. Errors as store_new(). */
int database_open(const char *path, const char *vfs, enum persist_level level, sqlite3 **ret, struct error *error);

/* Opens an existing one for reading only. */
int database_open_reader(const char *path, const char *vfs, sqlite3 **ret);

/* What brings a database from each version to the next, from an empty one on. */
extern const char *const schema_steps[];
extern const int n_schema_steps;

/* Brings a database to version `n_steps`, where steps[i] leads from version i to i + 1. -EPROTO when it is past
 * that. */
int schema_migrate(sqlite3 *db, const char *path, const char *const *steps, int n_steps, struct error *error);

/* Values of meta by key: 1 and the value, 0 where there is none. */
int meta_get(sqlite3 *db, const char *key, char *buffer, size_t size);
int meta_set(sqlite3 *db, const char *key, const char *value);
