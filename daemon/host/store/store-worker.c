/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/host/store/store-files.h"
#include "daemon/host/store/store-record.h"
#include "daemon/host/store/store-schema.h"

#define LINES_BATCH 32          /* of history in one transaction: what an ownership may have to wait for */
#define IDLE_USEC (5 * USEC_PER_SEC)
#define LOG_PAGES_MAX 2000      /* of the write-ahead log before it is put into the database in spite of work */
#define LOG_PAGES_FULL 64       /* the same on a full disk, where it had better not grow */

struct job {
        uint64_t serial;
        struct record record;
        int result;
        char text[EVENT_TEXT_LEN];
        struct job *next;
};

struct queue {
        struct job *first, **end;
};

struct worker {
        /* the thread's alone */
        sqlite3 *db;
        int log_pages;     /* of the write-ahead log, as last told */
        usec_t house_usec; /* when to keep house if it is quiet then, on CLOCK_MONOTONIC; 0: no need */

        /* set once */
        enum persist_level level;
        int notify_fd;
        char *reserve_path, *lost_path;

        pthread_mutex_t mutex;
        pthread_cond_t wake, finished;
        /* below: under the mutex */
        struct queue waiting, done;
        struct history_line *lines, **lines_end;
        unsigned n_lines;
        bool lines_wait; /* the disk is full: until house was kept */
        uint64_t serial;
        bool settle, stopping, ended, abandoned;
        struct worker_counts counts;
};

static void queue_init(struct queue *queue) {
        *queue = (struct queue) { .end = &queue->first };
}

static void queue_append(struct queue *queue, struct job *job) {
        job->next = NULL;
        *queue->end = job;
        queue->end = &job->next;
}

static struct job *queue_take(struct queue *queue) {
        struct job *job = queue->first;

        if (job) {
                queue->first = job->next;
                if (!queue->first)
                        queue->end = &queue->first;
        }
        return job;
}

static void queue_clear(struct queue *queue) {
        struct job *job;

        while ((job = queue_take(queue)))
                free(job);
}

static void destroy(struct worker *worker) {
        if (!worker)
                return;
        queue_clear(&worker->waiting);
        queue_clear(&worker->done);
        while (worker->lines) {
                struct history_line *line = worker->lines;
                worker->lines = line->next;
                history_line_free(line);
        }
        (void) sqlite3_close_v2(worker->db);
        closep(&worker->notify_fd);
        free(worker->reserve_path);
        free(worker->lost_path);
        (void) pthread_mutex_destroy(&worker->mutex);
        (void) pthread_cond_destroy(&worker->wake);
        (void) pthread_cond_destroy(&worker->finished);
        free(worker);
}

DEFINE_CLEANUP(struct worker *, destroy)

static void rollback(struct worker *worker) {
        if (!sqlite3_get_autocommit(worker->db))
                (void) database_exec(worker->db, "ROLLBACK");
}

static usec_t house_time(void) {
        return clock_usec(CLOCK_MONOTONIC) + IDLE_USEC;
}

static int write_once(struct worker *worker, struct job *first, size_t n) {
        int r = 0;

        rollback(worker); /* of nothing, unless the last one failed */
        if (worker->level == PERSIST_OWNER)
                r = database_exec(worker->db, "PRAGMA synchronous = FULL"); /* history sets another */
        if (r >= 0)
                r = database_exec(worker->db, "BEGIN IMMEDIATE");
        for (size_t i = 0; r >= 0 && i < n; i++, first = first->next)
                r = record_write(worker->db, &first->record);
        if (r >= 0)
                r = database_exec(worker->db, "COMMIT");
        return r;
}

static void set_reserve_spent(struct worker *worker, bool spent) {
        pthread_mutex_lock(&worker->mutex);
        worker->counts.reserve_spent = spent;
        pthread_mutex_unlock(&worker->mutex);
}

