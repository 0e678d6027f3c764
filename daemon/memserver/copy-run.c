/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The thread of a copy: connects, has it filled, and gives signs of life until it is told to stop. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/copy-internal.h"

#define PAUSE_FIRST_USEC (100 * USEC_PER_MSEC) /* between attempts, doubled up to the last */
#define PAUSE_LAST_USEC (10 * USEC_PER_SEC)
#define AGAIN_USEC (20 * USEC_PER_MSEC) /* between attempts to reach again what was complete */

DEFINE_CLEANUP(struct peer *, peer_free)

static bool stopped(struct copy *copy) {
        bool stop;

        pthread_mutex_lock(&copy->lock);
        stop = copy->stop;
        pthread_mutex_unlock(&copy->lock);
        return stop;
}

static void say(struct copy *copy, enum copy_state state, const char *text) {
        pthread_mutex_lock(&copy->lock);
        copy_set_state(copy, state, text);
        pthread_mutex_unlock(&copy->lock);
}

/* Waits until it is time or all shall end. */
static void rest(struct copy *copy, usec_t usec) {
        usec_t until = clock_usec(CLOCK_BOOTTIME) + usec, now;

        pthread_mutex_lock(&copy->lock);
        while (!copy->stop && (now = clock_usec(CLOCK_BOOTTIME)) < until)
                copy_wait(copy, until - now);
        pthread_mutex_unlock(&copy->lock);
}

/* Sends a label over `peer`. */
static int send_label(struct copy *copy, struct peer *peer, enum label_state state) {
        struct label label = {
                .name = copy->space->name,
                .size_bytes = page_space_size(copy->space->pages),
                .token = copy->space->token,
                .session = copy->session,
                .link = copy->link,
                .number = ++copy->number,
                .answered = copy->answered,
                .deadline_usec = copy->options.peer.deadline_usec,
                .state = state,
        };
        unsigned char page[LABEL_BYTES];
        int r;

        label_encode(&label, page);
        copy->beat_usec = clock_usec(CLOCK_BOOTTIME);
        r = peer_call(peer, PEER_WRITE, page, LABEL_BYTES, label.size_bytes);
        if (r < 0)
                return r;
        copy->answered = label.number;
        pthread_mutex_lock(&copy->lock);
        copy->answered_usec = clock_usec(CLOCK_BOOTTIME);
        pthread_mutex_unlock(&copy->lock);
        return 0;
}

/* Is that really a place for a copy of this space? */
static int check_identity(struct copy *copy, struct peer *peer, struct error *error) {
        uint64_t size = page_space_size(copy->space->pages);
        unsigned char page[LABEL_BYTES];
        struct label label;
        int r;

        if (peer_size(peer) != mirror_size(size))
                return error_set(error, -EINVAL, "what was opened there is no mirror of this size, or its server is of "
                                 "another version");
        r = peer_call(peer, PEER_READ, page, LABEL_BYTES, size);
        if (r < 0)
                return error_set(error, r, "its label cannot be read: %s", strerror(-r));
        if (label_decode(page, &label) < 0 || !space_name_equal(&label.name, &copy->space->name) ||
            label.size_bytes != size)
                return error_set(error, -EINVAL, "what was opened there belongs to another space");
        return 0;
}

static int connect_peer(struct copy *copy, usec_t deadline_usec, struct peer **ret, struct error *error) {
        _cleanup_(peer_freep) struct peer *peer = NULL;
        struct peer_options options = copy->options.peer;
        int r;

        options.connect_usec = deadline_usec;
        options.extents = !copy_is_mirror(copy); /* copy_list() */
        r = peer_new(&options, &peer, error);
        if (r == 0)
                r = check_identity(copy, peer, error);
        if (r == 0)
                *ret = steal_ptr(peer);
        return r;
}

/* Takes the connection away that is broken, when nobody uses it any more. */
static void drop_peer(struct copy *copy) {
        struct peer *peer;

        pthread_mutex_lock(&copy->lock);
        peer = copy->peer;
        if (peer)
                peer_break(peer);
        copy->emptying = true;
        while (copy->n_users > 0)
                copy_wait(copy, USEC_PER_SEC);
        copy->emptying = false;
        copy->peer = NULL;
        pthread_mutex_unlock(&copy->lock);
        if (peer)
                peer_free(peer);
}

/* A mirror is filled with what is here, so not while pages move away. With the space's gate shut. */
static bool may_fill(const struct copy *copy) {
        const struct space *space = copy->space;

        if (copy_is_mirror(copy))
                return space->move == NULL;
        return !space->mirror || copy_state(space->mirror) != COPY_FILLING;
}

