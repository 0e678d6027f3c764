/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The control socket: who may ask is known by the credentials of the peer, and each who asks has a thread, so that a
 * call that has to wait keeps nobody else waiting.
 */

#include <sys/types.h>

#include "daemon/base/error.h"
#include "daemon/memserver/server.h"

#define CONTROL_CONNECTIONS_MAX 128
#define CONTROL_USERS_MAX 8

struct control;

/* Listens at `path`; a socket that a server which is gone has left there is replaced. Root, this process's user and
 * `users` may ask. -EADDRINUSE where somebody listens there. */
int control_new(struct server *server, const char *path, const uid_t *users, size_t n_users, struct control **ret,
                struct error *error);
/* Ends all conversations and waits for their threads. */
struct control *control_free(struct control *control);
