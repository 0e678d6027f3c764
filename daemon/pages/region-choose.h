/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where the right to write a shared region is taken, and how, by what its servers say (region-look.h). Nothing has
 * changed at any of them after that. */

#include "daemon/pages/region-look.h"

/* Sets `way`, and puts into the take's text what is to be said besides. -ESTALE with the `token_known`, -ENOTUNIQ
 * where who has the right may go on to write, -ENODATA and -ENOENT where what is there is not what was written last, or
 * nothing, and the policy does not make do with that, ... */
int places_choose(struct places *p, size_t *ret_at);
/* What may lack writes that somebody was told are safe is gone on with only where the policy makes do with that: else
 * -ENODATA. */
int places_accept_older(const struct places *p, size_t at, const char *why);
