/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "daemon/base/error.h"

struct json_object;

struct governed_ask {
        const char *uri, *vm; /* a VM of that libvirt */
        const char *policy;   /* path of the policy that a failoverd has which does not answer */
        bool starts;          /* it is to go on with what it was doing; else: to be paused and ended */
        bool force;           /* a person states what cannot be seen */
};

/* Whether that may be done by hand: -EPERM where a failoverd on the system's bus or the user's governs the VM, unless
 * its pair is paused and nothing is under way, and, where it starts, no application of the pair is with the other VM;
 * -ENOTCONN where a failoverd is there and does not say. Where there is none, -EPERM for a VM of the policy. */
int governed_permit(const struct governed_ask *ask, struct error *error);

/* The same by what one failoverd has said (Describe): 1 where nothing speaks against it, 0 where that failoverd is not
 * of the same libvirt. */
int governed_judge(struct json_object *root, const struct governed_ask *ask, struct error *error);
/* The same where none answers. */
int governed_judge_silent(const struct governed_ask *ask, struct error *error);
