/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/control.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/control-call.h"
#include "daemon/memserver/unix-socket.h"

#define SEND_SEC 5 /* longest wait for somebody who does not read */

/* One who asks. */
struct talk {
        struct control *control;
        int fd;
        pthread_t thread;
        bool used, ended; /* under the control's lock; ended: to be joined */
        struct line_reader reader;
};

struct control {
        struct server *server;
        char *path;
        int listen_fd, stop_fd; /* stop_fd: readable once all shall end */
        uid_t users[CONTROL_USERS_MAX];
        size_t n_users;
        pthread_t thread;
        bool started;
        pthread_mutex_t lock;
        struct talk talks[CONTROL_CONNECTIONS_MAX];
};

DEFINE_CLEANUP(struct control *, control_free)

static bool peer_is_allowed(const struct control *control, int fd) {
        struct ucred peer;
        socklen_t length = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
                return false;
        for (size_t i = 0; i < control->n_users; i++)
                if (peer.uid == control->users[i])
                        return true;
        return peer.uid == 0 || peer.uid == geteuid();
}

/* Waits until there is something to read, and notices a peer that is gone and the end of all. 1 when readable. */
static int wait_readable(const struct talk *talk, int timeout_msec) {
        struct pollfd polls[] = { { .fd = talk->control->stop_fd, .events = POLLIN },
                                  { .fd = talk->fd, .events = POLLIN | POLLRDHUP } };

        if (poll(polls, ELEMENTSOF(polls), timeout_msec) < 0)
                return errno == EINTR ? 0 : -errno;
        if (polls[0].revents || polls[1].revents & (POLLERR | POLLNVAL))
                return -ESHUTDOWN;
        if (polls[1].revents & POLLIN)
                return 1;
        return polls[1].revents ? -EPIPE : 0;
}

static int talk_line(void *userdata, const char *line) {
        const struct talk *talk = userdata;
        size_t left = strlen(line);

        while (left > 0) {
                ssize_t n = send(talk->fd, line, left, MSG_NOSIGNAL);
                if (n < 0 && errno != EINTR)
                        return -errno;
                line += n > 0 ? n : 0;
                left -= n > 0 ? (size_t) n : 0;
        }
        return 0;
}

/* For calls that wait: a peer that says something else, or hangs up, has had enough. */
static int talk_over(void *userdata) {
        return wait_readable(userdata, 0) != 0;
}

/* For calls that have to wait for others: one who only says no more still reads the answer. */
static int talk_gone(void *userdata) {
        const struct talk *talk = userdata;
        struct pollfd polls[] = { { .fd = talk->control->stop_fd, .events = POLLIN }, { .fd = talk->fd } };

        if (poll(polls, ELEMENTSOF(polls), 0) <= 0)
                return 0;
        return polls[0].revents || polls[1].revents & (POLLHUP | POLLERR | POLLNVAL);
}

static int answer(struct talk *talk, const char *text, size_t length) {
        const struct control_out out = { talk_line, talk_over, talk, { talk_gone, talk } };
        struct control_request request;
        struct error error = ERROR_INIT;
        _cleanup_free_ char *line = NULL;
        int r = control_decode(text, length, &request, &error);

        if (r == 0) {
                r = control_call(talk->control->server, &request, &out);
                explicit_bzero(request.uri, sizeof(request.uri));
                return r;
        }
        r = control_encode_result(request.id, r, error_text(&error), &line);
        error_deinit(&error);
        return r < 0 ? r : talk_line(talk, line);
}

