/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/ask.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "agents/guest/log.h"
#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"

#define HOST_USEC (20 * USEC_PER_SEC)
#define WAIT_SEC 30 /* of the other end: longer than the agent waits */

static int socket_at(struct sockaddr_un *address, const char *run_dir, int flags) {
        *address = (struct sockaddr_un) { .sun_family = AF_UNIX };
        if (snprintf(address->sun_path, sizeof(address->sun_path), "%s/ask", run_dir) >=
            (int) sizeof(address->sun_path)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0);
}

/* "RESULT TEXT" */
__attribute__((format(printf, 3, 4)))
static void tell(int fd, int result, const char *format, ...) {
        char text[ASK_TEXT_LEN];
        int n = snprintf(text, sizeof(text), "%d ", result);
        va_list ap;

        va_start(ap, format);
        vsnprintf(text + n, sizeof(text) - (size_t) n, format, ap);
        va_end(ap);
        (void) send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT); /* who does not wait for it does without */
}

static void end_client(struct ask *ask) {
        loop_disarm(ask->loop, &ask->deadline);
        loop_unwatch(ask->loop, &ask->client);
        closep(&ask->client_fd);
        ask->client_fd = -1;
        ask->sent = false;
}

static void on_client(void *userdata, uint32_t events) {
        struct ask *ask = userdata;
        struct message message = { .type = MESSAGE_ASK };
        ssize_t n = recv(ask->client_fd, message.text, sizeof(message.text), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0 || ask->sent) { /* gone, or more than one request */
                end_client(ask);
                return;
        }
        if ((size_t) n == sizeof(message.text)) {
                tell(ask->client_fd, -E2BIG, "the request is too long");
                end_client(ask);
                return;
        }
        message.text[n] = 0;
        if (strlen(message.text) != (size_t) n || !text_valid(message.text)) {
                tell(ask->client_fd, -EINVAL, "the request is no text");
                end_client(ask);
                return;
        }
        if (!ask->link || !link_has_session(ask->link)) {
                tell(ask->client_fd, -ENOTCONN, "no failoverd is connected; ask again later");
                end_client(ask);
                return;
        }
        message.id = ++ask->id;
        ask->sent = true;
        loop_arm(ask->loop, &ask->deadline, loop_now() + HOST_USEC);
        link_send(ask->link, &message, false);
}

static void on_listener(void *userdata, uint32_t events) {
        struct ask *ask = userdata;
        int fd = accept4(ask->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        int r;

        if (fd < 0)
                return;
        if (ask->client_fd >= 0) {
                tell(fd, -EBUSY, "another request is under way");
                close(fd);
                return;
        }
        ask->client_fd = fd;
        loop_arm(ask->loop, &ask->deadline, loop_now() + HOST_USEC);
        r = loop_watch(ask->loop, &ask->client, fd, EPOLLIN | EPOLLRDHUP);
        if (r < 0) {
                log_warning("cannot listen to a request: %s, ignoring", strerror(-r));
                end_client(ask);
        }
}

static void on_deadline(void *userdata) {
        struct ask *ask = userdata;

        tell(ask->client_fd, -ETIMEDOUT, "%s", ask->sent ? "failoverd has not answered; what became of it is told on "
                                                           "the host (failoverctl memory)"
                                                         : "no request came");
        end_client(ask);
}

int ask_init(struct ask *ask, struct loop *loop, const char *run_dir) {
        struct sockaddr_un address;

        *ask = (struct ask) { .loop = loop, .client_fd = -1, .listener = { -1, on_listener, ask },
                              .client = { -1, on_client, ask },
                              .deadline = { .handle = on_deadline, .userdata = ask } };
        ask->listen_fd = socket_at(&address, run_dir, SOCK_NONBLOCK);
        if (ask->listen_fd < 0)
                return -errno;
        (void) unlink(address.sun_path);
        if (bind(ask->listen_fd, (struct sockaddr *) &address, sizeof(address)) < 0 || listen(ask->listen_fd, 4) < 0)
                return -errno;
        return loop_watch(loop, &ask->listener, ask->listen_fd, EPOLLIN);
}

void ask_deinit(struct ask *ask) {
        if (!ask->loop)
                return;
        end_client(ask);
        loop_unwatch(ask->loop, &ask->listener);
        closep(&ask->listen_fd);
        ask->loop = NULL;
}

void ask_answered(struct ask *ask, const struct message *message) {
        if (!ask->sent || message->id != ask->id)
                return;
        tell(ask->client_fd, message->result, "%s", message->text);
        end_client(ask);
}

void ask_interrupted(struct ask *ask) {
        if (!ask->sent)
                return;
        tell(ask->client_fd, -EAGAIN, "failoverd was connected anew meanwhile; what became of it is told on the host "
             "(failoverctl memory), or ask again");
        end_client(ask);
}

int ask_send(const char *run_dir, const char *change, char ret[ASK_TEXT_LEN]) {
        struct timeval wait = { .tv_sec = WAIT_SEC };
        struct sockaddr_un address;
        _cleanup_close_ int fd = socket_at(&address, run_dir, 0);
        char text[ASK_TEXT_LEN], *end;
        ssize_t n;
        long result;

        snprintf(ret, ASK_TEXT_LEN, "cannot ask the agent");
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0) {
                int r = -errno;

                snprintf(ret, ASK_TEXT_LEN, "cannot reach the agent at %.100s: %s", address.sun_path, strerror(-r));
                return r;
        }
        if (send(fd, change, strlen(change), MSG_NOSIGNAL) < 0 && errno != EPIPE) /* refused: the reason is there */
                return -errno;
        n = recv(fd, text, sizeof(text) - 1, 0);
        if (n < 0 && errno == ECONNRESET) /* refused before it was read: the reason comes behind that error */
                n = recv(fd, text, sizeof(text) - 1, 0);
        if (n <= 0) {
                snprintf(ret, ASK_TEXT_LEN, "the agent has not answered");
                return n < 0 && errno == EAGAIN ? -ETIMEDOUT : -ECONNRESET;
        }
        text[n] = 0;
        result = strtol(text, &end, 10);
        if (end == text || *end != ' ' || result > 0 || result < -4095)
                return -EBADMSG;
        snprintf(ret, ASK_TEXT_LEN, "%s", end + 1);
        return (int) result;
}
