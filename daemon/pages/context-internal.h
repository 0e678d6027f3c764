/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of context-place.h share. */

#include "daemon/memserver/control-ask.h"
#include "daemon/pages/context-place.h"

#define CONTEXT_ASK_USEC (5 * USEC_PER_SEC)

/* What spaces begin with, before a colon; and what messages call what is kept in them. */
static inline const char *context_kind(const struct context_servers *servers) {
        return servers->kind ? servers->kind : "context";
}

struct control_ask context_ask(const struct context_servers *servers, size_t i, const struct space_name *name);
