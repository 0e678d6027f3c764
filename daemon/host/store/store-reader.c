/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/store-reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/records/evidence.h"
#include "daemon/host/store/errand.h"
#include "daemon/host/store/store-schema.h"

#define READ_LIMIT_USEC (2 * USEC_PER_SEC)  /* that the database may take, beside the disk */
#define LATE_USEC (3 * USEC_PER_SEC) /* shorter than failoverctl waits for an answer */
#define READ_STEPS 1000 /* of SQLite's virtual machine between two looks at the clock */

struct question {
        struct store_reader *reader; /* the loop's to use */
        struct question *next;
        struct errand *errand;
        history_answer_t answer; /* NULL: has been given */
        void *userdata;

        /* the thread's */
        char *path, *evidence_dir, *vfs;
        char pair[NAME_LEN]; /* empty: of all */
        char failover[FAILOVER_ID_LEN]; /* empty: of none in particular */
        size_t max;
        usec_t deadline_usec;
        struct history_flow *flows;
        struct history_drill *drills;
        struct history_event *events;
        char *explanation;
        struct evidence_file *files;
        char *files_dir;
        struct history_rows rows;
        int result;
};

struct store_reader {
        sd_event *loop;
        char *path, *evidence_dir, *vfs;
        struct question *questions;
        unsigned n_questions;
};

static void question_free(void *data) {
        struct question *question = data;

        free(question->path);
        free(question->evidence_dir);
        free(question->vfs);
        free(question->explanation);
        free(question->files);
        free(question->files_dir);
        free(question->flows);
        free(question->drills);
        free(question->events);
        free(question);
}

static int on_progress(void *userdata) {
        return clock_usec(CLOCK_MONOTONIC) >= *(const usec_t *) userdata;
}

/* What goes wrong with the files leaves them out. */
static void list_files(struct question *question) {
        struct history_rows *rows = &question->rows;

        if (!question->evidence_dir ||
            evidence_list(question->evidence_dir, question->failover, &question->files, &rows->n_files) < 0)
                return;
        rows->files = question->files;
        if (asprintf(&question->files_dir, "%s/%s", question->evidence_dir, question->failover) < 0)
                question->files_dir = NULL;
        rows->evidence_dir = question->files_dir;
}

static int read_all(struct question *question) {
        _cleanup_(database_closep) sqlite3 *db = NULL;
        const char *pair = question->pair[0] ? question->pair : NULL;
        struct history_rows *rows = &question->rows;
        int r;

        r = database_open_reader(question->path, question->vfs, &db);
        if (r < 0)
                return r;
        question->deadline_usec = clock_usec(CLOCK_MONOTONIC) + READ_LIMIT_USEC;
        (void) sqlite3_busy_timeout(db, (int) (READ_LIMIT_USEC / USEC_PER_MSEC));
        sqlite3_progress_handler(db, READ_STEPS, on_progress, &question->deadline_usec);
        r = history_read_flows(db, pair, question->max, &question->flows, &rows->n_flows);
        if (r >= 0)
                r = history_read_drills(db, pair, question->max, &question->drills, &rows->n_drills);
        if (r >= 0)
                r = history_read_events(db, pair, question->max, &question->events, &rows->n_events);
        if (r >= 0 && question->failover[0]) {
                r = history_read_explanation(db, question->failover, &question->explanation);
                list_files(question);
        }
        rows->explanation = question->explanation;
        rows->flows = question->flows;
        rows->drills = question->drills;
        rows->events = question->events;
        return r;
}

static void question_run(void *data) {
        struct question *question = data;

        question->result = read_all(question);
}

static void give(struct question *question, int result, const struct history_rows *rows) {
        history_answer_t answer = steal_ptr(question->answer);

        if (answer)
                answer(question->userdata, result, result < 0 ? NULL : rows);
}

static void question_late(void *data) {
        give(data, -ETIMEDOUT, NULL);
}

static void question_ended(void *data) {
        struct question *question = data;

        for (struct question **p = &question->reader->questions; *p; p = &(*p)->next)
                if (*p == question) {
                        *p = question->next;
                        question->reader->n_questions--;
                        break;
                }
        give(question, question->result, &question->rows);
}

int store_reader_new(sd_event *loop, const char *path, const char *evidence_dir, const char *vfs,
                     struct store_reader **ret) {
        struct store_reader *reader = calloc(1, sizeof(*reader));

        if (!reader)
                return -ENOMEM;
        reader->loop = sd_event_ref(loop);
        reader->path = strdup(path);
        reader->evidence_dir = evidence_dir ? strdup(evidence_dir) : NULL;
        reader->vfs = vfs ? strdup(vfs) : NULL;
        if (!reader->path || !reader->vfs != !vfs || !reader->evidence_dir != !evidence_dir) {
                store_reader_free(reader);
                return -ENOMEM;
        }
        *ret = reader;
        return 0;
}

struct store_reader *store_reader_free(struct store_reader *reader) {
        if (!reader)
                return NULL;
        while (reader->questions) {
                struct question *question = reader->questions;

                reader->questions = question->next;
                give(question, -ECANCELED, NULL);
                errand_abandon(question->errand);
        }
        sd_event_unref(reader->loop);
        free(reader->path);
        free(reader->evidence_dir);
        free(reader->vfs);
        free(reader);
        return NULL;
}

int store_reader_ask(struct store_reader *reader, const char *pair, const char *failover, size_t max,
                     history_answer_t answer, void *userdata) {
        static const struct errand_work work = { question_run, question_late, question_ended, question_free };
        struct question *question;
        int r;

        if (reader->n_questions >= READER_QUESTIONS_MAX)
                return -EBUSY;
        question = calloc(1, sizeof(*question));
        if (!question)
                return -ENOMEM;
        *question = (struct question) { .reader = reader, .answer = answer, .userdata = userdata, .max = max };
        snprintf(question->pair, sizeof(question->pair), "%s", pair ?: "");
        snprintf(question->failover, sizeof(question->failover), "%s", failover ?: "");
        question->path = strdup(reader->path);
        question->evidence_dir = reader->evidence_dir ? strdup(reader->evidence_dir) : NULL;
        question->vfs = reader->vfs ? strdup(reader->vfs) : NULL;
        if (!question->path || !question->vfs != !reader->vfs || !question->evidence_dir != !reader->evidence_dir) {
                question_free(question);
                return -ENOMEM;
        }
        r = errand_begin(reader->loop, &work, question, LATE_USEC, &question->errand);
        if (r < 0)
                return r;
        question->next = reader->questions;
        reader->questions = question;
        reader->n_questions++;
        return 0;
}
