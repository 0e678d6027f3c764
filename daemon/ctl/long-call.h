/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A call that takes as long as the operation that it begins, with its phases shown while they come. */

#include "daemon/ctl/ctl.h"

struct long_call {
        const char *verb;   /* "switch": for messages */
        const char *method; /* of org.failover1.Pair */
        const char *pair;
        const char *fault;  /* drill: may be empty; else NULL */
        const char *level;  /* drill, else NULL */
};

/* Returns CTL_OK with the report (the caller's), or another exit code with the message printed. */
int long_call_run(struct ctl *ctl, const struct long_call *call, struct json_object **ret);

/* What it came to, for people or (--json) as it is. */
void long_call_print(const struct ctl *ctl, const struct long_call *call, struct json_object *report);
