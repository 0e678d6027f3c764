/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/copy-internal.h"

#define LATE_BYTES_MAX (16 * MIB) /* acknowledged before the mirror has it */

DEFINE_CLEANUP(struct copy *, copy_free)

static int copy_string(const char *from, const char **ret) {
        if (from && !(*ret = strdup(from)))
                return -ENOMEM;
        return 0;
}

int copy_new(struct space *space, struct events *events, const struct copy_options *options, struct copy **ret) {
        _cleanup_(copy_freep) struct copy *copy = calloc(1, sizeof(*copy));

        if (!copy)
                return -ENOMEM;
        copy->space = space_ref(space);
        copy->events = events;
        copy->state = COPY_CONNECTING;
        copy->options = *options;
        copy->options.peer.uri = copy->options.peer.psk_file = copy->options.peer.certificates = NULL;
        (void) pthread_mutex_init(&copy->lock, NULL);
        condition_init(&copy->changed);
        ranges_init(&copy->late);
        bundler_init(&copy->bundler);
        if (copy_string(options->peer.uri, &copy->options.peer.uri) < 0 ||
            copy_string(options->peer.psk_file, &copy->options.peer.psk_file) < 0 ||
            copy_string(options->peer.certificates, &copy->options.peer.certificates) < 0)
                return -ENOMEM;
        *ret = steal_ptr(copy);
        return 0;
}

int copy_start(struct copy *copy) {
        int r = thread_start_joined(copy_run, copy, &copy->thread);

        copy->started = r == 0;
        return r;
}

void copy_stop(struct copy *copy) {
        if (!copy->started)
                return;
        pthread_mutex_lock(&copy->lock);
        copy->stop = true;
        pthread_cond_broadcast(&copy->changed);
        pthread_mutex_unlock(&copy->lock);
        (void) pthread_join(copy->thread, NULL);
        copy->started = false;
}

struct copy *copy_free(struct copy *copy) {
        copy_stop(copy);
        bundler_deinit(&copy->bundler);
        ranges_deinit(&copy->late);
        (void) pthread_cond_destroy(&copy->changed);
        (void) pthread_mutex_destroy(&copy->lock);
        if (copy->options.peer.uri)
                explicit_bzero((char *) copy->options.peer.uri, strlen(copy->options.peer.uri));
        free((char *) copy->options.peer.uri);
        free((char *) copy->options.peer.psk_file);
        free((char *) copy->options.peer.certificates);
        space_unref(copy->space);
        free(copy);
        return NULL;
}

void copy_tell(struct copy *copy, struct copy_status *ret) {
        pthread_mutex_lock(&copy->lock);
        *ret = (struct copy_status) { .state = copy->state, .filled_bytes = copy->filled_bytes,
                                      .answered_usec = copy->answered_usec, .session = copy->session };
        memcpy(ret->text, copy->text, sizeof(ret->text));
        pthread_mutex_unlock(&copy->lock);
}

enum copy_state copy_state(struct copy *copy) {
        enum copy_state state;

        pthread_mutex_lock(&copy->lock);
        state = copy->state;
        pthread_mutex_unlock(&copy->lock);
        return state;
}

void copy_wait(struct copy *copy, usec_t timeout_usec) {
        condition_wait(&copy->changed, &copy->lock, timeout_usec);
}

static enum space_event_kind event_of(const struct copy *copy, enum copy_state state) {
        static const enum space_event_kind kinds[][COPY_STATE_MAX] = {
                [COPY_MIRROR] = { [COPY_CONNECTING] = EVENT_ALONE,  [COPY_FILLING] = EVENT_FILLING,
                                  [COPY_COMPLETE] = EVENT_MIRRORED, [COPY_LOST] = EVENT_MIRROR_LOST,
                                  [COPY_REPLACED] = EVENT_REPLACED },
                [COPY_MOVE] = { [COPY_FILLING] = EVENT_MOVING, [COPY_COMPLETE] = EVENT_MOVED,
                                [COPY_LOST] = EVENT_MOVE_LOST, [COPY_REPLACED] = EVENT_REPLACED },
        };

        return kinds[copy->options.kind][state];
}

