/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of a copy share: copy.c has what requests use, copy-bundle.c the saves that go together,
 * copy-run.c the thread with its connections and labels, copy-fill.c the filling, copy-epoch.c epochs. */

#include "daemon/memserver/copy.h"
#include "daemon/memserver/label.h"

struct waiting_save;

/* Saves that wait for a mirror, in the order in which they came. */
struct bundler {
        pthread_mutex_t lock;
        struct waiting_save *first, **last;
        bool busy;             /* a message is on its way, or about to be; where not, nothing waits */
        unsigned char *bundle; /* room for a message, of whoever sends; NULL: there was none yet */
};

struct copy {
        struct space *space; /* a reference */
        struct events *events;
        struct copy_options options; /* owns its strings */
        pthread_t thread;
        bool started;

        pthread_mutex_t lock;
        pthread_cond_t changed; /* CLOCK_MONOTONIC */
        enum copy_state state;
        struct peer *peer; /* NULL: no connection */
        unsigned n_users;  /* calls on it that are under way, not the thread's */
        bool emptying;     /* the thread waits for them to end */
        bool stop;
        _Atomic bool refused; /* lost for good: a save was refused, and it is not to be reached again in this session */
        usec_t answered_usec;
        uint64_t filled_bytes;
        uint64_t late_bytes; /* acknowledged, and not there yet */
        uint64_t session;    /* changed by the thread alone; 0: none yet */
        char text[COPY_TEXT_LEN];

        struct ranges late; /* of those */
        struct bundler bundler;
        bool begun; /* saves go there; changed while the space's gate is shut */

        /* the thread's own */
        bool filled;
        uint64_t link, number, answered;
        usec_t beat_usec; /* when the last label was sent */
};

static inline bool copy_is_mirror(const struct copy *copy) {
        return copy->options.kind == COPY_MIRROR;
}

static inline usec_t copy_beat_interval(const struct copy *copy) {
        return copy->options.peer.deadline_usec / 4;
}

/* copy.c: a request's call. 0 when it was answered, or when a mirror's space is alone; errors as copy_save(). */
int copy_request(struct copy *copy, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset);
/* with the lock held */
void copy_set_state(struct copy *copy, enum copy_state state, const char *text);
/* The connection is not there any more: what was complete is reached for, what was not is given up. */
void copy_lose(struct copy *copy, const char *text);
enum copy_state copy_state(struct copy *copy); /* without it */
/* Waits for a change, at most so long. */
void copy_wait(struct copy *copy, usec_t timeout_usec);

/* copy-bundle.c: a save at a mirror, with others. */
void bundler_init(struct bundler *bundler);
void bundler_deinit(struct bundler *bundler);
int copy_save_bundled(struct copy *copy, const void *buffer, uint64_t length, uint64_t offset);

/* copy-run.c */
void *copy_run(void *userdata);
/* A call of the thread's. -ENOTCONN where the connection broke, -EPERM where the copy was replaced, or what the other
 * server said. */
int copy_call(struct copy *copy, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset);
/* A label where one is due; a connection that broke is replaced first. -ENOTCONN where the copy was given up,
 * -ECANCELED at the end, and as above. */
int copy_beat(struct copy *copy, enum label_state state);

/* copy-fill.c: errors as above; also -EIO where a page cannot be read here. */
int copy_fill(struct copy *copy);
