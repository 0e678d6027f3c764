/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/echo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-lane.h"

#define TOKEN_LEN 3
#define LETTERS 26
#define TOKENS (LETTERS * LETTERS)
#define PATIENCE 16 /* unanswered tokens after which probes get rare; far below TOKENS */
#define READ_BYTES 4096
#define READS_PER_SEC 100 /* a guest that floods its console is read no faster */

struct echo {
        struct sockaddr_un address;
        int fd; /* -1: not connected */
        sd_event *loop;
        sd_event_source *source;
        void (*heard)(void *userdata);
        void *userdata;
        unsigned sent, heard_number; /* running numbers of the last tokens */
        usec_t sent_usec;
        char tail[TOKEN_LEN - 1]; /* end of what was read before: a token may come in pieces */
        size_t n_tail;
};

int echo_new(sd_event *loop, const char *path, void (*heard)(void *userdata), void *userdata, struct echo **ret_echo) {
        struct echo *echo;

        if (strlen(path) >= sizeof(echo->address.sun_path))
                return -ENAMETOOLONG;
        echo = calloc(1, sizeof(*echo));
        if (!echo)
                return -ENOMEM;
        echo->address.sun_family = AF_UNIX;
        strcpy(echo->address.sun_path, path);
        echo->fd = -1;
        echo->loop = sd_event_ref(loop);
        echo->heard = heard;
        echo->userdata = userdata;
        *ret_echo = echo;
        return 0;
}

static void echo_disconnect(struct echo *echo) {
        echo->source = sd_event_source_disable_unref(echo->source);
        if (echo->fd >= 0)
                close(echo->fd);
        echo->fd = -1;
        echo->n_tail = 0;
        echo->heard_number = echo->sent; /* what is under way is lost */
}

struct echo *echo_free(struct echo *echo) {
        if (!echo)
                return NULL;
        echo_disconnect(echo);
        sd_event_unref(echo->loop);
        free(echo);
        return NULL;
}

const char *echo_path(const struct echo *echo) {
        return echo->address.sun_path;
}

/* Looks for tokens that are under way. Returns true when there is one. */
static bool echo_match(struct echo *echo, const char *text, size_t n) {
        bool found = false;

        for (size_t i = 0; i + TOKEN_LEN <= n; i++) {
                unsigned behind, token;

                if (text[i] != '~' || text[i + 1] < 'a' || text[i + 1] > 'z' || text[i + 2] < 'a' || text[i + 2] > 'z')
                        continue;
                token = (unsigned) (text[i + 1] - 'a') * LETTERS + (unsigned) (text[i + 2] - 'a');
                behind = (echo->sent % TOKENS + TOKENS - token) % TOKENS;
                if (behind >= echo->sent - echo->heard_number)
                        continue;
                echo->heard_number = echo->sent - behind;
                found = true;
        }
        return found;
}

static int on_input(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        char buffer[TOKEN_LEN - 1 + READ_BYTES];
        struct echo *echo = userdata;
        size_t n = echo->n_tail;
        ssize_t k;

        memcpy(buffer, echo->tail, n);
        k = read(fd, buffer + n, READ_BYTES);
        if (k < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (k <= 0) {
                echo_disconnect(echo);
                return 0;
        }
        n += (size_t) k;
        echo->n_tail = n < sizeof(echo->tail) ? n : sizeof(echo->tail);
        memcpy(echo->tail, buffer + n - echo->n_tail, echo->n_tail);
        if (echo_match(echo, buffer, n))
                echo->heard(echo->userdata);
        return 0;
}

static int echo_connect(struct echo *echo) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        int r;

        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &echo->address, sizeof(echo->address)) < 0)
                return -errno;
        r = sd_event_add_io(echo->loop, &echo->source, fd, EPOLLIN, on_input, echo);
        if (r < 0)
                return r;
        r = sd_event_source_set_ratelimit(echo->source, USEC_PER_SEC, READS_PER_SEC);
        if (r < 0) {
                echo->source = sd_event_source_disable_unref(echo->source);
                return r;
        }
        echo->fd = steal_fd(&fd);
        return 0;
}

int echo_probe(struct echo *echo) {
        usec_t now = lane_now();
        char token[TOKEN_LEN];
        unsigned number;
        ssize_t n;
        int r;

        if (echo->fd < 0) {
                r = echo_connect(echo);
                if (r < 0)
                        return r;
        }
        if (echo->sent - echo->heard_number >= PATIENCE && now < echo->sent_usec + USEC_PER_SEC)
                return 0;
        number = (echo->sent + 1) % TOKENS;
        token[0] = '~';
        token[1] = (char) ('a' + number / LETTERS);
        token[2] = (char) ('a' + number % LETTERS);
        n = send(echo->fd, token, sizeof(token), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n != (ssize_t) sizeof(token)) {
                r = n < 0 ? -errno : -EAGAIN;
                if (r != -EAGAIN)
                        echo_disconnect(echo);
                return r;
        }
        echo->sent++;
        echo->sent_usec = now;
        return 0;
}
