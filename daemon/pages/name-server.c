/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/name-server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/unix-socket.h"

#define BACKLOG 128
#define ACCEPTS_MAX 32 /* within the next span */
#define ACCEPTS_USEC (100 * USEC_PER_MSEC)
/* Behind pairs, guests and the bus. */
#define PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

struct client {
        struct name_server *server;
        struct client *next;
        struct name_owner owner;
        uid_t scope;
        int fd, pidfd; /* the process that connected; -1: not to be seen from here */
        sd_event_source *source, *gone_source;
        size_t used;
        char line[NAMES_LINE_MAX]; /* may hold a capability */
};

struct name_server {
        sd_event *loop;
        struct name_table *table;
        struct sockaddr_un address; /* path "": nothing to be taken away */
        int listen_fd;
        sd_event_source *source;
        struct client *clients; /* the latest first */
};

DEFINE_CLEANUP(struct name_server *, name_server_free)

static struct client *client_free(struct client *client) {
        struct client **at = &client->server->clients;

        while (*at && *at != client)
                at = &(*at)->next;
        if (*at)
                *at = client->next;
        name_table_leave(client->server->table, &client->owner);
        sd_event_source_disable_unref(client->source);
        sd_event_source_disable_unref(client->gone_source);
        if (client->fd >= 0)
                (void) close(client->fd);
        if (client->pidfd >= 0)
                (void) close(client->pidfd);
        explicit_bzero(client->line, sizeof(client->line));
        free(client);
        return NULL;
}

