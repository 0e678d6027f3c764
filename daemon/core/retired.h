/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What was taken out of the policy and is not out of its VMs yet. It stays with its pair, retired: it is stopped there,
 * its disks are detached and its memory is released; the first policy after that forgets it.
 *
 * Whatever is taken in that could be the same, or would need what the retired one may still hold, is not started before
 * that is over (no two at once): an application of the same name, wherever in the policy; one with an address or a
 * shared region of it; and in the same pair one with a disk of it. Over means: its agent has confirmed the stop (asked
 * for since it was taken out) and its disks are detached, or its VM is fenced or off, on both sides. That is written
 * down as `stopped` in its record, and what was retired outlives failoverd with the policy that was in force last.
 *
 * A VM of a pair that was taken out as a whole is fenced where it fails before that, and stays off. Where only its
 * agent tells nothing, it may run something else by now: it is left alone, and status says what its operator can do.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/event.h"
#include "daemon/core/record.h"
#include "policy/policy.h"

struct engine;
struct pair;
struct step;

/* Pairs and applications of the engine's that `policy` no longer has, and that are not out yet, become retired ones of
 * it. -E2BIG where it has no room for them, -ENOMEM. */
int retired_keep(const struct engine *engine, struct policy *policy);
/* The same at a start: those of the policy that was in force last, unless a record says that they are out. Where the
 * store was lost there is none that does. */
int retired_restore(struct policy *policy, const struct policy *last, const struct record *records, size_t n_records,
                    bool store_lost);
/* Is a domain of a retired pair another pair's in this policy, or does it stand alone? Then `why` says which. */
bool retired_has_domain(const struct policy *policy, char *why, size_t size);
/* The other way round: is a VM that stands alone in the policy `old` a pair's in `next`? Its standby may be about to
 * let it go on, and has to have ended first. `old` may be NULL. Then `why` says which. */
bool retired_stands_alone(const struct policy *old, const struct policy *next, char *why, size_t size);

/* Is there anything of a retired pair's in its VMs yet, or memory that it has not given back? */
bool retired_holds(const struct pair *pair);
/* True when there is no retired application that this one has to wait for. The first start after one of the same name
 * is under a higher token than any of its. */
bool retired_gone(struct step *step, int app);
/* What it waits for, as a sentence; false where there is none. */
bool retired_reason(const struct engine *engine, const struct pair *pair, int app, char text[EVENT_TEXT_LEN]);
/* Gets a retired application of the step's pair out of its VMs. True when it has stopped where it was. */
bool advance_retired(struct step *step, int app);
