/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/agents/agent-link.h"

#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/agents/agent-limit.h"
#include "daemon/host/agents/agent-recent.h"

#define RETRY_LEAST_USEC (50 * USEC_PER_MSEC)
#define RETRY_MOST_USEC USEC_PER_SEC
#define TICKS 5 /* looks, in that time of silence, whether a welcome that is due can be sent */
#define WELCOMES_MAX 10                 /* without a hello, then a new session */
#define QUEUE_MAX (256 * KIB)
#define UNREAD_MAX (32 * 1024) /* that the kernel holds for QEMU, with its own overhead, for a ping to be sent */
#define MALFORMED_MAX 20       /* within ... */
#define MALFORMED_USEC (10 * USEC_PER_SEC)

struct agent_link {
        struct agent_poll *poll;
        const struct sink *sink;
        int pair;
        enum side side;
        const struct agent_link_pace *pace;

        char *path;
        int fd;
        struct agent_poll_entry io;
        sd_event_source *timer, *defer;

        /* connecting */
        usec_t retry_usec; /* when to try; USEC_INFINITY: not at all */
        usec_t backoff_usec;
        bool denied; /* failoverd has no right to open it, and has said so */

        /* the session */
        char session[SESSION_LEN];
        uint64_t seq, peer_seq;
        bool up;
        bool down_pending;  /* an EVENT_LINK that says so is owed */
        char down_text[EVENT_TEXT_LEN];
        usec_t line_usec, welcome_usec; /* of the last one */
        unsigned welcomes;  /* since the last hello */

        struct line_reader reader;
        struct agent_limit limit;
        usec_t resume_usec; /* reading is held back until then; 0: it is not */
        usec_t malformed_usec[MALFORMED_MAX]; /* a ring of the latest */
        unsigned n_malformed;

        char *queue;        /* bytes not written yet */
        size_t n_queue;

        struct agent_recent recent;
        struct agent_link_counts counts;
};

const struct agent_link_pace agent_link_pace = {
        .silence_usec = USEC_PER_SEC,
        .pause_usec = 5 * USEC_PER_SEC,
};

/* ---- events and timers ---- */

static void emit(struct agent_link *link, enum event_kind kind, bool up, const char *text,
                 const struct message *message) {
        struct event event = {
                .kind = kind,
                .pair = link->pair,
                .side = link->side,
                .app = NO_APP,
                .up = up,
                .message = message,
        };

        snprintf(event.text, sizeof(event.text), "%s", text);
        sink_event(link->sink, &event);
}

static void emit_pending_down(struct agent_link *link) {
        if (!link->down_pending)
                return;
        link->down_pending = false;
        emit(link, EVENT_LINK, false, link->down_text, NULL);
}

static int on_defer(sd_event_source *source, void *userdata) {
        emit_pending_down(userdata);
        return 0;
}

static void arm_timer(struct agent_link *link) {
        usec_t due_usec = link->retry_usec;

        if (link->fd >= 0 && !link->up) { /* the next welcome, or the next look whether it can be sent */
                usec_t now_usec = clock_usec(CLOCK_BOOTTIME);

                due_usec = (link->line_usec > link->welcome_usec ? link->line_usec : link->welcome_usec) +
                           link->pace->silence_usec;
                if (due_usec <= now_usec)
                        due_usec = now_usec + link->pace->silence_usec / TICKS;
        }
        if (link->resume_usec > 0 && link->resume_usec < due_usec)
                due_usec = link->resume_usec;
        (void) sd_event_source_set_time(link->timer, due_usec);
        (void) sd_event_source_set_enabled(link->timer, due_usec == USEC_INFINITY ? SD_EVENT_OFF : SD_EVENT_ONESHOT);
}

static void watch_socket(struct agent_link *link) {
        agent_poll_set(link->poll, &link->io,
                       (link->resume_usec == 0 ? EPOLLIN : 0) | (link->n_queue > 0 ? EPOLLOUT : 0));
}