/* Answers what was read so far. */
static int answer_lines(struct talk *talk) {
        const char *text;
        size_t length;
        int r;

        while ((r = line_reader_next(&talk->reader, &text, &length)) != 0) {
                if (r == -E2BIG)
                        r = talk_line(talk, "{\"id\":0,\"result\":-7,\"text\":\"a line is at most 65536 bytes\"}\n");
                else
                        r = answer(talk, text, length);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void *talk_run(void *userdata) {
        struct talk *talk = userdata;
        int r;

        do {
                r = wait_readable(talk, -1);
                if (r <= 0)
                        continue;
                r = line_reader_fill(&talk->reader, talk->fd);
                if (r == 0)
                        r = -EPIPE;
                if (r > 0)
                        r = answer_lines(talk);
        } while (r >= 0 || r == -EAGAIN);
        line_reader_deinit(&talk->reader);
        pthread_mutex_lock(&talk->control->lock);
        talk->fd = (close(talk->fd), -1);
        talk->ended = true;
        pthread_mutex_unlock(&talk->control->lock);
        return NULL;
}

/* A place for one more who asks; NULL where there is none. Joins threads that have ended. With the lock held. */
static struct talk *free_talk(struct control *control) {
        struct talk *free = NULL;

        for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++) {
                struct talk *talk = &control->talks[i];
                if (talk->used && talk->ended) {
                        (void) pthread_join(talk->thread, NULL);
                        talk->used = false;
                }
                if (!talk->used)
                        free = talk;
        }
        return free;
}

/* Nobody is to take it for a server that is lost. */
static void turn_away(int fd) {
        _cleanup_free_ char *line = NULL;
        char text[96];

        snprintf(text, sizeof(text), "%d others talk with this server, as many as may; ask again",
                 CONTROL_CONNECTIONS_MAX);
        if (control_encode_result(0, -EAGAIN, text, &line) == 0)
                (void) send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
        (void) close(fd);
}

static void start_talk(struct control *control, int fd) {
        static const struct timeval patience = { .tv_sec = SEND_SEC };
        struct talk *talk;

        (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        pthread_mutex_lock(&control->lock);
        talk = free_talk(control);
        if (talk) {
                *talk = (struct talk) { .control = control, .fd = fd, .used = true };
                if (thread_start_joined(talk_run, talk, &talk->thread) < 0) {
                        talk->used = false;
                        talk = NULL;
                }
        }
        pthread_mutex_unlock(&control->lock);
        if (!talk)
                turn_away(fd);
}

static void *listen_run(void *userdata) {
        struct control *control = userdata;
        struct pollfd polls[] = { { .fd = control->stop_fd, .events = POLLIN },
                                  { .fd = control->listen_fd, .events = POLLIN } };

        for (;;) {
                int fd;

                if (poll(polls, ELEMENTSOF(polls), -1) < 0 && errno != EINTR)
                        return NULL;
                if (polls[0].revents)
                        return NULL;
                fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd < 0) {
                        /* Out of descriptors: the one who waits would make this a busy loop. */
                        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                                (void) poll(polls, 1, 100);
                        continue;
                }
                if (peer_is_allowed(control, fd))
                        start_talk(control, fd);
                else
                        (void) close(fd);
        }
}

static int open_socket(const char *path, int *ret_fd, struct error *error) {
        struct sockaddr_un address;

        if (unix_address(path, &address) < 0)
                return error_set(error, -EINVAL, "%s: not an absolute path, or too long for a socket", path);
        return unix_listen(&address, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, CONTROL_CONNECTIONS_MAX, ret_fd,
                           error);
}

int control_new(struct server *server, const char *path, const uid_t *users, size_t n_users, struct control **ret,
                struct error *error) {
        _cleanup_(control_freep) struct control *control = calloc(1, sizeof(*control));
        int r;

        if (!control)
                return error_set(error, -ENOMEM, "out of memory");
        control->listen_fd = control->stop_fd = -1;
        control->server = server;
        memcpy(control->users, users, n_users * sizeof(uid_t));
        control->n_users = n_users;
        (void) pthread_mutex_init(&control->lock, NULL);
        control->stop_fd = eventfd(0, EFD_CLOEXEC);
        control->path = strdup(path);
        if (control->stop_fd < 0 || !control->path)
                return error_set(error, -ENOMEM, "out of memory or descriptors");
        r = open_socket(path, &control->listen_fd, error);
        if (r < 0)
                return r;
        r = thread_start_joined(listen_run, control, &control->thread);
        if (r < 0)
                return error_set(error, r, "no thread for the control socket: %s", strerror(-r));
        control->started = true;
        *ret = steal_ptr(control);
        return 0;
}

struct control *control_free(struct control *control) {
        const uint64_t one = 1;

        if (control->started) {
                (void) !write(control->stop_fd, &one, sizeof(one));
                (void) pthread_join(control->thread, NULL);
                for (size_t i = 0; i < CONTROL_CONNECTIONS_MAX; i++)
                        if (control->talks[i].used)
                                (void) pthread_join(control->talks[i].thread, NULL);
        }
        if (control->listen_fd >= 0) {
                (void) close(control->listen_fd);
                (void) unlink(control->path);
        }
        if (control->stop_fd >= 0)
                (void) close(control->stop_fd);
        free(control->path);
        free(control);
        return NULL;
}
