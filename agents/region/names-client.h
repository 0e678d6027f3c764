/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asking failoverd's name server (agents/protocol/names.h). */

#include "agents/protocol/names.h"
#include "daemon/base/units.h"

/* The socket: the one named, the variable's, or failoverd's own. */
const char *names_socket(const char *named);

/* Sends the request and waits for its answer. On success `ret` is the caller's (names_deinit()), and so is the
 * connection, where `ret_fd` is not NULL. -ENOENT (-EPERM for a name to be registered) where it was refused, with the
 * reason, -ETIMEDOUT, -ECONNREFUSED, -EBADMSG ... */
int names_ask(const char *socket, const struct names_message *request, usec_t timeout_usec, struct names_message *ret,
              int *ret_fd, struct error *error);
