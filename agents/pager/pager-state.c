/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/pager-state.h"

static const char *const pager_state_table[] = {
        [PAGER_SERVING] = "serving",
        [PAGER_RECOVERING] = "recovering",
        [PAGER_DOWN] = "down",
        [PAGER_FENCED] = "fenced",
};
DEFINE_ENUM_TABLE(pager_state, pager_state_table)
