/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A space of this server at another one: its mirror (I), or where it is being handed over to. A thread of its own
 * connects, fills it at a bounded rate while clients work, and then gives signs of life (label.h).
 *
 * A mirror gets each save before it is acknowledged. Where it cannot be reached, the saves wait: until it is there
 * again, or until the deadline has passed since its last sign of life. Then the space goes on alone, says so, and the
 * mirror is filled anew when it is back.
 *
 * A hand-over takes the pages along: each is dropped here when it is there, and what is not here is read there. So
 * whether a page is here is all that has to be known of it. Where the other server cannot be reached, its pages are
 * waited for, and then are an error.
 */

#include "daemon/base/enum-table.h"
#include "daemon/memserver/event.h"
#include "daemon/memserver/peer.h"
#include "daemon/memserver/space.h"

#define COPY_TEXT_LEN 160

enum copy_kind {
        COPY_MIRROR,
        COPY_MOVE,
};

enum copy_state {
        COPY_NONE,       /* there is no copy */
        COPY_CONNECTING, /* not reached yet, or given up: the space is alone */
        COPY_FILLING,
        COPY_COMPLETE,   /* a mirror: has all; a hand-over: all is there */
        COPY_LOST,       /* was complete, and is being reached for again */
        COPY_REPLACED,   /* it was made the primary: this server is no more to be used */
        COPY_STATE_MAX,
        COPY_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(copy_state); /* "none", "connecting", "filling", "complete", "lost", "replaced" */

struct copy_options {
        enum copy_kind kind;
        struct peer_options peer; /* borrowed strings, copied */
        uint64_t rate_bytes;      /* a second, of filling */
        bool relaxed;             /* a mirror: acknowledge before it has the save */
};

struct copy_status {
        enum copy_state state;
        uint64_t filled_bytes;    /* of the present filling */
        usec_t answered_usec;     /* when the last sign of life was answered, CLOCK_BOOTTIME; 0: never */
        uint64_t session;         /* as the other server hears it in labels; 0: none yet */
        char text[COPY_TEXT_LEN]; /* why it is not there; "" */
};

struct copy;

/* Holds a reference to the space; `events` outlives it. -ENOMEM. */
int copy_new(struct space *space, struct events *events, const struct copy_options *options, struct copy **ret);
/* Starts its thread, once the space knows it. */
int copy_start(struct copy *copy);
/* Ends it, before the space lets it go: a mirror is told that it is given up, or, where it cannot be told, saves wait
 * until it knows by itself. */
void copy_stop(struct copy *copy);
/* The space does not know the copy any more, and its gate is not shut. */
struct copy *copy_free(struct copy *copy);
void copy_tell(struct copy *copy, struct copy_status *ret);

/* A save, or with NULL for the bytes a trim, of a range that the caller has taken. A mirror: 0 when it has it, or when
 * the space is alone. A hand-over: also the other server's errors, -EIO where it cannot be reached. -EPERM when
 * it was replaced. */
int copy_save(struct copy *copy, const void *buffer, uint64_t length, uint64_t offset);
/* A page that was handed over. */
int copy_return(struct copy *copy, void *buffer, uint64_t length, uint64_t offset);
/* A mirror: what it has of a range that the caller has taken. -EIO unless it has all pages, and gives these; -EPERM
 * when it was replaced. */
int copy_read_back(struct copy *copy, void *buffer, uint64_t length, uint64_t offset);
/* Which pages of a range of at most a GiB are there (peer.h). -ENOTCONN where it cannot be asked now. */
int copy_list(struct copy *copy, struct peer_extents *extents, uint64_t length, uint64_t offset);
/* A mirror: it is not to be trusted any more, and is filled anew. */
void copy_give_up(struct copy *copy, const char *text);
/* Ends it for good where nothing has gone there yet; false where something may have. With the space's gate shut. */
bool copy_call_off(struct copy *copy);
/* Saves go there; changed while the space's gate is shut. */
bool copy_begun(const struct copy *copy);
/* A mirror: it has the epoch, number `number` of the space's, and has applied it, or the space is alone. -EIO where
 * what was staged cannot be read; it has not applied it then. */
int copy_send_epoch(struct copy *copy, struct epoch *epoch, uint64_t number);
/* A mirror: waits for saves that were acknowledged before it had them, and until it has flushed them. */
int copy_flush(struct copy *copy);
