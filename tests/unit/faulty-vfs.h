/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An SQLite VFS "faulty" over the default one. On files whose name holds `match`, writes and syncs are counted, and
 * where `reads_fail` whatever else may fail on a bad disk; the one numbered `fail_at` fails with `fail_code`, and all
 * wait while `stalled`, reads too where `stalls_reads`.
 */

#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct faults {
        pthread_mutex_t mutex;
        pthread_cond_t changed;
        char match[64];
        unsigned n_operations, fail_at;
        unsigned n_syncs;
        int fail_code;
        bool stalled, stalls_reads, reads_fail, failed;
        unsigned n_waiting; /* operations that wait now */
        unsigned n_open;    /* matching files open now */
        sqlite3_vfs vfs;
        sqlite3_vfs *real;
};

struct faulty_file {
        sqlite3_file file;
        struct faults *faults; /* NULL: not to be troubled */
        sqlite3_file *real;
};

static int faults_meet(struct faults *faults) {
        int r = SQLITE_OK;

        if (!faults)
                return SQLITE_OK;
        pthread_mutex_lock(&faults->mutex);
        faults->n_waiting++;
        while (faults->stalled)
                pthread_cond_wait(&faults->changed, &faults->mutex);
        faults->n_waiting--;
        if (++faults->n_operations == faults->fail_at) {
                faults->failed = true;
                r = faults->fail_code;
        }
        pthread_mutex_unlock(&faults->mutex);
        return r;
}

static int faults_meet_read(struct faults *faults) {
        return faults && faults->reads_fail ? faults_meet(faults) : SQLITE_OK;
}

#define REAL(f) (((struct faulty_file *) (f))->real)
#define FAULTS(f) (((struct faulty_file *) (f))->faults)

static int faulty_close(sqlite3_file *f) {
        struct faults *faults = FAULTS(f);
        int r = REAL(f)->pMethods ? REAL(f)->pMethods->xClose(REAL(f)) : SQLITE_OK;

        free(REAL(f));
        if (faults) {
                pthread_mutex_lock(&faults->mutex);
                faults->n_open--;
                pthread_mutex_unlock(&faults->mutex);
        }
        return r;
}
static int faulty_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) {
        if (FAULTS(f) && FAULTS(f)->stalls_reads)
                (void) faults_meet(FAULTS(f));
        return faults_meet_read(FAULTS(f)) ?: REAL(f)->pMethods->xRead(REAL(f), p, n, at);
}
static int faulty_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at) {
        int r = faults_meet(FAULTS(f));

        if (r != SQLITE_OK && n > 1) /* a torn write: half of it is there */
                (void) REAL(f)->pMethods->xWrite(REAL(f), p, n / 2, at);
        return r ?: REAL(f)->pMethods->xWrite(REAL(f), p, n, at);
}
static int faulty_truncate(sqlite3_file *f, sqlite3_int64 size) {
        return faults_meet(FAULTS(f)) ?: REAL(f)->pMethods->xTruncate(REAL(f), size);
}
static int faulty_sync(sqlite3_file *f, int flags) {
        struct faults *faults = FAULTS(f);
        int r = faults_meet(faults) ?: REAL(f)->pMethods->xSync(REAL(f), flags);

        if (faults && r == SQLITE_OK) {
                pthread_mutex_lock(&faults->mutex);
                faults->n_syncs++;
                pthread_mutex_unlock(&faults->mutex);
        }
        return r;
}
static int faulty_size(sqlite3_file *f, sqlite3_int64 *ret) {
        return faults_meet_read(FAULTS(f)) ?: REAL(f)->pMethods->xFileSize(REAL(f), ret);
}
static int faulty_lock(sqlite3_file *f, int level) {
        return faults_meet_read(FAULTS(f)) ?: REAL(f)->pMethods->xLock(REAL(f), level);
}
static int faulty_unlock(sqlite3_file *f, int level) {
        return REAL(f)->pMethods->xUnlock(REAL(f), level);
}
static int faulty_check(sqlite3_file *f, int *ret) {
        return REAL(f)->pMethods->xCheckReservedLock(REAL(f), ret);
}
static int faulty_control(sqlite3_file *f, int op, void *arg) {
        return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}
static int faulty_sector(sqlite3_file *f) {
        return REAL(f)->pMethods->xSectorSize(REAL(f));
}
static int faulty_device(sqlite3_file *f) {
        return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}