static int new_session(struct copy *copy, struct error *error) {
        uint64_t session;

        if (getrandom(&session, sizeof(session), 0) != (ssize_t) sizeof(session) || session == 0)
                return error_set(error, -EIO, "no random numbers from the kernel");
        pthread_mutex_lock(&copy->lock);
        copy->session = session;
        pthread_mutex_unlock(&copy->lock);
        copy->link = 1;
        copy->number = copy->answered = 0;
        copy->filled = false;
        copy->refused = false;
        return 0;
}

/* A new session, over a new connection: an empty copy that gets each save from now on. */
static int begin_session(struct copy *copy, struct error *error) {
        _cleanup_(peer_freep) struct peer *peer = NULL;
        int r = connect_peer(copy, copy->options.peer.deadline_usec, &peer, error);

        if (r == 0)
                r = new_session(copy, error);
        if (r < 0)
                return r;
        r = send_label(copy, peer, LABEL_FILLING);
        if (r < 0)
                return error_set(error, r, "it refused the first label: %s", strerror(-r));
        /* Saves that are under way now end before anything is read for the filling. */
        gate_shut(&copy->space->gate);
        if (stopped(copy)) {
                gate_reopen(&copy->space->gate);
                return error_set(error, -ECANCELED, "it is to end");
        }
        if (!may_fill(copy)) {
                gate_reopen(&copy->space->gate);
                return error_set(error, -EBUSY, copy_is_mirror(copy) ? "the space is being handed over"
                                                                : "the mirror of the space is being filled");
        }
        copy->begun = true;
        pthread_mutex_lock(&copy->lock);
        copy->peer = steal_ptr(peer);
        copy->filled_bytes = 0;
        copy_set_state(copy, COPY_FILLING, "");
        pthread_mutex_unlock(&copy->lock);
        gate_reopen(&copy->space->gate);
        return 0;
}

/* Once more over a new connection, in the same session. -EPERM where the copy was replaced, -EINVAL where it does not
 * know the session. */
static int reconnect(struct copy *copy, usec_t deadline_usec) {
        _cleanup_(peer_freep) struct peer *peer = NULL;
        int r = connect_peer(copy, deadline_usec, &peer, NULL);

        if (r == 0) {
                copy->link++;
                r = send_label(copy, peer, copy->filled ? LABEL_COMPLETE : LABEL_FILLING);
        }
        if (r < 0)
                return r;
        pthread_mutex_lock(&copy->lock);
        copy->peer = steal_ptr(peer);
        copy_set_state(copy, copy->filled ? COPY_COMPLETE : COPY_FILLING, "");
        pthread_mutex_unlock(&copy->lock);
        return 0;
}

/* Saves wait until the mirror cannot take itself for whole any more. No label is sent meanwhile whose answer it could
 * hear confirmed. */
static void go_alone(struct copy *copy) {
        usec_t alone_usec = copy->answered_usec + copy->options.peer.deadline_usec, now;

        pthread_mutex_lock(&copy->lock);
        while (copy->state == COPY_LOST && (now = clock_usec(CLOCK_BOOTTIME)) < alone_usec)
                copy_wait(copy, alone_usec - now);
        if (copy->state != COPY_REPLACED)
                copy_set_state(copy, COPY_CONNECTING, copy->text);
        pthread_mutex_unlock(&copy->lock);
}

/* Reaches the copy again that was lost. A mirror: until the space may go on alone. */
static int reach_again(struct copy *copy) {
        usec_t deadline = copy->options.peer.deadline_usec, alone_usec = copy->answered_usec + deadline;

        drop_peer(copy);
        while (!copy->refused && !stopped(copy) && copy_state(copy) == COPY_LOST) {
                usec_t now = clock_usec(CLOCK_BOOTTIME);
                int r;

                if (copy_is_mirror(copy) && now >= alone_usec)
                        break;
                r = reconnect(copy, copy_is_mirror(copy) ? alone_usec - now : deadline);
                if (r == -EPERM)
                        say(copy, COPY_REPLACED, "the other server has become the primary");
                if (r == 0 || r == -EPERM)
                        return r;
                rest(copy, AGAIN_USEC);
        }
        if (stopped(copy))
                return -ECANCELED;
        if (copy_is_mirror(copy))
                go_alone(copy);
        return -ENOTCONN;
}

/* What the state lets the thread do: 0 use the connection. */
static int usable(struct copy *copy) {
        switch (copy_state(copy)) {
        case COPY_FILLING:
        case COPY_COMPLETE:
                return 0;
        case COPY_LOST:
                return reach_again(copy);
        case COPY_REPLACED:
                return -EPERM;
        default:
                return -ENOTCONN;
        }
}

static int judge(struct copy *copy, int r) {
        pthread_mutex_lock(&copy->lock);
        if (r == -ENOTCONN)
                copy_lose(copy, "it does not answer");
        else if (r == -EPERM)
                copy_set_state(copy, COPY_REPLACED, "the other server has become the primary");
        pthread_mutex_unlock(&copy->lock);
        return r;
}

