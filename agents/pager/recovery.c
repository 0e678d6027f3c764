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

enum adoption recovery_adopt(const struct sight *sights, const bool *mirrored, size_t n_sights, uint64_t told,
                             size_t *ret_server) {
        bool all_answered = true, found = false, trace = false;
        size_t server = 0;

        for (size_t i = 0; i < n_sights; i++) {
                all_answered = all_answered && sights[i].answered;
                trace = trace || sights[i].there;
                if (sights[i].there && sights[i].role == SPACE_PRIMARY &&
                    (!found || sights[i].token > sights[server].token)) {
                        server = i;
                        found = true;
                }
        }
        if (!found)
                return trace || (told > 0 && !all_answered) ? ADOPT_UNSURE : ADOPT_NOTHING;
        for (size_t i = 0; i < n_sights; i++)
                if (sights[i].there && sights[i].token > sights[server].token)
                        return ADOPT_UNSURE; /* its primary has begun anew, or is no more to be seen */
        if (sights[server].token < told || (!all_answered && !mirrored[server]))
                return ADOPT_UNSURE;
        *ret_server = server;
        return ADOPT_THIS;
}

void recovery_note_moved(struct grant *grant, uint64_t moved) {
        if (moved > grant->opened && grant->granted >= moved)
                grant->opened = moved;
}
