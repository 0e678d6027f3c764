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

/* What happens to a pager's space, for the journal. */
enum pager_event {
        PAGER_OPENED,     /* a new space */
        PAGER_WAITING,    /* the primary is lost or stalls: requests wait */
        PAGER_REGAINED,   /* it is back */
        PAGER_TAKEN_OVER, /* the mirror is the primary now */
        PAGER_PAGES_LOST,
        PAGER_NO_SERVER,  /* takes a space */
        PAGER_GIVEN_AWAY, /* fenced */
        PAGER_MIRRORED,
        PAGER_ALONE,      /* no longer */
        PAGER_MOVED,      /* to a server that has more room */
        PAGER_STAYS,      /* it should have moved, and could not */
        PAGER_EVENT_MAX,
        PAGER_EVENT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(pager_event); /* "opened", "waiting", "regained", "taken-over", "pages-lost", "no-server",
                                    "given-away", "mirrored", "alone", "moved", "stays" */
/* MESSAGE_ID in the journal; NULL outside the range. */
const char *pager_event_message_id(enum pager_event event);
