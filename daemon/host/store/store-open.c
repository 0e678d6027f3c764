/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-open.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/store/store-files.h"
#include "daemon/host/store/store-record.h"
#include "daemon/host/store/store-schema.h"

void store_paths_deinit(struct store_paths *paths) {
        free(paths->owner);
        free(paths->steps);
        free(paths->installed);
        free(paths->lost);
        free(paths->reserve);
        free(paths->lock);
}

int store_paths_init(struct store_paths *paths, const struct store_options *options) {
        if (asprintf(&paths->owner, "%s/state.db", options->state_dir) < 0)
                paths->owner = NULL;
        if (asprintf(&paths->steps, "%s/steps.db", options->runtime_dir) < 0)
                paths->steps = NULL;
        if (asprintf(&paths->installed, "%s/installed", options->state_dir) < 0)
                paths->installed = NULL;
        if (asprintf(&paths->lost, "%s/lost", options->state_dir) < 0)
                paths->lost = NULL;
        if (asprintf(&paths->reserve, "%s/reserve", options->state_dir) < 0)
                paths->reserve = NULL;
        if (asprintf(&paths->lock, "%s/lock", options->state_dir) < 0)
                paths->lock = NULL;
        return paths->owner && paths->steps && paths->installed && paths->lost && paths->reserve && paths->lock
                               ? 0
                               : -ENOMEM;
}

static uint64_t seconds_now(void) {
        return (uint64_t) time(NULL);
}

void store_contents_deinit(struct store_contents *contents) {
        for (int i = 0; i < PERSIST_LEVEL_MAX; i++) {
                database_closep(&contents->databases[i]);
                free(contents->records[i]);
        }
        free(contents->told);
        *contents = (struct store_contents) { 0 };
}

int store_prepare(const struct store_paths *paths, const struct store_options *options, int *ret_lock_fd,
                  struct error *error) {
        int r;

        r = directory_prepare(options->state_dir);
        if (r < 0)
                return error_set(error, r, "%s: cannot be used: %s", options->state_dir, strerror(-r));
        r = directory_prepare(options->runtime_dir);
        if (r < 0)
                return error_set(error, r, "%s: cannot be used: %s", options->runtime_dir, strerror(-r));
        r = lock_take(paths->lock);
        if (r < 0)
                return error_set(error, r, "%s: %s", paths->lock,
                                 r == -EBUSY ? "another failoverd runs with this directory" : strerror(-r));
        *ret_lock_fd = r;
        return 0;
}

static int get_boot_id(const struct store_options *options, char *buffer, size_t size, struct error *error) {
        int r;

        if (options->boot_id) {
                snprintf(buffer, size, "%s", options->boot_id);
                return 0;
        }
        r = marker_read("/proc/sys/kernel/random/boot_id", buffer, size);
        if (r <= 0)
                return error_set(error, r ?: -ENOENT, "/proc/sys/kernel/random/boot_id: cannot be read");
        return 0;
}

/* Steps of an earlier boot tell of processes that are no more. */
static int open_steps(const struct store_paths *paths, const char *vfs, const char *boot_id, sqlite3 **ret,
                      struct error *error) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        char found[64];
        int r;

        r = database_open(paths->steps, vfs, PERSIST_STEP, &db, error);
        if (r < 0)
                return r;
        r = meta_get(db, "boot_id", found, sizeof(found));
        if (r > 0 && strcmp(found, boot_id) != 0) {
                (void) sqlite3_close_v2(steal_ptr(db));
                r = database_move(paths->steps, NULL);
                if (r < 0)
                        return error_set(error, r, "%s: cannot be removed: %s", paths->steps, strerror(-r));
                r = database_open(paths->steps, vfs, PERSIST_STEP, &db, error);
                if (r < 0)
                        return r;
        }
        if (r == 0)
                r = meta_set(db, "boot_id", boot_id);
        if (r < 0)
                return error_set(error, r, "%s: %s", paths->steps, sqlite3_errmsg(db));
        *ret = steal_ptr(db);
        return 0;
}

/* What is known about a store that was there before. */
static int examine(const struct store_paths *paths, sqlite3 *owner, size_t n_steps, struct store_finding *finding,
                   struct error *error) {
        char text[EVENT_TEXT_LEN] = "";
        int complete, installed, lost;

        complete = meta_get(owner, "installed", text, sizeof(text));
        if (complete < 0)
                return error_set(error, complete, "%s: %s", paths->owner, sqlite3_errmsg(owner));
        installed = marker_read(paths->installed, text, sizeof(text));
        if (installed < 0)
                return error_set(error, installed, "%s: %s", paths->installed, strerror(-installed));
        lost = marker_read(paths->lost, text, sizeof(text));
        if (lost < 0)
                return error_set(error, lost, "%s: %s", paths->lost, strerror(-lost));

        *finding = (struct store_finding) { .fresh = !complete && !installed && !lost && n_steps == 0 };
        finding->lost = lost || (!complete && !finding->fresh);
        if (lost)
                memcpy(finding->text, text, sizeof(text));
        else if (finding->lost)
                snprintf(finding->text, sizeof(finding->text), "%s was there and is gone", paths->owner);
        return finding->lost && !lost ? 1 : 0;
}

