/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/link.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "agents/guest/log.h"
#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"

#define QUEUE_MAX 64
#define RETRY_USEC (100 * USEC_PER_MSEC)

struct link {
        struct loop *loop;
        const struct transport *transport;
        struct link_handler handler;
        int fd;
        struct source source;
        struct timer retry;
        struct line_reader reader;

        char session[SESSION_LEN]; /* empty: the host has not greeted us yet */
        uint64_t seq;
        struct message *queue[QUEUE_MAX];
        size_t n_queue;

        char *line; /* queue[0] as it is being written, or NULL */
        size_t line_length, line_written;
        bool again; /* the line under way is of an old session: keep its message */
        bool cut;   /* a line was cut off: end it before the next */
        bool down;  /* the port says that it has no host */
};

static void forget(struct link *link, size_t i) {
        free(link->queue[i]);
        memmove(&link->queue[i], &link->queue[i + 1], (--link->n_queue - i) * sizeof(link->queue[0]));
}

static void drop_line(struct link *link) {
        link->cut |= link->line && link->line_written > 0;
        free(link->line);
        link->line = NULL;
        link->again = false;
}

/* A port passes on what a new host has sent before it stops saying that it has none, so a session that begins
 * while it is down is kept, and so is what has been read of a line. */
static void disconnected(struct link *link) {
        loop_arm(link->loop, &link->retry, loop_now() + RETRY_USEC);
        if (link->down)
                return;
        link->down = link->transport->keeps_descriptor;
        drop_line(link);
        link->session[0] = 0;
        link->reader.used = link->reader.scanned = link->reader.consumed = 0;
        link->reader.skipping = 0;
        if (!link->transport->keeps_descriptor && link->fd >= 0) {
                loop_unwatch(link->loop, &link->source);
                close(link->fd);
                link->fd = -1;
                link->cut = false;
        }
}

/* Makes the next line ready. False when there is nothing to write. */
static bool next_line(struct link *link) {
        while (!link->line && link->n_queue > 0) {
                struct message *message = link->queue[0];
                char *line;
                int r;

                memcpy(message->session, link->session, sizeof(message->session));
                message->seq = link->seq + 1;
                r = codec_encode(message, &line);
                if (r < 0) {
                        log_error("cannot send %s: %s", message_type_to_string(message->type), strerror(-r));
                        forget(link, 0);
                        continue;
                }
                link->seq++;
                link->line = line;
                link->line_length = strlen(line);
                link->line_written = 0;
        }
        return link->line != NULL;
}

static void flush(struct link *link) {
        while (link->fd >= 0 && link->session[0] && next_line(link)) {
                bool ends_cut = link->cut && link->line_written == 0;
                ssize_t n = ends_cut ? write(link->fd, "\n", 1)
                                     : write(link->fd, link->line + link->line_written,
                                             link->line_length - link->line_written);

                if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))
                        return;
                if (n < 0) {
                        disconnected(link);
                        return;
                }
                if (n == 0)
                        return;
                if (ends_cut) {
                        link->cut = false;
                        continue;
                }
                link->line_written += (size_t) n;
                if (link->line_written < link->line_length)
                        continue;
                free(link->line);
                link->line = NULL;
                if (!link->again)
                        forget(link, 0);
                link->again = false;
        }
}

static void read_lines(struct link *link, uint32_t events) {
        const char *line;
        size_t length;
        int r;

        while (link->fd >= 0) {
                r = line_reader_fill(&link->reader, link->fd);
                if (r == -EINTR)
                        continue;
                if (r == -EAGAIN || (r == -ENOTCONN && !(events & (EPOLLHUP | EPOLLERR)))) {
                        link->down = false;
                        return;
                }
                if (r <= 0) {
                        disconnected(link);
                        return;
                }
                while ((r = line_reader_next(&link->reader, &line, &length)) != 0)
                        if (r > 0)
                                link->handler.line(link->handler.userdata, line, length);
                        else
                                log_warning("a line of the host is longer than %d bytes, ignoring", MESSAGE_LINE_MAX);
        }
}