/* Ends the connection. The event, if one is owed, comes from the loop. */
static void disconnect(struct agent_link *link, usec_t pause_usec, bool tell, const char *text) {
        agent_poll_remove(link->poll, &link->io);
        closep(&link->fd);
        link->fd = -1;
        line_reader_deinit(&link->reader);
        free(link->queue);
        link->queue = NULL;
        link->n_queue = 0;
        link->resume_usec = 0;
        link->retry_usec = link->path ? clock_usec(CLOCK_BOOTTIME) + pause_usec : USEC_INFINITY;
        if ((link->up || tell) && !link->down_pending) {
                link->down_pending = true;
                snprintf(link->down_text, sizeof(link->down_text), "%s", text);
                (void) sd_event_source_set_enabled(link->defer, SD_EVENT_ONESHOT);
        }
        link->up = false;
        arm_timer(link);
}

/* ---- sending ---- */

static int unread_bytes(const struct agent_link *link) {
        int bytes = 0;

        return ioctl(link->fd, SIOCOUTQ, &bytes) < 0 ? 0 : bytes;
}

/* Writes as much as goes and returns how much that is, or a negative errno with which the connection has ended. */
static ssize_t write_some(struct agent_link *link, const char *bytes, size_t n_bytes) {
        size_t n_sent = 0;

        while (n_sent < n_bytes) {
                ssize_t n = send(link->fd, bytes + n_sent, n_bytes - n_sent, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && errno == EAGAIN)
                        break;
                if (n < 0) {
                        int r = -errno;

                        disconnect(link, RETRY_LEAST_USEC, false, strerror(-r));
                        return r;
                }
                n_sent += (size_t) n;
        }
        return (ssize_t) n_sent;
}

/* Writes what waits. False when the connection has ended by it. */
static bool flush(struct agent_link *link) {
        ssize_t n;

        n = write_some(link, link->queue, link->n_queue);
        if (n < 0)
                return false;
        link->n_queue -= (size_t) n;
        memmove(link->queue, link->queue + n, link->n_queue);
        if (link->n_queue == 0) {
                free(link->queue);
                link->queue = NULL;
        }
        watch_socket(link);
        return true;
}

/* Sends bytes behind those that wait. */
static int enqueue(struct agent_link *link, const char *bytes, size_t n_bytes) {
        if (link->n_queue == 0) {
                ssize_t n = write_some(link, bytes, n_bytes);

                if (n < 0)
                        return -ENOTCONN;
                bytes += n;
                n_bytes -= (size_t) n;
                if (n_bytes == 0)
                        return 0;
        }
        if (link->n_queue + n_bytes > QUEUE_MAX) {
                link->counts.dropped++;
                disconnect(link, RETRY_MOST_USEC, false, "the guest does not read: its channel is stuck");
                return -ENOBUFS;
        }
        if (!link->queue)
                link->queue = malloc(QUEUE_MAX);
        if (!link->queue) { /* half a line may be out */
                disconnect(link, RETRY_MOST_USEC, false, "out of memory");
                return -ENOMEM;
        }
        memcpy(link->queue + link->n_queue, bytes, n_bytes);
        link->n_queue += n_bytes;
        watch_socket(link);
        return 0;
}

static int send_line(struct agent_link *link, const struct message *message) {
        _cleanup_free_ char *line = NULL;
        struct message stamped = *message; /* borrows the specs */
        int r;

        memcpy(stamped.session, link->session, sizeof(stamped.session));
        stamped.seq = link->seq + 1;
        r = codec_encode(&stamped, &line);
        if (r < 0)
                return r;
        link->seq++;
        return enqueue(link, line, strlen(line));
}