/* The order matters at a crash: a loss is on disk before anything makes the new database look complete, and the
 * database is complete before the marker says that there is one. */
static int install(const struct store_paths *paths, sqlite3 *owner, size_t n_steps, struct store_finding *finding,
                   struct error *error) {
        char text[32];
        int r;

        r = examine(paths, owner, n_steps, finding, error);
        if (r < 0)
                return r;
        if (r > 0) {
                r = marker_write(paths->lost, finding->text);
                if (r < 0)
                        return error_set(error, r, "%s: %s", paths->lost, strerror(-r));
        }
        snprintf(text, sizeof(text), "%" PRIu64 "\n", seconds_now());
        r = DATABASE_RUN(owner, "INSERT OR IGNORE INTO meta VALUES ('installed', ?)", TEXT_VALUE(text));
        if (r < 0)
                return error_set(error, r, "%s: %s", paths->owner, sqlite3_errmsg(owner));
        if (access(paths->installed, F_OK) < 0) {
                r = marker_write(paths->installed, text);
                if (r < 0)
                        return error_set(error, r, "%s: %s", paths->installed, strerror(-r));
        }
        return 0;
}

int store_open(const struct store_paths *paths, const struct store_options *options, struct store_contents *contents,
               struct store_finding *finding, struct error *error) {
        const char *const names[PERSIST_LEVEL_MAX] = { [PERSIST_STEP] = paths->steps, [PERSIST_OWNER] = paths->owner };
        char boot_id[64];
        int r;

        r = get_boot_id(options, boot_id, sizeof(boot_id), error);
        if (r >= 0)
                r = open_steps(paths, options->vfs, boot_id, &contents->databases[PERSIST_STEP], error);
        if (r >= 0)
                r = database_open(paths->owner, options->vfs, PERSIST_OWNER, &contents->databases[PERSIST_OWNER],
                                  error);
        for (int i = 0; r >= 0 && i < PERSIST_LEVEL_MAX; i++) {
                r = record_read_all(contents->databases[i], &contents->records[i], &contents->n_records[i], error);
                if (r < 0)
                        error_prefix(error, "%s", names[i]);
        }
        if (r >= 0) {
                r = history_read_told(contents->databases[PERSIST_OWNER], &contents->told, &contents->n_told);
                if (r < 0)
                        error_set(error, r, "%s: %s", paths->owner, strerror(-r));
        }
        if (r >= 0)
                r = install(paths, contents->databases[PERSIST_OWNER], contents->n_records[PERSIST_STEP], finding,
                            error);
        return r;
}

/* 1 where it was damaged and is set aside now, 0 where there was no need. */
static int set_aside(const struct store_paths *paths, const char *from, const char *vfs, enum persist_level level,
                     struct error *error) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        _cleanup_free_ struct record *records = NULL;
        _cleanup_free_ char *to = NULL, *text = NULL;
        size_t n;
        int r;

        if (access(from, F_OK) < 0)
                return 0;
        r = database_open(from, vfs, level, &db, error);
        if (r >= 0)
                r = record_read_all(db, &records, &n, error);
        if (r != -EUCLEAN)
                return r;
        (void) sqlite3_close_v2(steal_ptr(db));
        if (asprintf(&to, "%s.damaged-%" PRIu64, from, seconds_now()) < 0 ||
            asprintf(&text, "%s was damaged and is now %s", from, to) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        r = marker_write(paths->lost, text);
        if (r >= 0)
                r = database_move(from, to);
        return r < 0 ? error_set(error, r, "%s: cannot be set aside: %s", from, strerror(-r)) : 1;
}

int store_set_aside(const struct store_options *options, struct error *error) {
        struct store_paths paths = { 0 };
        struct error local = ERROR_INIT;
        int r;

        r = store_paths_init(&paths, options);
        if (r >= 0)
                r = set_aside(&paths, paths.steps, options->vfs, PERSIST_STEP, &local);
        if (r >= 0)
                r = set_aside(&paths, paths.owner, options->vfs, PERSIST_OWNER, &local);
        if (r < 0)
                error_set(error, r, "%s", local.code < 0 ? error_text(&local) : strerror(-r));
        error_deinit(&local);
        store_paths_deinit(&paths);
        return r < 0 ? r : 0;
}
