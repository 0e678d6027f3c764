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

/* An address as messages and the guard have it: IPv6, or mapped IPv4. */
static void map_address(const struct discovery_address *address, unsigned char ret[static DISCOVERY_HOST_LEN]) {
        memset(ret, 0, DISCOVERY_HOST_LEN);
        if (address->storage.ss_family == AF_INET6) {
                memcpy(ret, &((const struct sockaddr_in6 *) &address->storage)->sin6_addr, DISCOVERY_HOST_LEN);
                return;
        }
        ret[10] = ret[11] = 0xff;
        memcpy(ret + 12, &((const struct sockaddr_in *) &address->storage)->sin_addr, 4);
}

static uint16_t port_of(const struct discovery_address *address) {
        return ntohs(address->storage.ss_family == AF_INET6
                             ? ((const struct sockaddr_in6 *) &address->storage)->sin6_port
                             : ((const struct sockaddr_in *) &address->storage)->sin_port);
}

int discovery_socket_open(const struct discovery_address *address, bool listens, struct discovery_socket *ret,
                          struct error *error) {
        const bool six = address->storage.ss_family == AF_INET6;
        const int one = 1;
        int fd = socket(address->storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int r = 0;

        if (fd < 0)
                return error_set(error, -errno, "no socket: %s", strerror(errno));
        (void) setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one));
        if (listens) {
                (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
                (void) setsockopt(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_RECVPKTINFO : IP_PKTINFO, &one,
                                  sizeof(one));
                r = bind(fd, (const struct sockaddr *) &address->storage, address->length);
        }
        if (r < 0) {
                r = error_set(error, -errno, "cannot listen: %s", strerror(errno));
                (void) close(fd);
                return r;
        }
        ret->fd = fd;
        ret->port = port_of(address);
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
        if (message->kind != DISCOVERY_ANSWER) {
                map_address(to, message->to);
                message->to_port = port_of(to);
        }
        n = discovery_seal(&socket->key, message, buffer);
        if (n > 0)
                (void) !sendto(socket->fd, buffer, (size_t) n, MSG_NOSIGNAL, (const struct sockaddr *) &to->storage,
                               to->length);
}

static void refuse(struct discovery_socket *socket, enum guard_refusal refusal, const char *from) {
        if (guard_refused(&socket->guard, refusal, clock_usec(CLOCK_BOOTTIME)) && socket->tell)
                socket->tell(socket->userdata, refusal, from);
}

/* One datagram, and where it was sent to; zeroes where the kernel does not tell. */
static ssize_t receive(struct discovery_socket *socket, unsigned char buffer[static DISCOVERY_BYTES_MAX + 1],
                       struct discovery_address *from, unsigned char ret_to[static DISCOVERY_HOST_LEN]) {
        union {
                struct cmsghdr head;
                char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
        } control;
        struct iovec part = { buffer, DISCOVERY_BYTES_MAX + 1 };
        struct msghdr header = { .msg_name = &from->storage, .msg_namelen = sizeof(from->storage), .msg_iov = &part,
                                 .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
        ssize_t n = recvmsg(socket->fd, &header, MSG_TRUNC);

        memset(ret_to, 0, DISCOVERY_HOST_LEN);
        if (n < 0)
                return n;
        from->length = header.msg_namelen;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
                struct discovery_address to = { 0 };
                struct in6_pktinfo six;
                struct in_pktinfo four;

                if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
                        memcpy(&six, CMSG_DATA(c), sizeof(six));
                        memcpy(ret_to, &six.ipi6_addr, DISCOVERY_HOST_LEN);
                }
                if (c->cmsg_level != IPPROTO_IP || c->cmsg_type != IP_PKTINFO)
                        continue;
                memcpy(&four, CMSG_DATA(c), sizeof(four));
                ((struct sockaddr_in *) &to.storage)->sin_family = AF_INET;
                ((struct sockaddr_in *) &to.storage)->sin_addr = four.ipi_addr;
                map_address(&to, ret_to);
        }
        return n;
}

/* An answer is known by its nonce. */
static bool is_for(const struct discovery_socket *socket, const unsigned char to[static DISCOVERY_HOST_LEN],
                   const struct discovery_message *message) {
        return message->kind == DISCOVERY_ANSWER ||
               (message->to_port == socket->port && memcmp(message->to, to, DISCOVERY_HOST_LEN) == 0);
}

/* Whether what came is to be listened to. */
static bool judge(struct discovery_socket *socket, const unsigned char *bytes, size_t n,
                  const struct discovery_address *from, const unsigned char to[static DISCOVERY_HOST_LEN],
                  struct discovery_message *ret) {
        unsigned char address[DISCOVERY_HOST_LEN];
        char text[HOST_LEN] = "";
        unsigned refused;
        int r = n > DISCOVERY_BYTES_MAX ? -EMSGSIZE : discovery_open(&socket->key, bytes, n, ret);

        map_address(from, address);
        (void) inet_ntop(from->storage.ss_family, address + (from->storage.ss_family == AF_INET6 ? 0 : 12), text,
                         sizeof(text));
        if (r < 0) {
                refuse(socket, guard_refusal_of(r), text);
                return false;
        }
        if (!guard_awaits(&socket->guard, ret))
                return false;
        refused = !is_for(socket, to, ret) ? GUARD_ELSEWHERE + 1 :
                  guard_admit(&socket->guard, address, ret, clock_usec(CLOCK_REALTIME), clock_usec(CLOCK_BOOTTIME));
        if (refused > 0)
                refuse(socket, (enum guard_refusal) (refused - 1), text);
        return refused == 0;
}

bool discovery_receive(struct discovery_socket *socket, struct discovery_message *ret,
                       struct discovery_address *ret_from) {
        unsigned char buffer[DISCOVERY_BYTES_MAX + 1], to[DISCOVERY_HOST_LEN];

        for (int i = 0; i < AT_ONCE_MAX; i++) {
                struct discovery_address from = { 0 };
                ssize_t n = receive(socket, buffer, &from, to);

                if (n < 0)
                        return false;
                if (judge(socket, buffer, (size_t) n, &from, to, ret)) {
                        *ret_from = from;
                        return true;
                }
        }
        return false;
}