int agent_link_send(struct agent_link *link, const struct message *message) {
        if (!link->up)
                return -ENOTCONN;
        /* A ping that waits would only be answered late, and the next one makes up for it. */
        if (message->type == MESSAGE_PING && (link->n_queue > 0 || unread_bytes(link) > UNREAD_MAX)) {
                link->counts.pings_dropped++;
                return -EAGAIN;
        }
        return send_line(link, message);
}

static int new_session(struct agent_link *link) {
        uint8_t bits[(SESSION_LEN - 1) / 2];

        if (getrandom(bits, sizeof(bits), GRND_NONBLOCK) != sizeof(bits))
                return -EAGAIN;
        for (size_t i = 0; i < sizeof(bits); i++)
                snprintf(link->session + 2 * i, 3, "%02x", bits[i]);
        link->seq = link->peer_seq = 0;
        link->welcomes = 0;
        return 0;
}

static void send_welcome(struct agent_link *link) {
        struct message message = { .type = MESSAGE_WELCOME, .version = PROTOCOL_VERSION };

        /* Over and over the same session would leave out an agent that believes it has greeted in it. */
        if (!link->up && link->welcomes >= WELCOMES_MAX && new_session(link) < 0)
                return;
        link->welcome_usec = clock_usec(CLOCK_BOOTTIME);
        link->welcomes++;
        (void) send_line(link, &message); /* repeated anyway */
}

/* ---- receiving ---- */

/* False when the connection has ended by it. */
static bool malformed(struct agent_link *link, const char *why) {
        char text[EVENT_TEXT_LEN];
        usec_t now_usec = clock_usec(CLOCK_BOOTTIME);

        link->counts.malformed++;
        link->malformed_usec[link->n_malformed++ % MALFORMED_MAX] = now_usec;
        /* the slot that comes next holds the oldest of the last MALFORMED_MAX */
        if (link->n_malformed < MALFORMED_MAX ||
            now_usec - link->malformed_usec[link->n_malformed % MALFORMED_MAX] > MALFORMED_USEC)
                return true;
        snprintf(text, sizeof(text), "agent breaks the protocol: %s", why);
        link->n_malformed = 0;
        link->counts.dropped++;
        disconnect(link, link->pace->pause_usec, true, text);
        return false;
}

static void greeted(struct agent_link *link, const struct message *hello) {
        if (link->up) {
                link->up = false;
                emit(link, EVENT_LINK, false, "the agent has started anew", NULL);
                if (link->fd < 0)
                        return;
        }
        link->up = true;
        link->welcomes = 0;
        link->peer_seq = hello->seq;
        emit(link, EVENT_LINK, true, "", NULL);
}

/* A message that the codec has let pass. False when the connection has ended by it. */
static bool receive(struct agent_link *link, const struct message *message) {
        if (message->type < MESSAGE_HELLO)
                return malformed(link, "it sends what only the host may send");
        if (strcmp(message->session, link->session) != 0 || (!link->up && message->type != MESSAGE_HELLO)) {
                link->counts.stale++;
                return true;
        }
        if (message->type == MESSAGE_HELLO) {
                greeted(link, message);
                if (!link->up)
                        return link->fd >= 0;
        } else if (message->seq <= link->peer_seq) {
                link->counts.replayed++;
                return true;
        }
        link->peer_seq = message->seq;
        link->counts.received++;
        emit(link, EVENT_MESSAGE, false, "", message);
        return link->fd >= 0;
}

static bool handle_line(struct agent_link *link, const char *line, size_t length) {
        struct message message = { 0 };
        struct error error = ERROR_INIT;
        bool alive;
        int r;

        link->line_usec = clock_usec(CLOCK_BOOTTIME);
        r = codec_decode(line, length, &message, &error);
        agent_recent_add(&link->recent, line, length, r >= 0 && message.type == MESSAGE_PONG, link->line_usec);
        if (r >= 0) {
                alive = receive(link, &message);
                message_deinit(&message);
        } else if (r == -EOPNOTSUPP) {
                link->counts.unknown++;
                alive = true;
        } else if (r == -ENOMEM) { /* not its fault; a new session tells all that counts */
                disconnect(link, RETRY_LEAST_USEC, false, "out of memory");
                alive = false;
        } else
                alive = malformed(link, error_text(&error));
        error_deinit(&error);
        return alive;
}

