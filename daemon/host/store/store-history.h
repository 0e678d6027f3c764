/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * History: what happened, for people. Lines wait in the owner level's worker (store-worker.h); the functions here
 * turn one line into rows and rows into the structs that `GetHistory` hands on.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/record.h"
#include "daemon/core/update.h"

struct sqlite3;

#define HISTORY_ROWS_MAX 1000       /* rows that one question is answered with */
#define HISTORY_EVENTS_KEPT 20000   /* rows kept; the oldest go first */
#define HISTORY_FLOWS_KEPT 1000
#define HISTORY_EXPLANATION_MAX (64 * 1024) /* bytes of one; a longer one is not kept */

/* One flow, under way or ended. Times are CLOCK_REALTIME, 0 where there is none. */
struct history_flow {
        char id[FAILOVER_ID_LEN]; /* "PAIR-NUMBER" */
        char pair[NAME_LEN];
        uint64_t number;
        enum flow_kind kind;
        enum side from, to;
        bool drill;
        usec_t begun_usec, ended_usec; /* ended 0: under way, or its end was never seen */
        int result;                    /* 0 or negative errno, once ended */
        usec_t phase_usec[PHASE_MAX];
        char cause[FLOW_TEXT_LEN];
        char text[EVENT_TEXT_LEN]; /* how it ended */
};

struct history_event {
        usec_t time_usec; /* CLOCK_REALTIME */
        char pair[NAME_LEN]; /* empty: about no pair */
        enum side side;      /* SIDE_INVALID: none */
        enum record_kind kind;
        char text[EVENT_TEXT_LEN];
};

/* Until when history has what was told of a VM that stands alone. */
struct history_told {
        char domain[NAME_LEN];
        usec_t time_usec; /* CLOCK_REALTIME */
};

/* A drill that has ended. */
struct history_drill {
        char pair[NAME_LEN];
        struct drill_result result;
};

/* What one question is answered with, each newest first. */
struct history_rows {
        const char *explanation;           /* of the one failover that was asked about, as JSON; NULL: none is known */
        const char *evidence_dir;          /* where its files are; NULL: none are */
        const struct evidence_file *files;
        size_t n_files;
        const struct history_flow *flows;
        const struct history_drill *drills;
        const struct history_event *events;
        size_t n_flows, n_drills, n_events;
};

enum history_line_kind { HISTORY_EVENT, HISTORY_TOLD, HISTORY_PHASE, HISTORY_END, HISTORY_DRILL, HISTORY_EXPLANATION };

/* One thing to be written. */
struct history_line {
        enum history_line_kind kind;
        struct history_event event; /* HISTORY_EVENT; HISTORY_TOLD: only where it is later than what was told so far */
        struct history_drill drill; /* HISTORY_DRILL */
        struct history_flow flow;   /* HISTORY_PHASE: as far as it has come; HISTORY_END: all of it */
        char *explanation;          /* HISTORY_EXPLANATION: a document, owned; of the failover flow.id */
        struct history_line *next;  /* of the queue that it waits in */
};

/* Takes NULL; returns NULL. */
struct history_line *history_line_free(struct history_line *line);

/* Writes one line in the transaction that the caller has begun. Returns 0 or a negative errno. */
int history_write(struct sqlite3 *db, const struct history_line *line);

/* Deletes the oldest rows past `events` and `flows`, with their phases, and drills past `flows`; in the caller's
 * transaction. */
int history_prune(struct sqlite3 *db, unsigned events, unsigned flows);

/* On a full disk: deletes some of the oldest events (few at a time, since that takes room first), while more than
 * half of HISTORY_EVENTS_KEPT are there. In the caller's transaction. */
#define HISTORY_THINNED 500
int history_thin(struct sqlite3 *db);

/* As store_get_flows(), store_get_events() and store_get_drills(). The caller has set the connection's limits. */
int history_read_flows(struct sqlite3 *db, const char *pair, size_t max, struct history_flow **ret, size_t *ret_n);
int history_read_events(struct sqlite3 *db, const char *pair, size_t max, struct history_event **ret, size_t *ret_n);
/* What was written of one failover's decision; NULL where nothing was. The caller frees it. */
int history_read_explanation(struct sqlite3 *db, const char *failover, char **ret);
/* All that there are; the caller frees them. */
int history_read_told(struct sqlite3 *db, struct history_told **ret, size_t *ret_n);
int history_read_drills(struct sqlite3 *db, const char *pair, size_t max, struct history_drill **ret, size_t *ret_n);
