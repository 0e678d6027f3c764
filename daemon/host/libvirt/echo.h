/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A second way to hear from a guest: a serial port whose tty nobody in the guest reads, so that its kernel echoes
 * what comes in. We write "~" and two letters that rise; seeing them come back proves that the guest's kernel ran.
 * All else that comes over the port is noise and proves nothing. Printable, without a line end: whatever does
 * read there never gets a line.
 *
 * A unix socket on which QEMU listens; connected anew whenever a probe finds it closed. Never blocks.
 */

#include <systemd/sd-event.h>

#include "daemon/base/units.h"

struct echo;

/* `heard` is called on the loop for each echo. Returns 0, -ENAMETOOLONG or -ENOMEM. */
int echo_new(sd_event *loop, const char *path, void (*heard)(void *userdata), void *userdata, struct echo **ret_echo);
struct echo *echo_free(struct echo *echo);
const char *echo_path(const struct echo *echo);

/* Sends the next token. While a guest leaves many unanswered only one a second is sent, so that not too many wait
 * for it when it comes back. Returns 0, or a negative errno: -EAGAIN when QEMU takes no more, others when the socket
 * cannot be connected. */
int echo_probe(struct echo *echo);
