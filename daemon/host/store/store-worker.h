/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One thread and one database. Records are written in the order in which their pairs first came to wait, up to
 * WORKER_BATCH of them with one sync; a newer record of a pair takes the place of one that still waits. History
 * follows when no record waits.
 *
 * A disk that stalls stalls this thread and nobody else: no function here waits for it but worker_free(), and
 * that for a limited time.
 */

#include <sqlite3.h>

#include "daemon/core/update.h"
#include "daemon/host/store/store-history.h"

#define WORKER_BATCH 64
#define WORKER_LINES_MAX 4096 /* of history that may wait */

struct worker;

struct worker_options {
        enum persist_level level;
        int notify_fd;            /* an eventfd, written to whenever there is something to take; duplicated */
        const char *reserve_path; /* NULL: this level has none, and takes no history */
        const char *lost_path;    /* what worker_settle() removes */
};

/* Takes over the database, also on failure. */
int worker_new(sqlite3 *db, const struct worker_options *options, struct worker **ret);
/* Has the thread finish all that waits and waits for that up to `timeout_usec`. Takes NULL; returns NULL. */
struct worker *worker_free(struct worker *worker, usec_t timeout_usec);

/* Queues a copy; the serial number names the write that will cover it. -ENOMEM. */
int worker_write(struct worker *worker, const struct record *record, uint64_t *ret_serial);

/* One finished write. */
struct worker_done {
        uint64_t serial;
        int result;
        char text[EVENT_TEXT_LEN]; /* why it failed */
};
/* True and the next one, false when there is none. */
bool worker_take(struct worker *worker, struct worker_done *ret);

/* Queues a line and takes it over; drops it, and counts that, where too many wait. */
void worker_add_line(struct worker *worker, struct history_line *line);
void worker_settle(struct worker *worker);

struct worker_counts {
        uint64_t written, failed;  /* records */
        uint64_t history_dropped;  /* lines */
        unsigned history_waiting;  /* lines that the disk has no room for */
        bool reserve_spent;
};
struct worker_counts worker_get_counts(struct worker *worker);
/* For a line that memory was short for. */
void worker_count_dropped(struct worker *worker);
