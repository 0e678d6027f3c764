/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/unix-socket.h"

#define BACKLOG 128

static int parse_port(const char *text, uint64_t max, uint64_t *ret) {
        char *end;
        uint64_t port;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        port = strtoull(text, &end, 10);
        if (*end || port == 0 || port > max)
                return -EINVAL;
        *ret = port;
        return 0;
}

static int parse_tcp(const char *text, struct listen_address *ret) {
        const char *colon = strrchr(text, ':');
        char host[INET6_ADDRSTRLEN + 2] = "";
        struct sockaddr_in *in = (struct sockaddr_in *) &ret->address;
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *) &ret->address;
        uint64_t port;
        size_t n;

        if (!colon || (size_t) (colon - text) >= sizeof(host) || parse_port(colon + 1, 65535, &port) < 0)
                return -EINVAL;
        n = (size_t) (colon - text);
        memcpy(host, text, n);
        if (n > 2 && host[0] == '[' && host[n - 1] == ']') {
                host[n - 1] = 0;
                *in6 = (struct sockaddr_in6) { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t) port) };
                ret->length = sizeof(*in6);
                return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
        }
        *in = (struct sockaddr_in) { .sin_family = AF_INET, .sin_port = htons((uint16_t) port) };
        ret->length = sizeof(*in);
        return inet_pton(AF_INET, host, &in->sin_addr) == 1 ? 0 : -EINVAL;
}

int listen_parse(const char *text, struct listen_address *ret, struct error *error) {
        struct listen_address address = { 0 };
        struct sockaddr_vm *vm = (struct sockaddr_vm *) &address.address;
        struct sockaddr_un *un = (struct sockaddr_un *) &address.address;
        uint64_t port;
        int r = -EINVAL;

        if (strncmp(text, "unix:", 5) == 0) {
                address.kind = LISTEN_UNIX;
                address.length = sizeof(*un);
                r = unix_address(text + 5, un);
        } else if (strncmp(text, "tcp:", 4) == 0) {
                address.kind = LISTEN_TCP;
                r = parse_tcp(text + 4, &address);
        } else if (strncmp(text, "vsock:", 6) == 0 && parse_port(text + 6, UINT32_MAX - 1, &port) == 0) {
                address.kind = LISTEN_VSOCK;
                address.length = sizeof(*vm);
                *vm = (struct sockaddr_vm) { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY,
                                             .svm_port = (unsigned) port };
                r = 0;
        }
        if (r < 0)
                return error_set(error, -EINVAL, "\"%s\" is not an address to listen on; write unix:/PATH, "
                                 "tcp:ADDRESS:PORT, tcp:[IPV6]:PORT or vsock:PORT", text);
        *ret = address;
        return 0;
}

int listen_open(const struct listen_address *address, int *ret_fd, struct error *error) {
        const struct sockaddr_un *un = (const struct sockaddr_un *) &address->address;
        _cleanup_close_ int fd = -1;
        int one = 1, r;

        if (address->kind == LISTEN_UNIX)
                return unix_listen(un, SOCK_STREAM, BACKLOG, ret_fd, error);
        fd = socket(address->address.ss_family, SOCK_STREAM, 0);
        r = fd < 0 ? -errno : 0;
        if (r == 0 && address->kind == LISTEN_TCP)
                r = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ? -errno : 0;
        if (r == 0 && (bind(fd, (const struct sockaddr *) &address->address, address->length) < 0 ||
                       listen(fd, BACKLOG) < 0))
                r = -errno;
        if (r < 0)
                return error_set(error, r, "%s", strerror(-r));
        *ret_fd = steal_fd(&fd);
        return 0;
}
