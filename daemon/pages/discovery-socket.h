/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An end of the discovery protocol: a UDP socket, the key, and the guard of what comes in. One thread's. */

#include <sys/socket.h>

#include "daemon/pages/discovery-guard.h"

struct discovery_address {
        struct sockaddr_storage storage;
        socklen_t length;
};

/* "192.0.2.1:10810" or "[2001:db8::1]:10810", numbers alone. -EINVAL. */
int discovery_address_parse(const char *text, struct discovery_address *ret, struct error *error);

struct discovery_socket {
        int fd;
        uint16_t port; /* that it listens at */
        struct discovery_key key;
        struct guard guard;
        /* A refusal that is to be told; may be NULL. */
        void (*tell)(void *userdata, enum guard_refusal refusal, const char *from);
        void *userdata;
};

/* Listens at the address, or, for who only asks, at any port of its family. Several may listen at the same one: a
 * broadcast reaches them all. */
int discovery_socket_open(const struct discovery_address *address, bool listens, struct discovery_socket *ret,
                          struct error *error);
void discovery_socket_close(struct discovery_socket *socket);

/* Sends a message with the time of now. What the network does not take is lost, as it may be anywhere on its way. */
void discovery_send(struct discovery_socket *socket, struct discovery_message *message,
                    const struct discovery_address *to);
/* The next message that passes the guard. False where there is none now. */
bool discovery_receive(struct discovery_socket *socket, struct discovery_message *ret,
                       struct discovery_address *ret_from);
/* Random numbers for an identity or a nonce. -EIO. */
int discovery_random(void *buffer, size_t n);
