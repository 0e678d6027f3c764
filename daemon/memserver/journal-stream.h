/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

/* Standard error is the journal's own stream under systemd: then the structured way is enough. */
static inline bool journal_is_there(void) {
        return getenv("JOURNAL_STREAM") != NULL && access("/run/systemd/journal/socket", W_OK) == 0;
}
