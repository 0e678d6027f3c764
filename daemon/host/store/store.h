/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What outlives failoverd, in two SQLite databases with one schema:
 *
 *   STATE_DIR/state.db   PERSIST_OWNER: synced at each write, survives power loss
 *   RUNTIME_DIR/steps.db PERSIST_STEP: on a tmpfs, survives a crash of failoverd, void after a reboot of the host
 *
 * A step goes into the second only, an ownership into both. Of two copies of a record the one with the higher
 * seq is the newer. Each database has a worker thread of its own, so that a stalled disk holds up neither steps
 * nor the loop. History (events, flows, phases, drills) is written to state.db by the same worker, but only while
 * no record waits, unsynced, in small batches, and not at all once the disk is full; so it cannot hold up or fail
 * an ownership.
 *
 * A store that was there and is gone is a loud state: STATE_DIR/installed says that there was one, and
 * STATE_DIR/lost keeps the finding across restarts until store_settle() says that a person or the policy has
 * dealt with it.
 *
 * Every function here is called on the loop's thread. The sink is called from the loop, never from within one of
 * these functions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <systemd/sd-event.h>

#include "daemon/base/error.h"
#include "daemon/core/record.h"
#include "daemon/core/update.h"
#include "daemon/host/sink.h"
#include "daemon/host/store/store-reader.h"

struct store;

struct store_options {
        const char *state_dir;   /* created with mode 0700 where missing, parents not */
        const char *runtime_dir; /* the same */
        const char *boot_id;     /* of the host's kernel; NULL reads it from /proc */
        const char *evidence_dir; /* of files kept as evidence, to be listed; NULL: none */
        const char *vfs;         /* name of a registered SQLite VFS for both databases; NULL is SQLite's own */
};

/* What opening it found. */
struct store_finding {
        bool fresh;          /* first start ever: nothing was there and nothing was expected */
        bool lost;           /* it was there once and is gone, was set aside, or was never settled since. What
                              * records are still there are handed out all the same; pairs without one are in
                              * doubt */
        char text[EVENT_TEXT_LEN]; /* lost: what is lost, for people; else empty */
};

/* Opens or creates both databases and starts the workers. The sink is borrowed for the store's life. May block
 * on the disk: called once, before the loop runs. Fails with a message that says what to do:
 *   -EUCLEAN     a database is damaged; store_set_aside() is the way on
 *   -EPROTO      it was written by a newer failoverd
 *   -EBUSY       another process holds it
 * and other errors of files and memory. */
int store_new(const struct store_options *options, sd_event *event, const struct sink *sink, struct store **ret,
              struct store_finding *ret_finding, struct error *error);

/* Lets the workers finish what is queued, for at most two seconds, and closes. What is not finished by then stays
 * with its thread, to end with the process; its answers do not come. Takes NULL; returns NULL. */
struct store *store_free(struct store *store);

/* After store_new() has returned -EUCLEAN: renames the damaged database(s) to NAME.damaged-SECONDS for people to
 * look at, so that the next store_new() succeeds with `lost` set. */
int store_set_aside(const struct store_options *options, struct error *error);

/* Says that a lost store was dealt with: the next start does not report it any more. Asynchronous; what goes
 * wrong shows at the next start as `lost`. */
void store_settle(struct store *store);

/* All records as they were found, the newer of two copies of each pair, sorted by name, as an array that the
 * caller frees. Once: -EALREADY from then on. */
int store_load(struct store *store, struct record **ret, size_t *ret_n);

/* Writes a copy of `record` at `level`. Where 0 is returned, exactly one EVENT_DONE{pair, ACTION_PERSIST,
 * action_id, result, text} follows: result 0 when it is safe, a negative errno when the write failed,
 * -ETIMEDOUT when `deadline_usec` (a span) has passed first: the write goes on and counts when it ends, and
 * another record of the same pair that comes meanwhile takes the place of one that still waits. -ENOMEM and
 * -EINVAL: nothing was queued, no event follows. */
int store_persist(struct store *store, const struct record *record, enum persist_level level, int pair,
                  uint64_t action_id, usec_t deadline_usec);

/* History. Nothing is answered; on a full disk lines wait for room; where the queue is full (or memory is) they are
 * dropped and counted. `pair` is the pair's name, NULL or "" for a line about no pair; side SIDE_INVALID for none.
 * Times are taken now, or from the flow. */
void store_add_event(struct store *store, const char *pair, enum side side, enum record_kind kind, const char *text);
/* What the standby of a VM that stands alone has told of it, at the time that identifies it: handed in again, and in
 * another life of failoverd, it is written once. */
void store_add_told(struct store *store, const char *domain, usec_t realtime_usec, enum record_kind kind,
                    const char *text);
/* Until when all of that was in the history when this was opened; 0: nothing of that VM. */
usec_t store_get_told(const struct store *store, const char *domain);
void store_add_phase(struct store *store, const char *pair, const struct flow *flow, enum phase phase);
void store_end_flow(struct store *store, const char *pair, const struct flow *flow, int result, const char *text);
void store_add_drill(struct store *store, const char *pair, const struct drill_result *result);
/* What was believed when the flow was decided: a JSON document, copied. */
void store_add_explanation(struct store *store, const char *pair, const struct flow *flow, const char *document);

/* The latest `max` (at most HISTORY_ROWS_MAX) flows, drills and events, newest first, of one pair or (NULL) of all;
 * with them, where `failover` is the id of one, its explanation and the files of its evidence. Where
 * 0 is returned, one answer follows from the loop: -ETIMEDOUT after three seconds of a disk that stalls, -ETIME or
 * -EBUSY where the database takes too long, -ECANCELED where the store is freed. -EBUSY: too many questions wait. What
 * is still queued is not in it. */
int store_ask_history(struct store *store, const char *pair, const char *failover, size_t max, history_answer_t answer,
                      void *userdata);

struct store_counts {
        uint64_t written[PERSIST_LEVEL_MAX];  /* records */
        uint64_t failed[PERSIST_LEVEL_MAX];   /* writes that failed */
        uint64_t late;                        /* answers -ETIMEDOUT */
        uint64_t history_dropped;             /* lines */
        unsigned history_waiting;             /* lines that the disk has no room for */
        bool reserve_spent;                   /* the disk is full; the reserve went into ownership writes */
};
struct store_counts store_get_counts(struct store *store);
