/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/helper/protocol.h"

/* Asks failoverd-helper on the socket `path` about one domain's QEMU and waits for its answer at most
 * `timeout_usec`: for workers. `ret_pid` and `ret_pidfd` are for HELPER_OPEN, else NULL; the pidfd is the caller's.
 * Returns 0; the helper's own error; -ENOTCONN where there is no helper; -ETIMEDOUT; or -EPROTO. */
int helper_call(const char *path, enum helper_op op, const char *domain, usec_t timeout_usec, int *ret_pid,
                int *ret_pidfd);
/* The same for the memory of a domain's region (HELPER_LOOK, HELPER_PAGE_OUT), which are the request's: op, domain,
 * app, offset and bytes. `ret_reply` may be NULL; `ret_fd` is for HELPER_LOOK, else NULL. */
int helper_ask(const char *path, struct helper_request *request, usec_t timeout_usec, struct helper_reply *ret_reply,
               int *ret_fd);
