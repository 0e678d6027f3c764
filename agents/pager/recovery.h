/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where a pager goes on when it has no connection to its space, decided from what the servers say of the space.
 *
 * Every way back is a new grant, also to a primary that only the network had taken away: a save of the old connection
 * may still be on its way, and would come after what was saved anew. What holds the truth is known by its token: no
 * primary that has a lower one than the grant under which saves were acknowledged, however alive it is, and no mirror
 * of a space that was given up before this one was opened.
 *
 * A primary that has just let its deadline pass is spared: it is asked only where no mirror can stand in, so that a
 * takeover does not wait for it once more; but it is asked before anything is given up.
 *
 * Pure.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/memserver/space.h"

struct grant;
/* The space has moved to another server under the grant `moved` (0: never). As soon as a save was acknowledged there,
 * the mirror that the old server had lacks it, however whole it says it is; until then it may still stand in. To be
 * called when `granted` is known. */
void recovery_note_moved(struct grant *grant, uint64_t moved);

enum adoption {
        ADOPT_NOTHING, /* no server that answers has anything of the space, nor is known to have had it */
        ADOPT_THIS,    /* that server's primary has all that was acknowledged */
        ADOPT_UNSURE,
};

struct sight;
/* What of a space that an earlier pager has left has the truth. A pager asks only where nobody else uses it. The
 * primary with the highest token has it, where all servers answer, or where its mirror is complete (`mirrored`): a
 * primary that is above it could only be that mirror. A mirror without its primary may lack what was saved last, and so
 * does a primary below `told`, the token under which the earlier pager is known to have served (0: none is): servers
 * that had later ones have begun anew. Where one did serve and nothing is found, a silent server may have it. */
enum adoption recovery_adopt(const struct sight *sights, const bool *mirrored, size_t n_sights, uint64_t told,
                             size_t *ret_server);

/* What one server says. */
struct sight {
        bool answered;
        bool spared; /* it was not asked yet: the rest is not known */
        bool there;  /* it has a space of that name */
        enum space_role role;
        uint64_t token;
        bool whole; /* a mirror: it may stand in, as far as it is known */
};

struct grant {
        uint64_t opened;  /* token that the space was opened with */
        uint64_t granted; /* token of the grant under which saves were acknowledged last; >= opened */
        uint64_t tried;   /* the highest that was asked for; >= granted */
};

enum recovery {
        RECOVERY_GRANT,   /* the space is there: get a new capability */
        RECOVERY_PROMOTE, /* this mirror is to become the primary */
        RECOVERY_ASK,     /* ask the one that was spared, and choose again */
        RECOVERY_WAIT,    /* not known: a server that may have it does not answer */
        RECOVERY_LOST,    /* no server has it any more */
        RECOVERY_FENCED,  /* it was given to somebody else */
};

/* `ret_server` is set for the first three. */
enum recovery recovery_choose(const struct sight *sights, size_t n_sights, const struct grant *grant,
                              size_t *ret_server);
/* What is still known of a server that was asked for a grant or promotion in vain, with `result`: only -ESTALE to a
 * promotion says that it may lack pages; after all else nothing is known. `sight` is what it said afterwards. */
void recovery_note_refusal(struct sight *sight, enum recovery choice, int result);
