/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the keeper of a copy knows of it by the labels that it has heard (label.h): whole or not, and up to when it can
 * be sure of that. */

#include <stdbool.h>

#include "daemon/base/error.h"
#include "daemon/memserver/label.h"

#define KEEPER_HEARD 8 /* labels whose time is kept until their answer is confirmed */

/* Zero-initialise. Changed while the space's gate is shut. */
struct keeper {
        struct label last;  /* the latest; session 0: none yet */
        usec_t heard_usec;  /* when it came; CLOCK_BOOTTIME everywhere here */
        usec_t sure_usec;   /* when the latest label came of which the primary has had the answer; 0: none */
        struct {
                uint64_t number;
                usec_t at_usec;
        } heard[KEEPER_HEARD]; /* by number; those of a whole copy only */
};

enum keeper_turn {
        KEEPER_GOES_ON,
        KEEPER_NEW_LINK,    /* what comes over older connections is late */
        KEEPER_NEW_SESSION, /* the same, and the copy begins anew, empty */
};

/* A label has come. Returns a keeper_turn; -EPERM for one of a connection that was replaced, -EINVAL for one that does
 * not follow, -ENOLINK for a session that this copy does not belong to: it has to begin anew. */
int keeper_hear(struct keeper *keeper, const struct label *label, usec_t now_usec);

/* 0 where the copy, in which no save was refused, has every page that was acknowledged to a client which has had no
 * answer from the primary for `lost_usec`. Otherwise -ESTALE, and `error` says why. */
int keeper_judge(const struct keeper *keeper, usec_t lost_usec, usec_t now_usec, struct error *error);
