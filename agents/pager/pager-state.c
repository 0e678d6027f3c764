/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/pager-state.h"

static const char *const pager_state_table[] = {
        [PAGER_SERVING] = "serving",
        [PAGER_RECOVERING] = "recovering",
        [PAGER_DOWN] = "down",
        [PAGER_FENCED] = "fenced",
};
DEFINE_ENUM_TABLE(pager_state, pager_state_table)

static const char *const pager_event_table[] = {
        [PAGER_OPENED] = "opened",
        [PAGER_WAITING] = "waiting",
        [PAGER_REGAINED] = "regained",
        [PAGER_TAKEN_OVER] = "taken-over",
        [PAGER_PAGES_LOST] = "pages-lost",
        [PAGER_NO_SERVER] = "no-server",
        [PAGER_GIVEN_AWAY] = "given-away",
        [PAGER_MIRRORED] = "mirrored",
        [PAGER_ALONE] = "alone",
        [PAGER_MOVED] = "moved",
        [PAGER_STAYS] = "stays",
};
DEFINE_ENUM_TABLE(pager_event, pager_event_table)

/* Made once and kept for ever. */
static const char *const message_ids[] = {
        [PAGER_OPENED] = "7d0c54e1b93f4a6c8e21f50a6bd3c000",
        [PAGER_WAITING] = "7d0c54e1b93f4a6c8e21f50a6bd3c001",
        [PAGER_REGAINED] = "7d0c54e1b93f4a6c8e21f50a6bd3c002",
        [PAGER_TAKEN_OVER] = "7d0c54e1b93f4a6c8e21f50a6bd3c003",
        [PAGER_PAGES_LOST] = "7d0c54e1b93f4a6c8e21f50a6bd3c004",
        [PAGER_NO_SERVER] = "7d0c54e1b93f4a6c8e21f50a6bd3c005",
        [PAGER_GIVEN_AWAY] = "7d0c54e1b93f4a6c8e21f50a6bd3c006",
        [PAGER_MIRRORED] = "7d0c54e1b93f4a6c8e21f50a6bd3c007",
        [PAGER_ALONE] = "7d0c54e1b93f4a6c8e21f50a6bd3c008",
        [PAGER_MOVED] = "7d0c54e1b93f4a6c8e21f50a6bd3c009",
        [PAGER_STAYS] = "7d0c54e1b93f4a6c8e21f50a6bd3c00a",
};

const char *pager_event_message_id(enum pager_event event) {
        return event >= 0 && event < PAGER_EVENT_MAX ? message_ids[event] : NULL;
}
