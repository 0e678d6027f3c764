/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Could a VM that stands alone go on now, for each single failure that its standby could hear of? It rests on what the
 * standby told last.
 */

#include "daemon/core/context-standby.h"
#include "daemon/core/pair.h"

enum standby_fault {
        STANDBY_QEMU_GONE,
        STANDBY_PANIC,
        STANDBY_HANG,
        STANDBY_FAULT_MAX,
        STANDBY_FAULT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(standby_fault); /* "qemu-gone", "panic", "guest-hang" */

struct standby_case {
        enum readiness_level level;
        const char *why;  /* NULL: it is covered. Of what the standby told, or a constant text */
        const char *mend; /* NULL: `why` says so */
};

struct standby_readiness {
        enum readiness_level level;
        struct standby_case cases[STANDBY_FAULT_MAX];
};

/* What the standby told. */
struct standby_report {
        bool fresh; /* not long ago */
        enum standby_state state;
        int failovers_left;
        bool hears_panic, hears_hang;
        const char *problem; /* what is wrong; "" or NULL: nothing */
};

/* A hang that nobody would hear of makes the answer a limited one, not an uncovered one: what is heard of goes on. */
void standby_readiness(const struct standby_report *report, struct standby_readiness *ret);