static void on_event(void *userdata, uint32_t events) {
        struct link *link = userdata;

        read_lines(link, events);
        flush(link);
}

/* Edge-triggered, because a port without a host is in a permanent hang-up, which would spin the loop. The
 * kernel wakes us when the host connects; the timer looks again in case it did not. */
static void on_retry(void *userdata) {
        struct link *link = userdata;
        int fd, r;

        if (link->fd >= 0) {
                on_event(link, 0);
                return;
        }
        link->down = false;
        fd = link->transport->open(link->transport);
        if (fd < 0) {
                loop_arm(link->loop, &link->retry, loop_now() + RETRY_USEC);
                return;
        }
        link->fd = fd;
        r = loop_watch(link->loop, &link->source, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
        if (r < 0) {
                log_error("the channel to the host cannot be watched: %s, trying again", strerror(-r));
                close(fd);
                link->fd = -1;
                loop_arm(link->loop, &link->retry, loop_now() + 10 * RETRY_USEC);
        }
}

struct link *link_free(struct link *link) {
        if (!link)
                return NULL;
        loop_disarm(link->loop, &link->retry);
        loop_unwatch(link->loop, &link->source);
        closep(&link->fd);
        while (link->n_queue > 0)
                forget(link, 0);
        free(link->line);
        line_reader_deinit(&link->reader);
        free(link);
        return NULL;
}

int link_new(struct loop *loop, const struct transport *transport, const struct link_handler *handler,
             struct link **ret) {
        struct link *link = calloc(1, sizeof(struct link));

        if (!link)
                return -ENOMEM;
        *link = (struct link) { .loop = loop, .transport = transport, .handler = *handler, .fd = -1 };
        link->source = (struct source) { -1, on_event, link };
        link->retry = (struct timer) { .handle = on_retry, .userdata = link };
        on_retry(link);
        *ret = link;
        return 0;
}

bool link_has_session(const struct link *link) {
        return link->fd >= 0 && link->session[0];
}

static bool perishable(const struct message *message) {
        return message->type == MESSAGE_HELLO || message->type == MESSAGE_PONG || message->type == MESSAGE_FAILED ||
               message->type == MESSAGE_REQUEST || message->type == MESSAGE_ASK;
}

void link_begin_session(struct link *link, const char *session) {
        size_t i = 0;

        assert(strlen(session) < sizeof(link->session));
        strcpy(link->session, session);
        link->seq = 0;
        link->again = link->line != NULL;
        while (i < link->n_queue) {
                if (perishable(link->queue[i]) && !(i == 0 && link->line))
                        forget(link, i);
                else
                        i++;
        }
        if (link->line && perishable(link->queue[0]))
                link->again = false; /* goes as it is; the host drops it by its session */
}

void link_send(struct link *link, const struct message *message, bool urgent) {
        size_t first = link->line ? 1 : 0, at;
        struct message *copy;

        if (link->n_queue == QUEUE_MAX) {
                size_t victim = first;

                while (victim < link->n_queue && !perishable(link->queue[victim]))
                        victim++;
                forget(link, victim < link->n_queue ? victim : first);
        }
        copy = malloc(sizeof(*copy));
        if (!copy) {
                log_error("out of memory: a message to the host is not sent");
                return;
        }
        *copy = *message;
        at = urgent ? first : link->n_queue;
        memmove(&link->queue[at + 1], &link->queue[at], (link->n_queue - at) * sizeof(link->queue[0]));
        link->queue[at] = copy;
        link->n_queue++;
        flush(link);
}

void link_flush(struct link *link, usec_t timeout_usec) {
        usec_t deadline = loop_now() + timeout_usec;

        flush(link);
        while (link->fd >= 0 && link->session[0] && link->n_queue > 0 && loop_now() < deadline) {
                struct pollfd fd = { .fd = link->fd, .events = POLLOUT };

                if (poll(&fd, 1, (int) ((deadline - loop_now()) / USEC_PER_MSEC) + 1) <= 0 || (fd.revents & POLLHUP))
                        return;
                flush(link);
        }
}
