/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/names-client.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

const char *names_socket(const char *named) {
        const char *variable = named ? NULL : secure_getenv(NAMES_VARIABLE);

        return named ? named : variable && *variable ? variable : NAMES_SOCKET;
}

static int wait_for(int fd, short events, usec_t until) {
        usec_t now = clock_usec(CLOCK_BOOTTIME);
        struct pollfd polled = { .fd = fd, .events = events };
        int r;

        if (now >= until)
                return -ETIMEDOUT;
        r = poll(&polled, 1, (int) ((until - now) / USEC_PER_MSEC) + 1);
        if (r < 0)
                return errno == EINTR ? 0 : -errno;
        return 0;
}

static int connect_to(const char *path, int *ret_fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -1;

        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        *ret_fd = steal_fd(&fd);
        return 0;
}

static int send_all(int fd, const char *text, usec_t until) {
        size_t left = strlen(text);

        while (left > 0) {
                ssize_t n = send(fd, text, left, MSG_NOSIGNAL);
                int r = 0;

                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                if (n < 0)
                        r = wait_for(fd, POLLOUT, until);
                if (r < 0)
                        return r;
                text += n > 0 ? n : 0;
                left -= n > 0 ? (size_t) n : 0;
        }
        return 0;
}

/* One line into `line`; its length without the newline. */
static int read_line(int fd, char line[static NAMES_LINE_MAX], usec_t until) {
        size_t used = 0;

        for (;;) {
                ssize_t n = recv(fd, line + used, NAMES_LINE_MAX - used, 0);
                char *newline = n > 0 ? memchr(line + used, '\n', (size_t) n) : NULL;
                int r = 0;

                if (newline)
                        return (int) (newline - line);
                if (n == 0)
                        return -ECONNRESET;
                if (n < 0 && errno != EAGAIN && errno != EINTR)
                        return -errno;
                used += n > 0 ? (size_t) n : 0;
                if (used == NAMES_LINE_MAX)
                        return -E2BIG;
                if (n < 0)
                        r = wait_for(fd, POLLIN, until);
                if (r < 0)
                        return r;
        }
}

static int converse(int fd, const struct names_message *request, usec_t until, struct names_message *ret,
                    struct error *error) {
        char line[NAMES_LINE_MAX];
        _cleanup_free_ char *text = NULL;
        int r = names_encode(request, &text);

        if (r == 0)
                r = send_all(fd, text, until);
        if (r == 0)
                r = read_line(fd, line, until);
        if (r < 0)
                return error_set(error, r, "no answer: %s", strerror(-r));
        r = names_decode(line, (size_t) r, ret, error);
        explicit_bzero(line, sizeof(line));
        return r;
}

int names_ask(const char *path, const struct names_message *request, usec_t timeout_usec, struct names_message *ret,
              int *ret_fd, struct error *error) {
        enum names_type expected = request->type == NAMES_REGISTER ? NAMES_REGISTERED : NAMES_FOUND;
        usec_t until = clock_usec(CLOCK_BOOTTIME) + timeout_usec;
        struct names_message answer;
        _cleanup_close_ int fd = -1;
        int r = connect_to(path, &fd);

        if (r < 0)
                return error_set(error, r, "name server at %s: %s", path, strerror(-r));
        r = converse(fd, request, until, &answer, error);
        if (r < 0) {
                error_prefix(error, "name server at %s", path);
                return r;
        }
        if (answer.type != expected || (expected == NAMES_FOUND && strcmp(answer.name, request->name) != 0)) {
                r = answer.type == NAMES_REFUSED
                                ? error_set(error, expected == NAMES_FOUND ? -ENOENT : -EPERM,
                                            "name server at %s: %s", path, answer.reason)
                                : error_set(error, -EBADMSG, "name server at %s: answers another question", path);
                names_deinit(&answer);
                return r;
        }
        *ret = answer;
        if (ret_fd)
                *ret_fd = steal_fd(&fd);
        return 0;
}