/* Holds reading back until the limits allow for more. */
static void throttle(struct agent_link *link, usec_t wait_usec) {
        link->counts.throttled++;
        link->resume_usec = clock_usec(CLOCK_BOOTTIME) + wait_usec;
        watch_socket(link);
        arm_timer(link);
}

/* Handles what has been read. False when there is no going on: held back, or the connection has ended. */
static bool handle_lines(struct agent_link *link) {
        const char *line;
        size_t length;
        int r;

        for (;;) {
                usec_t wait_usec = agent_limit_wait(&link->limit, clock_usec(CLOCK_BOOTTIME));

                if (wait_usec > 0) {
                        throttle(link, wait_usec);
                        return false;
                }
                r = line_reader_next(&link->reader, &line, &length);
                if (r == 0)
                        return true;
                agent_limit_take(&link->limit, 1, 0);
                if (r < 0 ? !malformed(link, "a line is too long") : !handle_line(link, line, length))
                        return false;
        }
}

static void read_some(struct agent_link *link) {
        int r;

        r = line_reader_fill(&link->reader, link->fd);
        if (r == -EAGAIN || r == -EINTR)
                return;
        if (r <= 0) {
                disconnect(link, RETRY_LEAST_USEC, false, r == 0 ? "QEMU has closed the channel" : strerror(-r));
                return;
        }
        agent_limit_take(&link->limit, 0, (unsigned) r);
        (void) handle_lines(link);
}

static void on_ready(void *userdata, uint32_t events) {
        struct agent_link *link = userdata;

        if (link->n_queue > 0 && (events & EPOLLOUT) && !flush(link))
                return;
        if (link->resume_usec == 0)
                read_some(link);
}

/* ---- connecting ---- */

static int open_socket(const char *path) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (fd < 0)
                return -errno;
        memcpy(address.sun_path, path, strlen(path) + 1);
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno; /* also where QEMU's backlog is full */
        return steal_fd(&fd);
}

/* A right that is missing on the host would else look as if no agent ran in the guest. Said once until it is there. */
static void tell_denied(struct agent_link *link) {
        char text[EVENT_TEXT_LEN];

        if (link->denied)
                return;
        link->denied = true;
        snprintf(text, sizeof(text),
                 "no right to open its agent channel: failoverd must be able to enter each directory of %s and to "
                 "write to that socket", link->path);
        emit(link, EVENT_LINK, false, text, NULL);
}

static void try_connect(struct agent_link *link) {
        int r;

        link->fd = open_socket(link->path);
        r = link->fd;
        if (link->fd >= 0) {
                link->denied = false;
                r = new_session(link);
                if (r >= 0)
                        r = agent_poll_add(link->poll, &link->io, link->fd, EPOLLIN);
                if (r < 0)
                        closep(&link->fd), link->fd = -1;
        }
        if (link->fd < 0) {
                link->backoff_usec =
                        link->backoff_usec * 2 > RETRY_MOST_USEC ? RETRY_MOST_USEC : link->backoff_usec * 2;
                link->retry_usec = clock_usec(CLOCK_BOOTTIME) + link->backoff_usec;
                if (r == -EACCES)
                        tell_denied(link);
                return;
        }
        link->retry_usec = USEC_INFINITY;
        link->backoff_usec = RETRY_LEAST_USEC / 2;
        link->line_usec = clock_usec(CLOCK_BOOTTIME);
        send_welcome(link);
}

