/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "daemon/base/enum-table.h"

enum pager_state {
        PAGER_SERVING,
        PAGER_RECOVERING, /* requests wait for a server */
        PAGER_DOWN,       /* no server takes a space: requests that need one fail */
        PAGER_FENCED,     /* the space was given to somebody else: all requests fail */
        PAGER_STATE_MAX,
        PAGER_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(pager_state); /* "serving", "recovering", "down", "fenced" */