void copy_set_state(struct copy *copy, enum copy_state state, const char *text) {
        bool changes = copy->state != state;

        copy->state = state;
        if (text != copy->text)
                strncpy(copy->text, text, sizeof(copy->text) - 1);
        if (state == COPY_REPLACED)
                copy->space->replaced = true;
        pthread_cond_broadcast(&copy->changed);
        if (changes)
                events_add(copy->events, event_of(copy, state), &copy->space->name, "%s", text);
}

void copy_lose(struct copy *copy, const char *text) {
        if (copy->peer)
                peer_break(copy->peer);
        if (copy->state == COPY_COMPLETE || (copy->state == COPY_FILLING && !copy_is_mirror(copy)))
                copy_set_state(copy, copy_is_mirror(copy) && copy->options.relaxed ? COPY_CONNECTING : COPY_LOST, text);
        else if (copy->state == COPY_FILLING)
                copy_set_state(copy, COPY_CONNECTING, text);
}

/* The connection, for one call; give_peer() ends its use. 1 where the space is alone. */
static int take_peer(struct copy *copy, struct peer **ret) {
        usec_t until = clock_usec(CLOCK_BOOTTIME) + copy->options.peer.deadline_usec;
        int r = -EAGAIN;

        pthread_mutex_lock(&copy->lock);
        while (r == -EAGAIN)
                switch (copy->state) {
                case COPY_FILLING:
                case COPY_COMPLETE:
                        *ret = copy->peer;
                        copy->n_users++;
                        r = 0;
                        break;
                case COPY_REPLACED:
                        r = -EPERM;
                        break;
                case COPY_LOST: {
                        usec_t now = clock_usec(CLOCK_BOOTTIME);
                        /* The thread reaches it, or says that the space is alone; pages are waited for only so long. */
                        if (!copy_is_mirror(copy) && now >= until)
                                r = -EIO;
                        else
                                copy_wait(copy, copy_is_mirror(copy) ? USEC_PER_SEC : until - now);
                        break;
                }
                default:
                        r = copy_is_mirror(copy) ? 1 : -EIO;
                }
        pthread_mutex_unlock(&copy->lock);
        return r;
}

/* With the lock held: what an answer means for the copy. */
static void judge_answer(struct copy *copy, const struct peer *peer, int r) {
        char text[COPY_TEXT_LEN];

        if (r == 0 || peer != copy->peer)
                return;
        if (r == -ENOTCONN) {
                copy_lose(copy, "it does not answer");
        } else if (r == -EPERM) {
                copy_set_state(copy, COPY_REPLACED, "the other server has become the primary");
        } else if (copy_is_mirror(copy)) {
                snprintf(text, sizeof(text), "it refused a save: %s", strerror(-r));
                copy->refused = true;
                copy_lose(copy, text);
                /* A full mirror knows that it lacks a page, and does not stand in: nobody has to wait for that. */
                if (r == -ENOSPC && copy->state == COPY_LOST)
                        copy_set_state(copy, COPY_CONNECTING, text);
        }
}

static void give_peer(struct copy *copy, const struct peer *peer, int r) {
        pthread_mutex_lock(&copy->lock);
        judge_answer(copy, peer, r);
        if (--copy->n_users == 0 && copy->emptying)
                pthread_cond_broadcast(&copy->changed);
        pthread_mutex_unlock(&copy->lock);
}

int copy_request(struct copy *copy, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset) {
        struct peer *peer;
        int r;

        do {
                r = take_peer(copy, &peer);
                if (r != 0)
                        return r > 0 ? 0 : r;
                r = peer_call(peer, kind, buffer, length, offset);
                give_peer(copy, peer, r);
                /* What a mirror refuses waits until the space may go on alone. */
        } while (r == -ENOTCONN || (r < 0 && r != -EPERM && copy_is_mirror(copy)));
        return r;
}

/* A save that was acknowledged already. */
struct late {
        struct peer_call call;
        struct copy *copy;
        struct peer *peer;
        struct range range;
        uint64_t length;
        char data[];
};

static void late_done(struct peer_call *peer_call_done) {
        struct late *late = (struct late *) peer_call_done;
        struct copy *copy = late->copy;

        range_give(&copy->late, &late->range);
        pthread_mutex_lock(&copy->lock);
        copy->late_bytes -= late->length;
        judge_answer(copy, late->peer, late->call.result);
        copy->n_users--;
        pthread_cond_broadcast(&copy->changed);
        pthread_mutex_unlock(&copy->lock);
        free(late);
}

