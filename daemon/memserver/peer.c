/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/peer.h"

#include <ctype.h>
#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define ZERO_BYTES GIB            /* the same where no data goes */

/*
 * Who waits for answers: the thread, as a rule. But a caller who has the connection for itself waits for its own answer
 * instead, since being woken by the thread would cost it as much again as the thread's waking; the thread watches for
 * the end of the connection alone meanwhile, as it does where nothing is under way. What others ask in that time is
 * answered through that caller, and the thread takes over when it has what it came for.
 */
struct peer {
        struct nbd_handle *handle; /* under `lock`; NULL once broken. Closed by the thread alone */
        pthread_mutex_t lock;
        pthread_cond_t left; /* no caller waits for answers any more */
        pthread_t thread;
        bool started;
        int wake_fd, caller_fd; /* what wakes the thread, and such a caller */
        bool caller_waits;      /* for answers, in place of the thread */
        usec_t deadline_usec;
        uint64_t size_bytes;
        bool read_only;
        _Atomic unsigned n_under_way;
        _Atomic usec_t progress_usec; /* when something was last asked on an idle connection, or answered */
        _Atomic bool over;            /* the thread shall close it and end */
};

DEFINE_CLEANUP(struct peer *, peer_free)

/* Takes out of a message what could be a capability. */
static void scrub(char *text) {
        while (*text) {
                size_t n = 0;

                while (isxdigit((unsigned char) text[n]))
                        n++;
                if (n >= 16)
                        memset(text, '*', n);
                text += n > 0 ? n : 1;
        }
}

static int nbd_failed(struct error *error) {
        const char *said = nbd_get_error();
        _cleanup_free_ char *text = strdup(said ? said : "");
        int r = nbd_get_errno() > 0 ? -nbd_get_errno() : -EIO;

        if (text)
                scrub(text);
        return error_set(error, r, "%s", text ? text : strerror(-r));
}

