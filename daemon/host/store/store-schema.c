/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-schema.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#include "daemon/base/cleanup.h"

#define OWNER_BUSY_MSEC 500 /* somebody else's write, by sqlite3 on the command line */
#define STEP_BUSY_MSEC 50
#define CHUNK_BYTES (256 * 1024) /* that state.db grows by */

static_assert(PHASE_MAX == 9, "a new phase is a new column of `flow`: add a step below");

/* Times are microseconds since 1970 but those of `flow`, which are of CLOCK_BOOTTIME; -1 is no end. */
static const char version_1[] =
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE pair ("
        "        name TEXT PRIMARY KEY, seq INTEGER NOT NULL, known INTEGER NOT NULL,"
        "        failovers INTEGER NOT NULL,"
        "        fence_wanted_a INTEGER NOT NULL, fence_wanted_b INTEGER NOT NULL,"
        "        fence_frozen_a INTEGER NOT NULL, fence_frozen_b INTEGER NOT NULL,"
        "        paused INTEGER NOT NULL, paused_until_usec INTEGER NOT NULL, pause_reason TEXT NOT NULL,"
        "        held INTEGER NOT NULL, held_reason TEXT NOT NULL) WITHOUT ROWID;"
        "CREATE TABLE application ("
        "        pair TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL,"
        "        owner TEXT NOT NULL CHECK (owner IN ('a', 'b')), token INTEGER NOT NULL,"
        "        granted_a_bytes INTEGER NOT NULL, granted_b_bytes INTEGER NOT NULL,"
        "        releasing_a INTEGER NOT NULL, releasing_b INTEGER NOT NULL, kind TEXT NOT NULL,"
        "        ended INTEGER NOT NULL, moving INTEGER NOT NULL, stopped INTEGER NOT NULL,"
        "        started INTEGER NOT NULL, PRIMARY KEY (pair, position)) WITHOUT ROWID;"
        "CREATE TABLE flow ("
        "        pair TEXT PRIMARY KEY, kind TEXT NOT NULL, number INTEGER NOT NULL,"
        "        from_side TEXT NOT NULL CHECK (from_side IN ('a', 'b')),"
        "        to_side TEXT NOT NULL CHECK (to_side IN ('a', 'b')),"
        "        drill INTEGER NOT NULL, command_id INTEGER NOT NULL, cause TEXT NOT NULL,"
        "        fault_usec INTEGER NOT NULL, detected_usec INTEGER NOT NULL, decided_usec INTEGER NOT NULL,"
        "        fenced_usec INTEGER NOT NULL, granted_usec INTEGER NOT NULL, plugged_usec INTEGER NOT NULL,"
        "        started_usec INTEGER NOT NULL, healthy_usec INTEGER NOT NULL, rejoined_usec INTEGER NOT NULL)"
        "        WITHOUT ROWID;"
        "CREATE TABLE flap ("
        "        pair TEXT NOT NULL, position INTEGER NOT NULL, time_usec INTEGER NOT NULL,"
        "        PRIMARY KEY (pair, position)) WITHOUT ROWID;"
        "CREATE TABLE failover ("
        "        id TEXT NOT NULL UNIQUE, pair TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL,"
        "        from_side TEXT NOT NULL, to_side TEXT NOT NULL, drill INTEGER NOT NULL, cause TEXT NOT NULL,"
        "        begun_usec INTEGER NOT NULL, ended_usec INTEGER NOT NULL, result INTEGER NOT NULL,"
        "        text TEXT NOT NULL);"
        "CREATE INDEX failover_pair ON failover (pair);"
        "CREATE TABLE phase ("
        "        failover TEXT NOT NULL, phase TEXT NOT NULL, time_usec INTEGER NOT NULL,"
        "        PRIMARY KEY (failover, phase)) WITHOUT ROWID;"
        "CREATE TABLE event ("
        "        id INTEGER PRIMARY KEY, time_usec INTEGER NOT NULL, pair TEXT NOT NULL, side TEXT,"
        "        kind TEXT NOT NULL, text TEXT NOT NULL);"
        "CREATE INDEX event_pair ON event (pair);"
        "CREATE TABLE drill ("
        "        failover TEXT PRIMARY KEY, pair TEXT NOT NULL, time_usec INTEGER NOT NULL,"
        "        result INTEGER NOT NULL, recovery_usec INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;";

static const char version_2[] =
        "ALTER TABLE pair ADD COLUMN lost_bytes INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE pair ADD COLUMN reserve_used_bytes INTEGER NOT NULL DEFAULT 0;";

/* A drill needs no failover any more, and is judged when it ends. */
#define DRILL_COLUMNS \
        "level TEXT NOT NULL, at_usec INTEGER NOT NULL, ok INTEGER NOT NULL, took_usec INTEGER NOT NULL," \
        "objective_usec INTEGER NOT NULL, number INTEGER NOT NULL, text TEXT NOT NULL"
static const char version_3[] =
        "ALTER TABLE drill RENAME TO drill_of_version_1;"
        "CREATE TABLE drill (id INTEGER PRIMARY KEY, pair TEXT NOT NULL, " DRILL_COLUMNS ");"
        "CREATE INDEX drill_pair ON drill (pair);"
        "INSERT INTO drill (pair, level, at_usec, ok, took_usec, objective_usec, number, text)"
        "        SELECT pair, 'full', time_usec, result = 0 AND recovery_usec >= 0, recovery_usec, -1,"
        "        CAST(substr(failover, length(pair) + 2) AS INTEGER), text FROM drill_of_version_1 ORDER BY time_usec;"
        "DROP TABLE drill_of_version_1;"
        "CREATE TABLE last_drill (pair TEXT PRIMARY KEY, " DRILL_COLUMNS ") WITHOUT ROWID;";

static const char version_4[] =
        "ALTER TABLE application ADD COLUMN using_a_bytes INTEGER NOT NULL DEFAULT 0;"
        "ALTER TABLE application ADD COLUMN using_b_bytes INTEGER NOT NULL DEFAULT 0;";

/* What was believed of a pair when a failover was decided: failover-json(7), EXPLAIN. */
static const char version_5[] =
        "CREATE TABLE explanation (failover TEXT PRIMARY KEY, document TEXT NOT NULL) WITHOUT ROWID;";

#define REHEARSAL_COLUMNS(table) \
        "ALTER TABLE " table " ADD COLUMN wanted_bytes INTEGER NOT NULL DEFAULT 0;"    \
        "ALTER TABLE " table " ADD COLUMN rehearsed_bytes INTEGER NOT NULL DEFAULT 0;" \
        "ALTER TABLE " table " ADD COLUMN plugged_usec INTEGER NOT NULL DEFAULT -1;"   \
        "ALTER TABLE " table " ADD COLUMN touched_usec INTEGER NOT NULL DEFAULT -1;"   \
        "ALTER TABLE " table " ADD COLUMN canary_usec INTEGER NOT NULL DEFAULT -1;"
static const char version_6[] =
        REHEARSAL_COLUMNS("drill") REHEARSAL_COLUMNS("last_drill")
        "ALTER TABLE pair ADD COLUMN rehearsal TEXT NOT NULL DEFAULT 'none';"
        "ALTER TABLE pair ADD COLUMN rehearsal_side TEXT NOT NULL DEFAULT 'b' CHECK (rehearsal_side IN ('a', 'b'));"
        "ALTER TABLE application ADD COLUMN rehearsed INTEGER NOT NULL DEFAULT 0;";

/* Memory that each VM was assigned by hand: places in the pool. */
static const char version_7[] =
        "CREATE TABLE assigned ("
        "        pair TEXT NOT NULL, position INTEGER NOT NULL, side TEXT NOT NULL CHECK (side IN ('a', 'b')),"
        "        start_bytes INTEGER NOT NULL, end_bytes INTEGER NOT NULL,"
        "        PRIMARY KEY (pair, position)) WITHOUT ROWID;";

/* Whether an application's regions are at their holders. */
static const char version_8[] = "ALTER TABLE application ADD COLUMN state_kept INTEGER NOT NULL DEFAULT 0;";

/* The QEMU process that a person stated to be dead. */
static const char version_9[] = "ALTER TABLE pair ADD COLUMN fence_stated_a INTEGER NOT NULL DEFAULT 0;"
                                "ALTER TABLE pair ADD COLUMN fence_stated_b INTEGER NOT NULL DEFAULT 0;";

/* Whether the side that does not own an application may still write its regions; of older records nobody knows. */
static const char version_10[] = "ALTER TABLE application ADD COLUMN state_left INTEGER NOT NULL DEFAULT 0;"
                                 "UPDATE application SET state_left = state_kept <> 0;";

/* The token under which an application's regions were granted last. */
static const char version_11[] = "ALTER TABLE application ADD COLUMN state_granted INTEGER NOT NULL DEFAULT 0;";

/* Which VM was migrated to another host. */
static const char version_12[] = "ALTER TABLE pair ADD COLUMN away_a INTEGER NOT NULL DEFAULT 0;"
                                 "ALTER TABLE pair ADD COLUMN away_b INTEGER NOT NULL DEFAULT 0;";

/* Until when history has what the standby of a VM that stands alone has told of it. */
static const char version_13[] =
        "CREATE TABLE told (domain TEXT PRIMARY KEY, time_usec INTEGER NOT NULL) WITHOUT ROWID;";

/* Which of an application's regions were elsewhere when they were granted last. */
static const char version_14[] = "ALTER TABLE application ADD COLUMN state_moved INTEGER NOT NULL DEFAULT 0;";

const char *const schema_steps[] = { version_1, version_2, version_3, version_4, version_5,
                                     version_6, version_7, version_8, version_9, version_10,
                                     version_11, version_12, version_13, version_14 };
const int n_schema_steps = ELEMENTSOF(schema_steps);

int sqlite_errno(int code) {
        switch (code & 0xff) {
        case SQLITE_OK:
        case SQLITE_ROW:
        case SQLITE_DONE:
                return 0;
        case SQLITE_NOMEM:
                return -ENOMEM;
        case SQLITE_BUSY:
        case SQLITE_LOCKED:
                return -EBUSY;
        case SQLITE_CORRUPT:
        case SQLITE_NOTADB:
        case SQLITE_MISMATCH:
        case SQLITE_CONSTRAINT:
                return -EUCLEAN;
        case SQLITE_FULL:
                return -ENOSPC;
        case SQLITE_PERM:
        case SQLITE_AUTH:
                return -EACCES;
        case SQLITE_READONLY:
                return -EROFS;
        case SQLITE_INTERRUPT:
                return -ETIME;
        default:
                return -EIO;
        }
}

/* SQLite tells a full disk apart only where it was writing a page. */
static int database_errno(sqlite3 *db, int code) {
        if ((code & 0xff) == SQLITE_IOERR && sqlite3_system_errno(db) == ENOSPC)
                return -ENOSPC;
        return sqlite_errno(code);
}

int database_exec(sqlite3 *db, const char *sql) {
        return database_errno(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

int database_prepare(sqlite3 *db, const char *sql, const struct value *values, size_t n, sqlite3_stmt **ret) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        int code = sqlite3_prepare_v2(db, sql, -1, &statement, NULL);

        for (size_t i = 0; code == SQLITE_OK && i < n; i++)
                code = values[i].kind == VALUE_TEXT
                                ? sqlite3_bind_text(statement, (int) i + 1, values[i].text, -1, SQLITE_STATIC)
                                : sqlite3_bind_int64(statement, (int) i + 1, values[i].number);
        if (code != SQLITE_OK)
                return sqlite_errno(code) ?: -EIO;
        *ret = steal_ptr(statement);
        return 0;
}

int database_run(sqlite3 *db, const char *sql, const struct value *values, size_t n) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        int r;

        r = database_prepare(db, sql, values, n, &statement);
        if (r < 0)
                return r;
        return database_errno(db, sqlite3_step(statement));
}

/* The first column of the first row: 1 and a copy, cut to the buffer; 0 where there is no row. */
static int get_text(sqlite3 *db, const char *sql, const struct value *values, size_t n, char *buffer, size_t size) {
        _cleanup_(statement_finalizep) sqlite3_stmt *statement = NULL;
        const char *text;
        int r, code;

        r = database_prepare(db, sql, values, n, &statement);
        if (r < 0)
                return r;
        code = sqlite3_step(statement);
        if (code != SQLITE_ROW)
                return sqlite_errno(code);
        text = (const char *) sqlite3_column_text(statement, 0);
        if (!text)
                return -EUCLEAN;
        snprintf(buffer, size, "%s", text);
        return 1;
}

int meta_get(sqlite3 *db, const char *key, char *buffer, size_t size) {
        return get_text(db, "SELECT value FROM meta WHERE key = ?", &TEXT_VALUE(key), 1, buffer, size);
}

int meta_set(sqlite3 *db, const char *key, const char *value) {
        return DATABASE_RUN(db, "INSERT OR REPLACE INTO meta VALUES (?, ?)", TEXT_VALUE(key), TEXT_VALUE(value));
}

static int get_version(sqlite3 *db, int *ret) {
        char text[16];
        int r;

        r = get_text(db, "PRAGMA user_version", NULL, 0, text, sizeof(text));
        if (r <= 0)
                return r ?: -EUCLEAN;
        *ret = atoi(text);
        return 0;
}

int schema_migrate(sqlite3 *db, const char *path, const char *const *steps, int n_steps, struct error *error) {
        char sql[64];
        int version, r;

        r = get_version(db, &version);
        if (r < 0)
                return error_set(error, r, "%s: cannot be read: %s", path, sqlite3_errmsg(db));
        if (version > n_steps || version < 0)
                return error_set(error, -EPROTO,
                                 "%s: written by a newer failoverd (schema %d, this one knows %d): install that "
                                 "version again, or move the file away and say who owns the data with "
                                 "\"failoverctl adopt\"", path, version, n_steps);
        if (version == n_steps)
                return 0;
        r = database_exec(db, "BEGIN IMMEDIATE");
        for (int i = version; r >= 0 && i < n_steps; i++)
                r = database_exec(db, steps[i]);
        if (r >= 0) {
                snprintf(sql, sizeof(sql), "PRAGMA user_version = %d; COMMIT", n_steps);
                r = database_exec(db, sql);
        }
        if (r < 0) {
                error_set(error, r, "%s: cannot be brought from schema %d to %d: %s", path, version, n_steps,
                          sqlite3_errmsg(db));
                if (!sqlite3_get_autocommit(db))
                        (void) database_exec(db, "ROLLBACK");
        }
        return r;
}

/* What the check found may be a page that could not be read, which is no damage: it must not be set aside for that. */
static int errno_of_finding(const char *finding) {
        const char *at = strstr(finding, "error code=");
        int r = at ? sqlite_errno(atoi(at + strlen("error code="))) : -EUCLEAN;

        return r < 0 ? r : -EUCLEAN;
}

/* Structure, keys and constraints; small, since history is bounded. */
static int check_damage(sqlite3 *db, const char *path, struct error *error) {
        char text[256] = "";
        int r;

        r = get_text(db, "PRAGMA quick_check(1)", NULL, 0, text, sizeof(text));
        if (r > 0 && strcmp(text, "ok") == 0)
                return 0;
        if (r >= 0)
                r = errno_of_finding(text);
        return error_set(error, r, "%s: %s: %s", path, r == -EUCLEAN ? "is damaged" : "cannot be checked",
                         *text ? text : sqlite3_errmsg(db));
}

static int setup(sqlite3 *db, const char *path, enum persist_level level, struct error *error) {
        char mode[16] = "";
        int r;

        (void) sqlite3_extended_result_codes(db, 1);
        (void) sqlite3_busy_timeout(db, level == PERSIST_OWNER ? OWNER_BUSY_MSEC : STEP_BUSY_MSEC);
        /* The schema of a file is not to run anything of its own. */
        (void) sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        (void) sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        r = check_damage(db, path, error);
        if (r < 0)
                return r;
        r = get_text(db, "PRAGMA journal_mode = WAL", NULL, 0, mode, sizeof(mode));
        if (r <= 0 || strcmp(mode, "wal") != 0)
                return error_set(error, r < 0 ? r : -EIO, "%s: cannot be set to write ahead: %s", path,
                                 sqlite3_errmsg(db));
        /* Only the worker says when the log goes into the database, so that no write waits for it. */
        r = database_exec(db, level == PERSIST_OWNER
                                  ? "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0"
                                  : "PRAGMA synchronous = OFF");
        if (r < 0)
                return error_set(error, r, "%s: cannot be set up: %s", path, sqlite3_errmsg(db));
        r = schema_migrate(db, path, schema_steps, n_schema_steps, error);
        if (r < 0)
                return r;
        if (level == PERSIST_OWNER) {
                /* Room ahead, so that putting the log into the database goes on when the disk is full. */
                int chunk = CHUNK_BYTES;

                (void) sqlite3_file_control(db, "main", SQLITE_FCNTL_CHUNK_SIZE, &chunk);
                (void) sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        }
        return 0;
}

/* SQLite would create it readable for all, as far as the umask goes. */
static int create_private(const char *path) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

        return fd < 0 && errno != EEXIST ? -errno : 0;
}

int database_open(const char *path, const char *vfs, enum persist_level level, sqlite3 **ret, struct error *error) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        int r, code;

        r = create_private(path);
        if (r < 0)
                return error_set(error, r, "%s: cannot be created: %s", path, strerror(-r));
        code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, vfs);
        if (code != SQLITE_OK)
                return error_set(error,
                                 db && sqlite3_system_errno(db) > 0 ? -sqlite3_system_errno(db) : sqlite_errno(code),
                                 "%s: cannot be opened: %s", path, db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
        r = setup(db, path, level, error);
        if (r < 0)
                return r;
        *ret = steal_ptr(db);
        return 0;
}

int database_open_reader(const char *path, const char *vfs, sqlite3 **ret) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        int code;

        code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, vfs);
        if (code != SQLITE_OK)
                return sqlite_errno(code);
        *ret = steal_ptr(db);
        return 0;
}
