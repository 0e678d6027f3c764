/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/base/error.h"

/* Whether a VM of the libvirt at `uri` may be ended or started by hand: -EPERM where a failoverd on the system's bus or
 * the user's governs it, unless its pair is paused and nothing is under way; -ENOTCONN where one is there and does not
 * say. Where there is none, nobody governs it. */
int governed_permit(const char *uri, const char *vm, struct error *error);