static void welcome_if_silent(struct agent_link *link, usec_t now_usec) {
        if (link->fd >= 0 && link->resume_usec == 0 && now_usec >= link->line_usec + link->pace->silence_usec &&
            now_usec >= link->welcome_usec + link->pace->silence_usec && link->n_queue == 0 && unread_bytes(link) == 0)
                send_welcome(link);
}

/* A link that is up needs no timer of its own for the time in which lines come. */
static void on_tick(void *userdata) {
        struct agent_link *link = userdata;

        if (link->up)
                welcome_if_silent(link, clock_usec(CLOCK_BOOTTIME));
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct agent_link *link = userdata;
        usec_t now_usec = clock_usec(CLOCK_BOOTTIME);

        if (link->fd < 0 && link->retry_usec <= now_usec) {
                emit_pending_down(link);
                if (link->fd < 0 && link->retry_usec <= now_usec)
                        try_connect(link);
        } else if (link->resume_usec > 0 && link->resume_usec <= now_usec) {
                link->resume_usec = 0;
                if (handle_lines(link))
                        watch_socket(link);
        }
        welcome_if_silent(link, now_usec);
        arm_timer(link);
        return 0;
}

/* ---- life ---- */

int agent_link_new(sd_event *event, struct agent_poll *poll, const struct sink *sink, int pair, enum side side,
                   const struct agent_link_pace *pace, struct agent_link **ret) {
        struct agent_link *link = calloc(1, sizeof(*link));
        int r;

        if (!link)
                return -ENOMEM;
        link->poll = poll;
        link->io = (struct agent_poll_entry) { .fd = -1, .ready = on_ready, .tick = on_tick, .userdata = link };
        link->sink = sink;
        link->pair = pair;
        link->side = side;
        link->pace = pace;
        link->fd = -1;
        link->retry_usec = USEC_INFINITY;
        agent_limit_init(&link->limit, clock_usec(CLOCK_BOOTTIME));
        r = sd_event_add_time(event, &link->timer, CLOCK_BOOTTIME, USEC_INFINITY, USEC_PER_MSEC, on_timer, link);
        if (r >= 0)
                r = sd_event_source_set_enabled(link->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_defer(event, &link->defer, on_defer, link);
        if (r >= 0)
                r = sd_event_source_set_enabled(link->defer, SD_EVENT_OFF);
        if (r < 0) {
                agent_link_free(link);
                return r;
        }
        *ret = link;
        return 0;
}

struct agent_link *agent_link_free(struct agent_link *link) {
        if (!link)
                return NULL;
        agent_poll_remove(link->poll, &link->io);
        sd_event_source_disable_unref(link->timer);
        sd_event_source_disable_unref(link->defer);
        closep(&link->fd);
        line_reader_deinit(&link->reader);
        agent_recent_deinit(&link->recent);
        free(link->queue);
        free(link->path);
        free(link);
        return NULL;
}

int agent_link_set_path(struct agent_link *link, const char *path) {
        char *copy = NULL;

        if (path && link->path && strcmp(path, link->path) == 0)
                return 0;
        if (path && strlen(path) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
                return -ENAMETOOLONG;
        if (path) {
                copy = strdup(path);
                if (!copy)
                        return -ENOMEM;
        }
        free(link->path);
        link->path = copy;
        link->denied = false;
        link->backoff_usec = RETRY_LEAST_USEC / 2;
        disconnect(link, 0, false, "the channel is closed");
        return 0;
}

void agent_link_drop(struct agent_link *link, usec_t pause_usec, const char *reason) {
        if (link->fd < 0)
                return;
        link->counts.dropped++;
        disconnect(link, pause_usec, true, reason);
}

bool agent_link_is_up(const struct agent_link *link) {
        return link->up;
}

const struct agent_link_counts *agent_link_get_counts(const struct agent_link *link) {
        return &link->counts;
}

char *agent_link_get_recent(const struct agent_link *link) {
        return agent_recent_text(&link->recent, clock_usec(CLOCK_BOOTTIME));
}
