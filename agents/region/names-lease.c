/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/names-lease.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"

#define PAUSE_FIRST_MSEC 100
#define PAUSE_MAX_MSEC 5000
#define TEXT_LEN 256
#define ANSWER_USEC USEC_PER_SEC /* and so long, at most, until the thread ends when it is told to */

struct names_lease {
        char *socket;
        struct names_message request;
        int fd, stop_fd; /* the connection, the thread's alone; -1: there is none */
        int pause_msec;  /* until it is tried again */
        pthread_t thread;
        bool running;

        pthread_mutex_t lock; /* of what follows: how the lease stands */
        int result;
        char text[TEXT_LEN];
};

static void note(struct names_lease *lease, int r, const char *text) {
        pthread_mutex_lock(&lease->lock);
        lease->result = r;
        snprintf(lease->text, sizeof(lease->text), "%s", text);
        pthread_mutex_unlock(&lease->lock);
}

/* What the server says unasked is of no interest; that it has gone is. */
static void hear(struct names_lease *lease) {
        char bytes[64];
        ssize_t n = recv(lease->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
                return;
        closep(&lease->fd);
        lease->fd = -1;
        lease->pause_msec = PAUSE_FIRST_MSEC;
        note(lease, -ENOTCONN, "the name server has hung up");
}

/* Also where it is refused: who has the name may end. */
static void try_again(struct names_lease *lease) {
        struct names_message answer;
        struct error error = ERROR_INIT;
        int r = names_ask(lease->socket, &lease->request, ANSWER_USEC, &answer, &lease->fd, &error);

        note(lease, r == -EPERM ? r : r < 0 ? -ENOTCONN : 0, r < 0 ? error_text(&error) : "");
        error_deinit(&error);
        if (r == 0)
                names_deinit(&answer);
        else if (lease->pause_msec < PAUSE_MAX_MSEC / 2)
                lease->pause_msec *= 2;
        else
                lease->pause_msec = PAUSE_MAX_MSEC;
}

static void *keep(void *userdata) {
        struct names_lease *lease = userdata;

        for (;;) {
                struct pollfd polled[] = { { .fd = lease->stop_fd, .events = POLLIN },
                                           { .fd = lease->fd, .events = POLLIN } };
                int r = poll(polled, ELEMENTSOF(polled), lease->fd < 0 ? lease->pause_msec : -1);

                if (r > 0 && polled[0].revents)
                        return NULL;
                if (lease->fd >= 0 && r > 0)
                        hear(lease);
                else if (lease->fd < 0 && r == 0)
                        try_again(lease);
        }
}

struct names_lease *names_lease_free(struct names_lease *lease) {
        const uint64_t one = 1;

        if (!lease)
                return NULL;
        if (lease->running && write(lease->stop_fd, &one, sizeof(one)) == sizeof(one))
                (void) pthread_join(lease->thread, NULL);
        closep(&lease->fd);
        closep(&lease->stop_fd);
        (void) pthread_mutex_destroy(&lease->lock);
        if (lease->request.uri)
                explicit_bzero(lease->request.uri, strlen(lease->request.uri));
        free(lease->request.uri);
        free(lease->socket);
        free(lease);
        return NULL;
}

DEFINE_CLEANUP(struct names_lease *, names_lease_free)

int names_lease_new(const char *socket, const struct names_message *request, usec_t timeout_usec,
                    struct names_lease **ret, struct error *error) {
        _cleanup_(names_lease_freep) struct names_lease *lease = calloc(1, sizeof(*lease));
        struct names_message answer;
        int r;

        if (!lease)
                return error_set(error, -ENOMEM, "out of memory");
        lease->fd = -1;
        (void) pthread_mutex_init(&lease->lock, NULL);
        lease->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (lease->stop_fd < 0)
                return error_set(error, -errno, "no event descriptor: %s", strerror(errno));
        lease->request = *request;
        lease->request.uri = strdup(request->uri);
        lease->socket = strdup(socket);
        if (!lease->request.uri || !lease->socket)
                return error_set(error, -ENOMEM, "out of memory");
        r = names_ask(socket, request, timeout_usec, &answer, &lease->fd, error);
        if (r < 0)
                return r;
        names_deinit(&answer);
        r = thread_start_joined(keep, lease, &lease->thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        lease->running = true;
        *ret = steal_ptr(lease);
        return 0;
}

int names_lease_check(struct names_lease *lease, struct error *error) {
        int r;

        pthread_mutex_lock(&lease->lock);
        r = lease->result == 0 ? 0 : error_set(error, lease->result, "%s", lease->text);
        pthread_mutex_unlock(&lease->lock);
        return r;
}