/* After this the log is written from its beginning again, in place, where nobody reads it just now. */
static void checkpoint(struct worker *worker) {
        (void) sqlite3_wal_checkpoint_v2(worker->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        worker->log_pages = 0;
}

/* Writes `n` jobs with one sync. On a full disk again with the reserve, and again in place. */
static int write_jobs(struct worker *worker, struct job *first, size_t n, char text[EVENT_TEXT_LEN]) {
        int r;

        r = write_once(worker, first, n);
        if (r == -ENOSPC && worker->reserve_path) {
                set_reserve_spent(worker, true);
                (void) reserve_release(worker->reserve_path); /* -ENOENT where it is spent already */
                r = write_once(worker, first, n);
                if (r == -ENOSPC) {
                        rollback(worker);
                        checkpoint(worker);
                        r = write_once(worker, first, n);
                }
        }
        if (r < 0) {
                snprintf(text, EVENT_TEXT_LEN, "%s", sqlite3_errmsg(worker->db));
                rollback(worker);
        }
        return r;
}

static void write_batch(struct worker *worker, struct job *first, size_t n) {
        char text[EVENT_TEXT_LEN] = "";
        int r;

        r = write_jobs(worker, first, n, text);
        for (struct job *job = first; job; job = job->next) {
                if (r == -ENOSPC && n > 1) /* one may fit where many do not */
                        job->result = write_jobs(worker, job, 1, job->text);
                else {
                        job->result = r;
                        snprintf(job->text, sizeof(job->text), "%s", text);
                }
        }
        worker->house_usec = house_time();
}

/* With the mutex held; gives it up while writing. */
static void serve_records(struct worker *worker) {
        struct queue batch;
        struct job *job;
        size_t n = 0;

        queue_init(&batch);
        while (n < WORKER_BATCH && (job = queue_take(&worker->waiting))) {
                queue_append(&batch, job);
                n++;
        }
        pthread_mutex_unlock(&worker->mutex);
        write_batch(worker, batch.first, n);
        pthread_mutex_lock(&worker->mutex);
        while ((job = queue_take(&batch))) {
                if (job->result < 0)
                        worker->counts.failed++;
                else
                        worker->counts.written++;
                queue_append(&worker->done, job);
        }
        (void) eventfd_write(worker->notify_fd, 1);
}

/* Without a sync: the next ownership, or housekeeping, syncs it too. */
static int write_lines(struct worker *worker, struct history_line *line) {
        int r;

        r = database_exec(worker->db, "PRAGMA synchronous = NORMAL");
        if (r >= 0)
                r = database_exec(worker->db, "BEGIN IMMEDIATE");
        for (; r >= 0 && line; line = line->next)
                r = history_write(worker->db, line);
        if (r >= 0)
                r = history_prune(worker->db, HISTORY_EVENTS_KEPT, HISTORY_FLOWS_KEPT);
        if (r >= 0)
                r = database_exec(worker->db, "COMMIT");
        if (r < 0)
                rollback(worker);
        return r;
}

static bool lines_are_due(const struct worker *worker) {
        return worker->lines && !worker->lines_wait && !worker->counts.reserve_spent;
}

/* With the mutex held; gives it up while writing. What a full disk has no room for waits, with what comes after it. */
static void serve_lines(struct worker *worker) {
        struct history_line *first = worker->lines, *last = first;
        unsigned n = 1;
        int r;

        for (; n < LINES_BATCH && last->next; n++)
                last = last->next;
        worker->lines = last->next;
        if (!worker->lines)
                worker->lines_end = &worker->lines;
        last->next = NULL;
        pthread_mutex_unlock(&worker->mutex);
        r = write_lines(worker, first);
        worker->house_usec = worker->house_usec ?: house_time();
        pthread_mutex_lock(&worker->mutex);
        if (r == -ENOSPC) {
                worker->lines_wait = true;
                last->next = worker->lines;
                if (!worker->lines)
                        worker->lines_end = &last->next;
                worker->lines = first;
                return;
        }
        worker->n_lines -= n;
        if (r < 0)
                worker->counts.history_dropped += n;
        while (first) {
                struct history_line *line = first;
                first = line->next;
                history_line_free(line);
        }
}

/* Shortens the history on a full disk, so that the database needs no more room. */
static void thin_history(struct worker *worker) {
        if (database_exec(worker->db, "BEGIN IMMEDIATE") < 0 || history_thin(worker->db) < 0 ||
            database_exec(worker->db, "COMMIT") < 0)
                rollback(worker);
}

/* Puts the log into the database, which takes nothing from anybody who waits, since nobody does; and tries to have
 * a spent reserve again. */
static void keep_house(struct worker *worker) {
        bool spent = worker->counts.reserve_spent; /* written by this thread alone */

        if (worker->level == PERSIST_OWNER)
                checkpoint(worker);
        if (spent) {
                thin_history(worker);
                checkpoint(worker);
                spent = reserve_make(worker->reserve_path) < 0;
                set_reserve_spent(worker, spent);
        }
        pthread_mutex_lock(&worker->mutex);
        worker->lines_wait = false; /* tried again, once */
        pthread_mutex_unlock(&worker->mutex);
        worker->house_usec = spent ? house_time() : 0;
}

static int log_grew(void *userdata, sqlite3 *db, const char *name, int pages) {
        struct worker *worker = userdata;

        worker->log_pages = pages;
        return SQLITE_OK;
}

static bool house_is_due(const struct worker *worker) {
        if (worker->log_pages > (worker->counts.reserve_spent ? LOG_PAGES_FULL : LOG_PAGES_MAX))
                return true;
        return worker->house_usec > 0 && house_time() - IDLE_USEC >= worker->house_usec;
}

/* Waits for something to do, which may be to keep house. */
static void wait_for_work(struct worker *worker) {
        struct timespec until = {
                .tv_sec = (time_t) (worker->house_usec / USEC_PER_SEC),
                .tv_nsec = (long) (worker->house_usec % USEC_PER_SEC * 1000),
        };

        while (!worker->waiting.first && !lines_are_due(worker) && !worker->settle && !worker->stopping &&
               !house_is_due(worker)) {
                if (worker->house_usec > 0)
                        (void) pthread_cond_timedwait(&worker->wake, &worker->mutex, &until);
                else
                        (void) pthread_cond_wait(&worker->wake, &worker->mutex);
        }
}

static void *run(void *userdata) {
        struct worker *worker = userdata;
        bool abandoned;

        pthread_mutex_lock(&worker->mutex);
        for (;;) {
                wait_for_work(worker);
                if (worker->waiting.first)
                        serve_records(worker);
                else if (house_is_due(worker) && !worker->stopping) {
                        pthread_mutex_unlock(&worker->mutex);
                        keep_house(worker);
                        pthread_mutex_lock(&worker->mutex);
                } else if (lines_are_due(worker))
                        serve_lines(worker);
                else if (worker->settle) {
                        worker->settle = false;
                        pthread_mutex_unlock(&worker->mutex);
                        (void) unlink(worker->lost_path);
                        pthread_mutex_lock(&worker->mutex);
                } else if (worker->stopping)
                        break;
        }
        pthread_mutex_unlock(&worker->mutex);
        (void) sqlite3_close_v2(worker->db); /* which syncs: not on the loop's thread */
        worker->db = NULL;
        pthread_mutex_lock(&worker->mutex);
        worker->ended = true;
        abandoned = worker->abandoned;
        (void) pthread_cond_signal(&worker->finished);
        pthread_mutex_unlock(&worker->mutex);
        if (abandoned)
                destroy(worker);
        return NULL;
}

int worker_new(sqlite3 *db, const struct worker_options *options, struct worker **ret) {
        _cleanup_(destroyp) struct worker *worker = calloc(1, sizeof(*worker));
        pthread_condattr_t attributes;
        int r;

        if (!worker) {
                (void) sqlite3_close_v2(db);
                return -ENOMEM;
        }
        worker->db = db;
        worker->level = options->level;
        queue_init(&worker->waiting);
        queue_init(&worker->done);
        worker->lines_end = &worker->lines;
        (void) pthread_mutex_init(&worker->mutex, NULL);
        (void) pthread_condattr_init(&attributes);
        (void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&worker->wake, &attributes);
        (void) pthread_cond_init(&worker->finished, &attributes);
        (void) pthread_condattr_destroy(&attributes);
        worker->notify_fd = fcntl(options->notify_fd, F_DUPFD_CLOEXEC, 3);
        if (worker->notify_fd < 0)
                return -errno;
        if (options->reserve_path) {
                worker->reserve_path = strdup(options->reserve_path);
                worker->lost_path = strdup(options->lost_path);
                if (!worker->reserve_path || !worker->lost_path)
                        return -ENOMEM;
                worker->counts.reserve_spent = reserve_make(worker->reserve_path) < 0;
                worker->house_usec = worker->counts.reserve_spent ? house_time() : 0;
                (void) sqlite3_wal_hook(db, log_grew, worker);
        }
        r = thread_start(run, worker);
        if (r < 0)
                return r;
        *ret = steal_ptr(worker);
        return 0;
}

struct worker *worker_free(struct worker *worker, usec_t timeout_usec) {
        struct timespec until;
        int r = 0;

        if (!worker)
                return NULL;
        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        timeout_usec += (usec_t) until.tv_nsec / 1000;
        until.tv_sec += (time_t) (timeout_usec / USEC_PER_SEC);
        until.tv_nsec = (long) (timeout_usec % USEC_PER_SEC * 1000);
        pthread_mutex_lock(&worker->mutex);
        worker->stopping = true;
        (void) pthread_cond_signal(&worker->wake);
        while (!worker->ended && r != ETIMEDOUT)
                r = pthread_cond_timedwait(&worker->finished, &worker->mutex, &until);
        worker->abandoned = !worker->ended;
        r = worker->abandoned;
        pthread_mutex_unlock(&worker->mutex);
        if (!r)
                destroy(worker);
        return NULL;
}

int worker_write(struct worker *worker, const struct record *record, uint64_t *ret_serial) {
        struct job *job;
        int r = 0;

        pthread_mutex_lock(&worker->mutex);
        for (job = worker->waiting.first; job; job = job->next)
                if (strcmp(job->record.pair, record->pair) == 0)
                        break;
        if (!job) {
                job = calloc(1, sizeof(*job));
                if (job) {
                        job->serial = ++worker->serial;
                        job->record = *record;
                        queue_append(&worker->waiting, job);
                        (void) pthread_cond_signal(&worker->wake);
                } else
                        r = -ENOMEM;
        } else if (record->seq >= job->record.seq)
                job->record = *record;
        if (job)
                *ret_serial = job->serial;
        pthread_mutex_unlock(&worker->mutex);
        return r;
}

bool worker_take(struct worker *worker, struct worker_done *ret) {
        _cleanup_free_ struct job *job = NULL;

        pthread_mutex_lock(&worker->mutex);
        job = queue_take(&worker->done);
        pthread_mutex_unlock(&worker->mutex);
        if (!job)
                return false;
        *ret = (struct worker_done) { .serial = job->serial, .result = job->result };
        memcpy(ret->text, job->text, sizeof(ret->text));
        return true;
}

void worker_add_line(struct worker *worker, struct history_line *line) {
        line->next = NULL;
        pthread_mutex_lock(&worker->mutex);
        if (worker->n_lines < WORKER_LINES_MAX) {
                *worker->lines_end = line;
                worker->lines_end = &line->next;
                worker->n_lines++;
                line = NULL;
                (void) pthread_cond_signal(&worker->wake);
        } else
                worker->counts.history_dropped++;
        pthread_mutex_unlock(&worker->mutex);
        history_line_free(line);
}

void worker_settle(struct worker *worker) {
        pthread_mutex_lock(&worker->mutex);
        worker->settle = true;
        (void) pthread_cond_signal(&worker->wake);
        pthread_mutex_unlock(&worker->mutex);
}

struct worker_counts worker_get_counts(struct worker *worker) {
        struct worker_counts counts;

        pthread_mutex_lock(&worker->mutex);
        counts = worker->counts;
        if (worker->lines_wait || worker->counts.reserve_spent)
                counts.history_waiting = worker->n_lines;
        pthread_mutex_unlock(&worker->mutex);
        return counts;
}

void worker_count_dropped(struct worker *worker) {
        pthread_mutex_lock(&worker->mutex);
        worker->counts.history_dropped++;
        pthread_mutex_unlock(&worker->mutex);
}