static int faulty_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret) {
        return faults_meet_read(FAULTS(f)) ?: REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, ret);
}
static int faulty_shm_lock(sqlite3_file *f, int at, int n, int flags) {
        return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}
static void faulty_shm_barrier(sqlite3_file *f) {
        REAL(f)->pMethods->xShmBarrier(REAL(f));
}
static int faulty_shm_unmap(sqlite3_file *f, int remove) {
        return REAL(f)->pMethods->xShmUnmap(REAL(f), remove);
}

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags) {
        static const sqlite3_io_methods methods = {
                2,             faulty_close,   faulty_read,        faulty_write,    faulty_truncate, faulty_sync,
                faulty_size,   faulty_lock,    faulty_unlock,      faulty_check,    faulty_control,  faulty_sector,
                faulty_device, faulty_shm_map, faulty_shm_lock,    faulty_shm_barrier, faulty_shm_unmap,
                NULL,          NULL,
        };
        struct faults *faults = vfs->pAppData;
        struct faulty_file *file = (struct faulty_file *) f;
        int r;

        if (name && strstr(name, faults->match) && (r = faults_meet_read(faults)) != SQLITE_OK)
                return r;
        *file = (struct faulty_file) { .real = calloc(1, (size_t) faults->real->szOsFile) };
        if (!file->real)
                return SQLITE_NOMEM;
        r = faults->real->xOpen(faults->real, name, file->real, flags, ret_flags);
        if (r != SQLITE_OK) {
                free(file->real);
                return r;
        }
        if (name && strstr(name, faults->match)) {
                file->faults = faults;
                pthread_mutex_lock(&faults->mutex);
                faults->n_open++;
                pthread_mutex_unlock(&faults->mutex);
        }
        file->file.pMethods = &methods;
        return SQLITE_OK;
}

/* Registered until faults_free(); no file may be open by then. */
static inline struct faults *faults_new(const char *match) {
        struct faults *faults = calloc(1, sizeof(*faults));

        if (!faults)
                abort();
        (void) pthread_mutex_init(&faults->mutex, NULL);
        (void) pthread_cond_init(&faults->changed, NULL);
        strncpy(faults->match, match, sizeof(faults->match) - 1);
        faults->real = sqlite3_vfs_find(NULL);
        faults->vfs = *faults->real;
        faults->vfs.pNext = NULL;
        faults->vfs.zName = "faulty";
        faults->vfs.szOsFile = sizeof(struct faulty_file);
        faults->vfs.pAppData = faults;
        faults->vfs.xOpen = faulty_open;
        if (sqlite3_vfs_register(&faults->vfs, 0) != SQLITE_OK)
                abort();
        return faults;
}

static inline void faults_stall(struct faults *faults, bool stalled) {
        pthread_mutex_lock(&faults->mutex);
        faults->stalled = stalled;
        pthread_cond_broadcast(&faults->changed);
        pthread_mutex_unlock(&faults->mutex);
}

/* The `nth` operation from now fails; 0: none. */
static inline void faults_fail(struct faults *faults, unsigned nth, int code) {
        pthread_mutex_lock(&faults->mutex);
        faults->fail_at = nth ? faults->n_operations + nth : 0;
        faults->fail_code = code;
        faults->failed = false;
        pthread_mutex_unlock(&faults->mutex);
}

static inline bool faults_have_failed(struct faults *faults) {
        bool failed;

        pthread_mutex_lock(&faults->mutex);
        failed = faults->failed;
        pthread_mutex_unlock(&faults->mutex);
        return failed;
}

static inline unsigned faults_waiting(struct faults *faults) {
        unsigned n;

        pthread_mutex_lock(&faults->mutex);
        n = faults->n_waiting;
        pthread_mutex_unlock(&faults->mutex);
        return n;
}

static inline unsigned faults_open(struct faults *faults) {
        unsigned n;

        pthread_mutex_lock(&faults->mutex);
        n = faults->n_open;
        pthread_mutex_unlock(&faults->mutex);
        return n;
}

static inline unsigned faults_syncs(struct faults *faults) {
        unsigned n;

        pthread_mutex_lock(&faults->mutex);
        n = faults->n_syncs;
        pthread_mutex_unlock(&faults->mutex);
        return n;
}

static inline void faults_free(struct faults *faults) {
        (void) sqlite3_vfs_unregister(&faults->vfs);
        (void) pthread_mutex_destroy(&faults->mutex);
        (void) pthread_cond_destroy(&faults->changed);
        free(faults);
}