static bool has_prefix(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int check_uri(const struct peer_options *options, struct error *error) {
        bool tls = has_prefix(options->uri, "nbds"), local = has_prefix(options->uri, "nbd+unix:");

        if (!tls && !has_prefix(options->uri, "nbd:") && !has_prefix(options->uri, "nbd+vsock:") && !local)
                return error_set(error, -EINVAL, "the URI begins with none of nbd:, nbds:, nbd+unix:, nbds+unix:, "
                                 "nbd+vsock: and nbds+vsock:");
        if (!tls && !local && options->tls_required)
                return error_set(error, -EPERM, "the URI asks for no TLS; write nbds:, or allow it by "
                                 "\"unencrypted: yes\"");
        return 0;
}

/* Only structured replies can tell of extents, but each comes in one piece more than a simple one, and a unix socket
 * wakes its reader for every piece that is put into it: a page that is read so takes an eighth longer. */
static int set_options(struct nbd_handle *handle, const struct peer_options *options, struct error *error) {
        if (options->psk_file && nbd_set_tls_psk_file(handle, options->psk_file) < 0)
                return nbd_failed(error);
        if (options->certificates && nbd_set_tls_certificates(handle, options->certificates) < 0)
                return nbd_failed(error);
        if (nbd_set_uri_allow_local_file(handle, false) < 0 || nbd_set_request_block_size(handle, true) < 0 ||
            nbd_set_pread_initialize(handle, false) < 0 || /* what an error left is not read */
            nbd_set_request_structured_replies(handle, options->extents) < 0 ||
            (options->extents && nbd_add_meta_context(handle, LIBNBD_CONTEXT_BASE_ALLOCATION) < 0))
                return nbd_failed(error);
        return 0;
}

/* Waits for `events` of the socket, or for `wake_fd`, so long at most. While it waits, `lock` is free. Returns what has
 * happened to the socket. */
static int wait_for(struct nbd_handle *handle, pthread_mutex_t *lock, short events, int wake_fd, int timeout_msec) {
        struct pollfd polls[2] = { { .fd = nbd_aio_get_fd(handle), .events = events },
                                   { .fd = wake_fd, .events = POLLIN } };
        int r;

        if (lock)
                pthread_mutex_unlock(lock);
        r = poll(polls, ELEMENTSOF(polls), timeout_msec);
        if (r < 0)
                r = -errno;
        if (lock)
                pthread_mutex_lock(lock);
        if (r <= 0)
                return r == -EINTR ? 0 : r;
        if (polls[1].revents) {
                uint64_t n;
                (void) !read(wake_fd, &n, sizeof(n));
        }
        return polls[0].revents;
}

/* One turn of the connection's machine. */
static int turn(struct nbd_handle *handle, pthread_mutex_t *lock, int wake_fd, int timeout_msec) {
        unsigned direction = nbd_aio_get_direction(handle);
        int events = wait_for(handle, lock,
                              (short) ((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                                       (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0)), wake_fd, timeout_msec);
        int r = 0;

        if (events <= 0)
                return events;
        direction = nbd_aio_get_direction(handle);
        if (events & POLLIN && direction & LIBNBD_AIO_DIRECTION_READ)
                r = nbd_aio_notify_read(handle);
        else if (events & POLLOUT && direction & LIBNBD_AIO_DIRECTION_WRITE)
                r = nbd_aio_notify_write(handle);
        else if (events & (POLLERR | POLLHUP | POLLNVAL))
                r = -1;
        return r < 0 ? -ENOTCONN : 1;
}

static int connect_handle(struct nbd_handle *handle, const struct peer_options *options, struct error *error) {
        usec_t until = clock_usec(CLOCK_BOOTTIME) + options->connect_usec;

        if (nbd_aio_connect_uri(handle, options->uri) < 0)
                return nbd_failed(error);
        while (!nbd_aio_is_ready(handle)) {
                usec_t now = clock_usec(CLOCK_BOOTTIME);

                if (now >= until)
                        return error_set(error, -ETIMEDOUT, "no connection within the deadline");
                if (turn(handle, NULL, -1, (int) ((until - now) / USEC_PER_MSEC) + 1) < 0 || nbd_aio_is_dead(handle) ||
                    nbd_aio_is_closed(handle))
                        return nbd_failed(error);
        }
        return 0;
}

/* Frees what has been answered, which ends the calls. With the lock held. */
static void retire_answered(struct peer *peer) {
        int64_t cookie;

        while ((cookie = nbd_aio_peek_command_completed(peer->handle)) > 0)
                (void) nbd_aio_command_completed(peer->handle, (uint64_t) cookie);
}

/* Whoever is waited for has not answered anybody for too long. */
static bool stalled(struct peer *peer) {
        return peer->n_under_way > 0 && clock_usec(CLOCK_BOOTTIME) >= peer->progress_usec + peer->deadline_usec;
}

/* When to look whether the deadline has passed: then, or often enough to see in time that something is under way. */
static int next_look_msec(struct peer *peer) {
        usec_t now = clock_usec(CLOCK_BOOTTIME), until = peer->progress_usec + peer->deadline_usec;

        if (peer->n_under_way == 0)
                return (int) (peer->deadline_usec / 4 / USEC_PER_MSEC) + 1;
        return until > now ? (int) ((until - now) / USEC_PER_MSEC) + 1 : 0;
}

/* Reads answers, and sends what the socket had no room for. False where the connection is over. With the lock held. */
static bool attend(struct peer *peer, int wake_fd) {
        if (turn(peer->handle, &peer->lock, wake_fd, next_look_msec(peer)) < 0 || nbd_aio_is_dead(peer->handle) ||
            nbd_aio_is_closed(peer->handle))
                return false;
        retire_answered(peer);
        return !stalled(peer);
}

/* The same where the thread expects no answer: only the end of the connection. */
static bool watch(struct peer *peer) {
        int events = wait_for(peer->handle, &peer->lock, POLLRDHUP, peer->wake_fd, next_look_msec(peer));

        return events == 0 || (events > 0 && !(events & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)));
}

static void wake(struct peer *peer) {
        const uint64_t one = 1;

        (void) !write(peer->wake_fd, &one, sizeof(one));
        (void) !write(peer->caller_fd, &one, sizeof(one));
}

static void *peer_run(void *userdata) {
        struct peer *peer = userdata;

        pthread_mutex_lock(&peer->lock);
        while (!peer->over)
                if (!(peer->caller_waits || peer->n_under_way == 0 ? watch(peer) : attend(peer, peer->wake_fd)))
                        peer->over = true;
        wake(peer);
        while (peer->caller_waits)
                pthread_cond_wait(&peer->left, &peer->lock);
        nbd_close(peer->handle); /* ends all calls under way */
        peer->handle = NULL;
        pthread_mutex_unlock(&peer->lock);
        return NULL;
}

int peer_new(const struct peer_options *options, struct peer **ret, struct error *error) {
        _cleanup_(peer_freep) struct peer *peer = NULL;
        int64_t size;
        int r = check_uri(options, error);

        if (r < 0)
                return r;
        peer = calloc(1, sizeof(*peer));
        if (!peer)
                return error_set(error, -ENOMEM, "out of memory");
        (void) pthread_mutex_init(&peer->lock, NULL);
        (void) pthread_cond_init(&peer->left, NULL);
        peer->deadline_usec = options->deadline_usec;
        peer->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        peer->caller_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        peer->handle = nbd_create();
        if (peer->wake_fd < 0 || peer->caller_fd < 0 || !peer->handle)
                return error_set(error, -ENOMEM, "out of memory or descriptors");
        r = set_options(peer->handle, options, error);
        if (r == 0)
                r = connect_handle(peer->handle, options, error);
        if (r < 0)
                return r;
        size = nbd_get_size(peer->handle);
        if (size < 0)
                return nbd_failed(error);
        peer->size_bytes = (uint64_t) size;
        peer->read_only = nbd_is_read_only(peer->handle) > 0;
        r = thread_start_joined(peer_run, peer, &peer->thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        peer->started = true;
        *ret = steal_ptr(peer);
        return 0;
}

void peer_break(struct peer *peer) {
        peer->over = true;
        wake(peer);
}

bool peer_broken(struct peer *peer) {
        return peer->over;
}

struct peer *peer_free(struct peer *peer) {
        if (peer->started) {
                peer_break(peer);
                (void) pthread_join(peer->thread, NULL);
        }
        if (peer->handle)
                nbd_close(peer->handle);
        if (peer->wake_fd >= 0)
                (void) close(peer->wake_fd);
        if (peer->caller_fd >= 0)
                (void) close(peer->caller_fd);
        (void) pthread_cond_destroy(&peer->left);
        (void) pthread_mutex_destroy(&peer->lock);
        free(peer);
        return NULL;
}

uint64_t peer_size(struct peer *peer) {
        return peer->size_bytes;
}

bool peer_read_only(struct peer *peer) {
        return peer->read_only;
}

/* One piece of a call. libnbd frees it exactly once, also where it was never sent or never answered. */
struct piece {
        struct peer *peer;
        struct peer_call *call;
        int result;
};

static void call_finish(struct peer_call *call, int result) {
        int none = 0;

        if (result < 0)
                (void) atomic_compare_exchange_strong(&call->result, &none, result);
        if (atomic_fetch_sub(&call->left, 1) == 1)
                call->done(call);
}

static int piece_answered(void *userdata, int *error) {
        struct piece *piece = userdata;

        piece->result = -*error;
        return 0; /* 1 would free it, which libnbd 1.14 does not expect while the request is still being sent */
}

static void piece_free(void *userdata) {
        struct piece *piece = userdata;

        piece->peer->progress_usec = clock_usec(CLOCK_BOOTTIME);
        piece->peer->n_under_way--;
        call_finish(piece->call, piece->result);
        free(piece);
}

/* Pairs of a length and what is there. */
static int take_extents(void *userdata, const char *context, uint64_t offset, uint32_t *entries, size_t n_entries,
                        int *error) {
        struct peer_extents *extents = userdata;

        for (size_t i = 0; i + 1 < n_entries; i += 2) {
                if (!(entries[i + 1] & LIBNBD_STATE_HOLE))
                        extents->found(extents->userdata, offset, entries[i]);
                offset += entries[i];
        }
        extents->told_to = offset;
        return 0;
}

/* With the lock held. */
static void send_piece(struct peer *peer, struct peer_call *call, enum peer_kind kind, void *buffer, uint64_t length,
                       uint64_t offset) {
        struct piece *piece = malloc(sizeof(*piece));
        nbd_completion_callback callback = { .callback = piece_answered, .user_data = piece, .free = piece_free };

        call->left++;
        if (!piece || peer->over) {
                free(piece);
                call_finish(call, -ENOTCONN);
                return;
        }
        *piece = (struct piece) { peer, call, -ENOTCONN };
        if (peer->n_under_way++ == 0)
                peer->progress_usec = clock_usec(CLOCK_BOOTTIME);
        switch (kind) {
        case PEER_WRITE:
                (void) nbd_aio_pwrite(peer->handle, buffer, length, offset, callback, 0);
                break;
        case PEER_READ:
                (void) nbd_aio_pread(peer->handle, buffer, length, offset, callback, 0);
                break;
        case PEER_ZERO:
                (void) nbd_aio_zero(peer->handle, length, offset, callback, 0);
                break;
        case PEER_FLUSH:
                (void) nbd_aio_flush(peer->handle, callback, 0);
                break;
        case PEER_EXTENTS:
                (void) nbd_aio_block_status(peer->handle, length, offset,
                                            (nbd_extent_callback) { .callback = take_extents, .user_data = buffer },
                                            callback, 0);
                break;
        }
}

/* With the lock held. The call does not end before call_finish() has let it go. */
static void send_call(struct peer *peer, struct peer_call *call, enum peer_kind kind, void *buffer, uint64_t length,
                      uint64_t offset) {
        uint64_t most = kind == PEER_ZERO || kind == PEER_EXTENTS ? ZERO_BYTES : PEER_PIECE_BYTES;
        char *data = buffer;

        call->result = 0;
        call->left = 1; /* until all is sent */
        for (uint64_t at = 0; at < length || kind == PEER_FLUSH; at += most) {
                send_piece(peer, call, kind, data ? data + at : NULL, length - at < most ? length - at : most,
                           offset + at);
                if (kind == PEER_FLUSH)
                        break;
        }
        if (!peer->over)
                retire_answered(peer);
}

/* The socket has no room for all that is to be sent. With the lock held. */
static bool full(struct peer *peer) {
        return !peer->over && nbd_aio_get_direction(peer->handle) & LIBNBD_AIO_DIRECTION_WRITE;
}

void peer_submit(struct peer *peer, struct peer_call *call, enum peer_kind kind, void *buffer, uint64_t length,
                 uint64_t offset) {
        bool idle, needed;

        pthread_mutex_lock(&peer->lock);
        idle = peer->n_under_way == 0;
        send_call(peer, call, kind, buffer, length, offset);
        needed = full(peer) || idle;
        pthread_mutex_unlock(&peer->lock);
        if (needed)
                wake(peer);
        call_finish(call, 0);
}

static void call_answered(struct peer_call *call) {
        (void) sem_post(&call->answered);
}

/* Waits for the answers to a call, and whatever others come before them. With the lock held. */
static void wait_answered(struct peer *peer, struct peer_call *call) {
        peer->caller_waits = true;
        while (!peer->over && call->left > 0)
                if (!attend(peer, peer->caller_fd))
                        peer->over = true;
        peer->caller_waits = false;
        if (peer->over || peer->n_under_way > 0) {
                pthread_cond_signal(&peer->left);
                wake(peer);
        }
}

int peer_call(struct peer *peer, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset) {
        struct peer_call call = { .done = call_answered };
        bool alone, needed;
        int r;

        (void) sem_init(&call.answered, 0, 0);
        pthread_mutex_lock(&peer->lock);
        alone = peer->n_under_way == 0 && !peer->caller_waits;
        send_call(peer, &call, kind, buffer, length, offset);
        needed = !alone && full(peer);
        call_finish(&call, 0);
        if (alone)
                wait_answered(peer, &call);
        pthread_mutex_unlock(&peer->lock);
        if (needed)
                wake(peer);
        while (sem_wait(&call.answered) < 0 && errno == EINTR)
                ;
        r = call.result;
        (void) sem_destroy(&call.answered);
        return r;
}
