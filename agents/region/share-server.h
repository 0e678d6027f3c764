/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that serves what is shared: nbdkit, with a listening socket and the memory that it inherits. It ends with
 * this program, and gives it no SIGCHLD. */

#include "daemon/base/error.h"

struct share_server;

/* `file_fd` is negative where memory is shared; `psk_file` NULL for no TLS. All stay the caller's. */
int share_server_start(int listen_fd, int memory_fd, int file_fd, const char *psk_file, struct share_server **ret,
                       struct error *error);
/* Whether it has ended by itself. */
int share_server_ended(struct share_server *server);
struct share_server *share_server_free(struct share_server *server);
