/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* `failover-agent --announce shutdown|reboot`: how a guest's own init scripts tell the running agent that an
 * orderly stop begins, over a socket in the run directory. */

#include <stdbool.h>

/* True for "shutdown" and "reboot". */
bool announce_is_valid(const char *text);
/* A bound, non-blocking datagram socket, or -errno. */
int announce_listen(const char *run_dir);
/* Next text from it; -EAGAIN when there is none, -EBADMSG for anything that is not valid. */
int announce_receive(int fd, char *ret_text, unsigned size);
/* Tells the running agent. -ECONNREFUSED or -ENOENT when none runs. */
int announce_send(const char *run_dir, const char *text);
