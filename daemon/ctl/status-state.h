/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* `failoverctl status` of the shared regions that applications keep their state in. */

#include "daemon/ctl/ctl.h"

/* Asks their holders, where this user may, whether they are there and are told by their programs, and adds to the
 * document what is wrong. */
void status_state_ask(struct ctl *ctl, struct json_object *root);
/* How old the data is that the standby would go on with, and what is wrong. */
void status_state_print(struct json_object *application);
