/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The sockets that nbdkit serves on. It makes one itself at most, so they are made here and handed over as systemd
 * hands sockets over. */

#include <netinet/in.h>
#include <sys/un.h>

#include "daemon/base/error.h"

enum listen_kind { LISTEN_UNIX, LISTEN_TCP, LISTEN_VSOCK };

struct listen_address {
        enum listen_kind kind;
        socklen_t length;
        struct sockaddr_storage address;
};

/* "unix:PATH", "tcp:ADDRESS:PORT" (numbers; an IPv6 address in brackets) or "vsock:PORT". -EINVAL. */
int listen_parse(const char *text, struct listen_address *ret, struct error *error);
/* A listening socket, which stays open over exec. A unix socket that nobody listens at is replaced. */
int listen_open(const struct listen_address *address, int *ret_fd, struct error *error);