/* A label was refused. A mirror is filled anew then; a hand-over cannot begin anew, and is tried again. */
static void lose_refused(struct copy *copy, int r) {
        char text[COPY_TEXT_LEN];

        snprintf(text, sizeof(text), "it refused a label: %s", strerror(-r));
        copy->refused = copy_is_mirror(copy);
        pthread_mutex_lock(&copy->lock);
        copy_lose(copy, text);
        pthread_mutex_unlock(&copy->lock);
}

int copy_call(struct copy *copy, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset) {
        enum copy_state state = copy_state(copy);

        if (state == COPY_REPLACED)
                return -EPERM;
        if (state != COPY_FILLING && state != COPY_COMPLETE)
                return -ENOTCONN;
        return judge(copy, peer_call(copy->peer, kind, buffer, length, offset));
}

int copy_beat(struct copy *copy, enum label_state state) {
        int r;

        do {
                if (stopped(copy))
                        return -ECANCELED;
                r = usable(copy);
                if (r < 0)
                        return r;
                if (clock_usec(CLOCK_BOOTTIME) < copy->beat_usec + copy_beat_interval(copy))
                        return 0;
                r = judge(copy, send_label(copy, copy->peer, state));
                if (r < 0 && r != -EPERM && r != -ENOTCONN)
                        lose_refused(copy, r);
        } while (r < 0 && r != -EPERM);
        return r;
}

/* All pages are there: says so, and then that the answer has come, from which on the mirror may stand in. */
static int complete(struct copy *copy) {
        int r;

        copy->beat_usec = 0;
        r = copy_beat(copy, LABEL_COMPLETE);
        if (r < 0)
                return r;
        copy->filled = true;
        pthread_mutex_lock(&copy->lock);
        if (copy->state == COPY_FILLING)
                copy_set_state(copy, COPY_COMPLETE, "");
        pthread_mutex_unlock(&copy->lock);
        copy->beat_usec = 0;
        return copy_beat(copy, LABEL_COMPLETE);
}

/* Waits for the time of the next label, or until the connection needs the thread. */
static void wait_beat(struct copy *copy) {
        usec_t until = copy->beat_usec + copy_beat_interval(copy), now;

        pthread_mutex_lock(&copy->lock);
        while (!copy->stop && copy->state == COPY_COMPLETE && (now = clock_usec(CLOCK_BOOTTIME)) < until)
                copy_wait(copy, until - now);
        pthread_mutex_unlock(&copy->lock);
}

/* One session. Returns why it is over. */
static int serve(struct copy *copy) {
        int r = copy->filled ? 0 : copy_fill(copy);

        if (r == 0 && !copy->filled)
                r = complete(copy);
        while (r == 0) {
                wait_beat(copy);
                r = copy_beat(copy, LABEL_COMPLETE);
        }
        return r;
}

/* The session is over, or could not begin, but the thread goes on: why, for status. */
static void give_up(struct copy *copy, const char *text) {
        pthread_mutex_lock(&copy->lock);
        if (copy->state == COPY_FILLING || copy->state == COPY_CONNECTING)
                copy_set_state(copy, COPY_CONNECTING, text ?: copy->text);
        pthread_mutex_unlock(&copy->lock);
        drop_peer(copy);
}

/* The end: the mirror is told, or it will know by itself. */
static void retire(struct copy *copy) {
        enum copy_state state = copy_state(copy);

        if (copy_is_mirror(copy) && (state == COPY_FILLING || state == COPY_COMPLETE) &&
            send_label(copy, copy->peer, LABEL_GONE) == 0)
                say(copy, COPY_CONNECTING, "given up");
        else if (copy_is_mirror(copy) && (state == COPY_COMPLETE || state == COPY_LOST)) {
                say(copy, COPY_LOST, "given up");
                go_alone(copy);
        }
        drop_peer(copy);
}

void *copy_run(void *userdata) {
        struct copy *copy = userdata;
        usec_t pause = PAUSE_FIRST_USEC;

        while (!stopped(copy) && copy_state(copy) != COPY_REPLACED) {
                struct error error = ERROR_INIT;
                /* A hand-over has one session: a new one would begin with an empty copy. */
                int r = copy->begun && !copy_is_mirror(copy) ? 0 : begin_session(copy, &error);

                if (r == 0) {
                        r = serve(copy);
                        if (copy->filled) /* else it is filled ever more seldom: it may have no room */
                                pause = PAUSE_FIRST_USEC;
                        if (r != -ENOTCONN && r != -EPERM)
                                error_set(&error, r, "%s", strerror(-r));
                }
                if (r != -ECANCELED && (copy_is_mirror(copy) || !copy->begun))
                        give_up(copy, error.code ? error_text(&error) : NULL);
                error_deinit(&error);
                rest(copy, pause);
                pause = pause * 2 < PAUSE_LAST_USEC ? pause * 2 : PAUSE_LAST_USEC;
        }
        retire(copy);
        return NULL;
}