static int save_late(struct copy *copy, const void *buffer, uint64_t length, uint64_t offset) {
        uint64_t n_data = buffer ? length : 0;
        struct late *late = malloc(sizeof(*late) + n_data);
        int r;

        if (!late)
                return copy_request(copy, buffer ? PEER_WRITE : PEER_ZERO, (void *) buffer, length, offset);
        pthread_mutex_lock(&copy->lock);
        while (copy->late_bytes > 0 && copy->late_bytes + length > LATE_BYTES_MAX)
                copy_wait(copy, USEC_PER_SEC);
        copy->late_bytes += length;
        pthread_mutex_unlock(&copy->lock);
        late->call = (struct peer_call) { .done = late_done };
        late->copy = copy;
        late->length = length;
        if (n_data > 0)
                memcpy(late->data, buffer, n_data);
        range_take(&copy->late, &late->range, length, offset);
        r = take_peer(copy, &late->peer);
        if (r == 0) {
                peer_submit(late->peer, &late->call, buffer ? PEER_WRITE : PEER_ZERO, late->data, length, offset);
                return 0;
        }
        range_give(&copy->late, &late->range);
        pthread_mutex_lock(&copy->lock);
        copy->late_bytes -= length;
        pthread_cond_broadcast(&copy->changed);
        pthread_mutex_unlock(&copy->lock);
        free(late);
        return r > 0 ? 0 : r;
}

int copy_save(struct copy *copy, const void *buffer, uint64_t length, uint64_t offset) {
        if (!copy->begun || length == 0)
                return 0;
        if (copy->options.relaxed && copy_is_mirror(copy))
                return save_late(copy, buffer, length, offset);
        if (buffer && copy_is_mirror(copy))
                return copy_save_bundled(copy, buffer, length, offset);
        return copy_request(copy, buffer ? PEER_WRITE : PEER_ZERO, (void *) buffer, length, offset);
}

void copy_give_up(struct copy *copy, const char *text) {
        pthread_mutex_lock(&copy->lock);
        copy->refused = true;
        copy_lose(copy, text);
        pthread_mutex_unlock(&copy->lock);
}

bool copy_call_off(struct copy *copy) {
        if (copy->begun)
                return false;
        pthread_mutex_lock(&copy->lock);
        copy->stop = true;
        pthread_cond_broadcast(&copy->changed);
        pthread_mutex_unlock(&copy->lock);
        return true;
}

bool copy_begun(const struct copy *copy) {
        return copy->begun;
}

int copy_return(struct copy *copy, void *buffer, uint64_t length, uint64_t offset) {
        return copy_request(copy, PEER_READ, buffer, length, offset);
}

int copy_read_back(struct copy *copy, void *buffer, uint64_t length, uint64_t offset) {
        struct peer *peer = NULL;
        struct range late;
        int r = -EIO;

        range_take(&copy->late, &late, length, offset); /* saves of that which it has not got yet */
        pthread_mutex_lock(&copy->lock);
        while (copy->state == COPY_LOST) /* the thread reaches it, or says that the space is alone */
                copy_wait(copy, USEC_PER_SEC);
        if (copy->state == COPY_COMPLETE) {
                peer = copy->peer;
                copy->n_users++;
        }
        pthread_mutex_unlock(&copy->lock);
        if (peer) {
                r = peer_call(peer, PEER_READ, buffer, length, offset);
                /* A page that it cannot read either says nothing against its others. */
                give_peer(copy, peer, r == -ENOTCONN || r == -EPERM ? r : 0);
        }
        range_give(&copy->late, &late);
        return r == 0 || r == -EPERM ? r : -EIO;
}

int copy_list(struct copy *copy, struct peer_extents *extents, uint64_t length, uint64_t offset) {
        enum copy_state state = copy_state(copy);

        return state == COPY_FILLING || state == COPY_COMPLETE
                       ? copy_request(copy, PEER_EXTENTS, extents, length, offset) : -ENOTCONN;
}

int copy_flush(struct copy *copy) {
        pthread_mutex_lock(&copy->lock);
        while (copy->late_bytes > 0)
                copy_wait(copy, USEC_PER_SEC);
        pthread_mutex_unlock(&copy->lock);
        return copy->begun ? copy_request(copy, PEER_FLUSH, NULL, 0, 0) : 0;
}
