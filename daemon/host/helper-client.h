/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/helper/protocol.h"

/* Asks failoverd-helper on the socket `path` about one domain's QEMU and waits for its answer at most
 * `timeout_usec`: for workers. `ret_pid` and `ret_pidfd` are for HELPER_OPEN, else NULL; the pidfd is the caller's.
 * Returns 0; the helper's own error; -ENOTCONN where there is no helper; -ETIMEDOUT; or -EPROTO. */
int helper_call(const char *path, enum helper_op op, const char *domain, usec_t timeout_usec, int *ret_pid,
                int *ret_pidfd);
