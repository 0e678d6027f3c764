/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/recovery.h"

#include <errno.h>

/* A primary of the latest grant, or of one whose answer never came: then nothing was saved under it yet, and the one
 * with the highest token is the one that serves. */
static bool find_primary(const struct sight *sights, size_t n, const struct grant *grant, size_t *ret) {
        bool found = false;

        for (size_t i = 0; i < n; i++) {
                const struct sight *sight = &sights[i];
                if (sight->there && sight->role == SPACE_PRIMARY && sight->token >= grant->granted &&
                    (!found || sight->token > sights[*ret].token)) {
                        *ret = i;
                        found = true;
                }
        }
        return found;
}

enum recovery recovery_choose(const struct sight *sights, size_t n_sights, const struct grant *grant,
                              size_t *ret_server) {
        size_t server = 0, spared = n_sights;
        bool all_answered = true;

        for (size_t i = 0; i < n_sights; i++) {
                if (sights[i].spared)
                        spared = i;
                if (sights[i].there && sights[i].token > grant->tried)
                        return RECOVERY_FENCED;
                all_answered = all_answered && sights[i].answered;
        }
        if (find_primary(sights, n_sights, grant, &server)) {
                *ret_server = server;
                return RECOVERY_GRANT;
        }
        for (size_t i = 0; i < n_sights; i++)
                if (sights[i].there && sights[i].role == SPACE_MIRROR && sights[i].whole &&
                    sights[i].token >= grant->opened) {
                        *ret_server = i;
                        return RECOVERY_PROMOTE;
                }
        if (spared < n_sights) {
                *ret_server = spared;
                return RECOVERY_ASK;
        }
        return all_answered ? RECOVERY_LOST : RECOVERY_WAIT;
}

void recovery_note_refusal(struct sight *sight, enum recovery choice, int result) {
        if (choice == RECOVERY_PROMOTE && result == -ESTALE)
                sight->whole = false;
        else
                *sight = (struct sight) { 0 };
}