/* A socket's buffer has room for more answers than a client may have open. */
static int send_answer(int fd, const struct names_message *answer) {
        _cleanup_free_ char *text = NULL;
        int r = names_encode(answer, &text);
        ssize_t n;
        size_t length;

        if (r < 0)
                return r;
        length = strlen(text);
        n = send(fd, text, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        explicit_bzero(text, length);
        return n == (ssize_t) length ? 0 : -EPIPE;
}

static int send_refusal(int fd, const char *reason) {
        struct names_message answer = { .type = NAMES_REFUSED };

        snprintf(answer.reason, sizeof(answer.reason), "%s", reason);
        return send_answer(fd, &answer);
}

static int hear(struct client *client, size_t length) {
        struct names_message request = { 0 }, answer = { 0 };
        struct error error = ERROR_INIT;
        int r = names_decode(client->line, length, &request, &error);

        if (r < 0) {
                r = send_refusal(client->fd, error_text(&error));
                error_deinit(&error);
                return r;
        }
        name_table_answer(client->server->table, &client->owner, &request, clock_usec(CLOCK_BOOTTIME), &answer);
        r = send_answer(client->fd, &answer);
        names_deinit(&request);
        names_deinit(&answer);
        return r;
}

/* Takes at most one line out of the socket. What comes behind it waits there, so that the kernel holds back whoever
 * says too much, and the limit of the event source counts lines. */
static int take(struct client *client) {
        char *at = client->line + client->used, *newline;
        size_t room = sizeof(client->line) - client->used;
        ssize_t n = recv(client->fd, at, room, MSG_PEEK | MSG_DONTWAIT);
        int r;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (n <= 0)
                return -EPIPE;
        newline = memchr(at, '\n', (size_t) n);
        n = recv(client->fd, at, newline ? (size_t) (newline - at) + 1 : (size_t) n, MSG_DONTWAIT);
        if (n <= 0)
                return -EPIPE;
        client->used += (size_t) n;
        if (newline) {
                r = hear(client, client->used - 1);
                explicit_bzero(client->line, client->used);
                client->used = 0;
                return r;
        }
        if (client->used < sizeof(client->line))
                return 0;
        (void) send_refusal(client->fd, "a line is at most 4096 bytes");
        return -E2BIG;
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct client *client = userdata;

        (void) source;
        (void) fd;
        (void) events;
        if (take(client) < 0)
                client_free(client);
        return 0;
}

/* Its children may have the connection still; the names were its own. */
static int on_gone(sd_event_source *source, int pidfd, uint32_t events, void *userdata) {
        (void) source;
        (void) pidfd;
        (void) events;
        client_free(userdata);
        return 0;
}

/* Where it cannot be, the end of its connection tells. -ESRCH: it has ended by now. */
static int watch_process(struct name_server *server, struct client *client) {
        int r;

        client->pidfd = client->owner.pid > 0 ? (int) syscall(SYS_pidfd_open, client->owner.pid, 0) : -1;
        if (client->pidfd < 0)
                return client->owner.pid > 0 && errno == ESRCH ? -ESRCH : 0;
        r = sd_event_add_io(server->loop, &client->gone_source, client->pidfd, EPOLLIN, on_gone, client);
        return r < 0 ? r : sd_event_source_set_priority(client->gone_source, PRIORITY);
}

/* Who holds no name has had its answer: of those the oldest makes room. False where there is none. */
static bool make_room(struct name_server *server, uid_t scope, bool any_scope) {
        struct client *oldest = NULL;

        for (struct client *client = server->clients; client; client = client->next)
                if (client->owner.n_names == 0 && (any_scope || client->scope == scope))
                        oldest = client;
        if (oldest)
                client_free(oldest);
        return oldest != NULL;
}

static bool has_room(struct name_server *server, uid_t scope) {
        size_t n = 0, n_scope = 0, n_others = 0;

        for (const struct client *client = server->clients; client; client = client->next) {
                n++;
                n_scope += client->scope == scope;
                n_others += client->scope != 0;
        }
        if (scope != 0 && (n_scope >= NAME_SERVER_USER_CLIENTS_MAX || n_others >= NAME_SERVER_USERS_CLIENTS_MAX))
                return make_room(server, scope, false);
        return n < NAME_SERVER_CLIENTS_MAX || make_room(server, scope, scope == 0);
}

static int start_client(struct name_server *server, int *fd, const struct ucred *peer, uid_t scope) {
        struct client *client = calloc(1, sizeof(*client));
        int r;

        if (!client)
                return -ENOMEM;
        client->server = server;
        client->owner = (struct name_owner) { .uid = peer->uid, .pid = peer->pid };
        client->scope = scope;
        client->fd = client->pidfd = -1;
        r = sd_event_add_io(server->loop, &client->source, *fd, EPOLLIN, on_client, client);
        if (r >= 0)
                r = sd_event_source_set_priority(client->source, PRIORITY);
        if (r >= 0)
                r = sd_event_source_set_ratelimit(client->source, USEC_PER_SEC, NAME_SERVER_LINES_MAX);
        if (r >= 0)
                r = watch_process(server, client);
        if (r < 0) {
                client_free(client);
                return r;
        }
        client->fd = steal_fd(fd);
        client->next = server->clients;
        server->clients = client;
        return 0;
}

static int on_connection(sd_event_source *source, int listen_fd, uint32_t events, void *userdata) {
        struct name_server *server = userdata;
        _cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        struct ucred peer;
        socklen_t length = sizeof(peer);
        uid_t scope;

        (void) source;
        (void) events;
        if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
                return 0;
        if (name_table_scope(server->table, peer.uid, &scope) < 0)
                (void) send_refusal(fd, "failoverd cannot tell which user you are");
        else if (!has_room(server, scope))
                (void) send_refusal(fd, "too many clients hold names; one has to end first");
        else if (start_client(server, &fd, &peer, scope) < 0)
                (void) send_refusal(fd, "out of memory");
        return 0;
}

int name_server_new(sd_event *loop, const char *path, const struct name_table_rules *rules, struct name_server **ret,
                    struct error *error) {
        _cleanup_(name_server_freep) struct name_server *server = calloc(1, sizeof(*server));
        struct sockaddr_un address;
        int r;

        if (!server)
                return error_set(error, -ENOMEM, "out of memory");
        server->listen_fd = -1;
        server->loop = sd_event_ref(loop);
        if (name_table_new(rules, &server->table) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        if (unix_address(path, &address) < 0)
                return error_set(error, -EINVAL, "%s: not an absolute path, or too long for a socket", path);
        r = unix_listen(&address, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, BACKLOG, &server->listen_fd, error);
        if (r < 0)
                return r;
        server->address = address;
        r = sd_event_add_io(loop, &server->source, server->listen_fd, EPOLLIN, on_connection, server);
        if (r >= 0)
                r = sd_event_source_set_priority(server->source, PRIORITY);
        if (r >= 0)
                r = sd_event_source_set_ratelimit(server->source, ACCEPTS_USEC, ACCEPTS_MAX);
        if (r < 0)
                return error_set(error, r, "%s: %s", path, strerror(-r));
        *ret = steal_ptr(server);
        return 0;
}

struct name_server *name_server_free(struct name_server *server) {
        if (!server)
                return NULL;
        while (server->clients)
                client_free(server->clients);
        sd_event_source_disable_unref(server->source);
        if (server->listen_fd >= 0)
                (void) close(server->listen_fd);
        if (server->address.sun_path[0])
                (void) unlink(server->address.sun_path);
        name_table_free(server->table);
        sd_event_unref(server->loop);
        free(server);
        return NULL;
}

const struct name_table *name_server_names(const struct name_server *server) {
        return server ? server->table : NULL;
}
