/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/un.h>

#include "daemon/base/error.h"

/* -EINVAL for a path that is not absolute or too long. */
int unix_address(const char *path, struct sockaddr_un *ret);

/* A listening socket that everybody may connect to: who is served is decided by credentials, or by what they know. A
 * socket that nobody listens at any more is replaced. `type` may carry SOCK_CLOEXEC and SOCK_NONBLOCK. -EADDRINUSE
 * where somebody listens, -EEXIST where there is a file that is no socket. */
int unix_listen(const struct sockaddr_un *address, int type, int backlog, int *ret_fd, struct error *error);
