/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/discovery-socket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/base/clock.h"

#define HOST_LEN INET6_ADDRSTRLEN
#define AT_ONCE_MAX 64 /* refused in one look, so that a flood leaves time for what else the thread does */

int discovery_random(void *buffer, size_t n) {
        return getrandom(buffer, n, 0) == (ssize_t) n ? 0 : -EIO;
}

/* A port, and nothing behind it. */
static int parse_port(const char *text, in_port_t *ret) {
        char *end;
        unsigned long port = strtoul(text, &end, 10);

        if (*text < '0' || *text > '9' || *end || port == 0 || port > UINT16_MAX)
                return -EINVAL;
        *ret = htons((in_port_t) port);
        return 0;
}

int discovery_address_parse(const char *text, struct discovery_address *ret, struct error *error) {
        const char *colon = strrchr(text, ':');
        bool six = *text == '[';
        size_t n = colon ? (size_t) (colon - text) : 0;
        struct discovery_address address = { 0 };
        char host[HOST_LEN];
        in_port_t port;

        if (!colon || n < 3 || n >= sizeof(host) || (six && text[n - 1] != ']') || parse_port(colon + 1, &port) < 0)
                return error_set(error, -EINVAL, "%s: not ADDRESS:PORT, such as 192.0.2.1:10810", text);
        memcpy(host, text + six, n - 2 * six);
        host[n - 2 * six] = 0;
        if (six) {
                struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &address.storage;

                in6->sin6_family = AF_INET6;
                in6->sin6_port = port;
                address.length = sizeof(*in6);
                if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1)
                        goto done;
        } else {
                struct sockaddr_in *in = (struct sockaddr_in *) &address.storage;

                in->sin_family = AF_INET;
                in->sin_port = port;
                address.length = sizeof(*in);
                if (inet_pton(AF_INET, host, &in->sin_addr) == 1)
                        goto done;
        }
        return error_set(error, -EINVAL, "%s: %s is not an address in numbers", text, host);
done:
        *ret = address;
        return 0;
}

int discovery_socket_open(const struct discovery_address *address, bool listens, struct discovery_socket *ret,
                          struct error *error) {
        const int one = 1;
        int fd = socket(address->storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int r = 0;

        if (fd < 0)
                return error_set(error, -errno, "no socket: %s", strerror(errno));
        (void) setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
        if (listens) {
                (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
                r = bind(fd, (const struct sockaddr *) &address->storage, address->length);
        }
        if (r < 0) {
                r = error_set(error, -errno, "cannot listen: %s", strerror(errno));
                (void) close(fd);
                return r;
        }
        ret->fd = fd;
        /* What an earlier run has heard nobody remembers. */
        if (listens)
                ret->guard.floor_usec = clock_usec(CLOCK_REALTIME);
        return 0;
}

void discovery_socket_close(struct discovery_socket *socket) {
        if (socket->fd >= 0)
                (void) close(socket->fd);
        socket->fd = -1;
        explicit_bzero(&socket->key, sizeof(socket->key));
}

void discovery_send(struct discovery_socket *socket, struct discovery_message *message,
                    const struct discovery_address *to) {
        unsigned char buffer[DISCOVERY_BYTES_MAX];
        int n;

        message->time_usec = clock_usec(CLOCK_REALTIME);
        if (message->kind == DISCOVERY_ASK)
                guard_note_asked(&socket->guard, message);
        n = discovery_seal(&socket->key, message, buffer);
        if (n > 0)
                (void) !sendto(socket->fd, buffer, (size_t) n, MSG_NOSIGNAL, (const struct sockaddr *) &to->storage,
                               to->length);
}

/* The sender's address as the guard knows it, and as text. */
static void name_sender(const struct discovery_address *from, unsigned char ret[static 16],
                        char ret_text[static HOST_LEN]) {
        memset(ret, 0, 16);
        if (from->storage.ss_family == AF_INET6) {
                const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) &from->storage;

                memcpy(ret, &in6->sin6_addr, 16);
                (void) inet_ntop(AF_INET6, &in6->sin6_addr, ret_text, HOST_LEN);
        } else {
                const struct sockaddr_in *in = (const struct sockaddr_in *) &from->storage;

                ret[10] = ret[11] = 0xff;
                memcpy(ret + 12, &in->sin_addr, 4);
                (void) inet_ntop(AF_INET, &in->sin_addr, ret_text, HOST_LEN);
        }
}

static void refuse(struct discovery_socket *socket, enum guard_refusal refusal, const char *from) {
        if (guard_refused(&socket->guard, refusal, clock_usec(CLOCK_BOOTTIME)) && socket->tell)
                socket->tell(socket->userdata, refusal, from);
}

/* Whether what came is to be listened to. */
static bool judge(struct discovery_socket *socket, const unsigned char *bytes, size_t n,
                  const struct discovery_address *from, struct discovery_message *ret) {
        unsigned char address[16];
        char text[HOST_LEN] = "";
        unsigned refused;
        int r = n > DISCOVERY_BYTES_MAX ? -EMSGSIZE : discovery_open(&socket->key, bytes, n, ret);

        name_sender(from, address, text);
        if (r < 0) {
                refuse(socket, guard_refusal_of(r), text);
                return false;
        }
        if (!guard_awaits(&socket->guard, ret))
                return false;
        refused = guard_admit(&socket->guard, address, ret, clock_usec(CLOCK_REALTIME), clock_usec(CLOCK_BOOTTIME));
        if (refused > 0)
                refuse(socket, (enum guard_refusal) (refused - 1), text);
        return refused == 0;
}

bool discovery_receive(struct discovery_socket *socket, struct discovery_message *ret,
                       struct discovery_address *ret_from) {
        unsigned char buffer[DISCOVERY_BYTES_MAX + 1];

        for (int i = 0; i < AT_ONCE_MAX; i++) {
                struct discovery_address from = { .length = sizeof(from.storage) };
                ssize_t n = recvfrom(socket->fd, buffer, sizeof(buffer), MSG_TRUNC,
                                     (struct sockaddr *) &from.storage, &from.length);

                if (n < 0)
                        return false;
                if (judge(socket, buffer, (size_t) n, &from, ret)) {
                        *ret_from = from;
                        return true;
                }
        }
        return false;
}
