/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What to extend a VM with (N: choosing what to extend with): out of what nobody manages, some of which another VM may
 * still use. Stretches are picked one by one, each time the best of those left: `from` decides first, then the rules
 * in the order in which they are given, then the lower address. So "closest fit, then nearest" and "nearest, then
 * closest fit" are two different wishes, and any combination has a meaning.
 */

#include "daemon/core/rights.h"

enum choice_from {
        CHOICE_ANY_UNMANAGED,
        CHOICE_ONLY_UNUSED,  /* and unmanaged */
        CHOICE_UNUSED_FIRST,
        CHOICE_FROM_MAX,
        CHOICE_FROM_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(choice_from); /* "any-unmanaged", "only-unused", "unused-first" */

enum choice_rule {
        CHOICE_LARGEST,     /* contiguity: the largest stretch */
        CHOICE_CLOSEST_FIT, /* the smallest that covers what is still wanted, else the largest */
        CHOICE_SMALLEST,    /* the smallest, to keep the large ones whole */
        CHOICE_NEAREST,     /* next to what the VM manages */
        CHOICE_SPREAD,      /* on the module of which the VM has least, an equal share from each */
        CHOICE_PACKED,      /* on a module of which it has some; else on the one that is just large enough */
        CHOICE_RULE_MAX,
        CHOICE_RULE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(choice_rule); /* "largest", "closest-fit", "smallest", "nearest", "spread", "packed" */

/* Memory modules, or NUMA nodes, of a space. */
#define CHOICE_MODULES_MAX 64

struct choice {
        enum choice_from from;
        enum choice_rule rules[CHOICE_RULE_MAX]; /* the first decides first */
        size_t n_rules;
        bool best_effort; /* not enough: grant what there is; else refuse */
        const struct span *modules; /* borrowed; where each module is: sorted, without overlap. For spread and packed.
                                     * What is on none counts as one more; an extent is where it begins */
        size_t n_modules;           /* up to CHOICE_MODULES_MAX */
        const struct span *promised; /* borrowed; whole extents that are not to be chosen: for somebody else */
        size_t n_promised;
};

struct chosen {
        struct span *spans; /* owned; in the order in which they were picked */
        size_t n_spans;
        uint64_t bytes; /* of all of them */
};

/* Where memory is so scattered that so many picks by the rules do not suffice, the rest is taken by address. */
#define CHOICE_PICKS_MAX 64

/* Chooses `bytes`, a multiple of the extent, for a VM; the caller assigns them, after rights_reserve() where it must be
 * all or none. -EINVAL where `bytes` is 0 or no multiple; -ENOSPC where there is not enough and that is to be refused;
 * -ENOMEM; 0 with fewer bytes, or none, for the best effort. The caller frees `ret` with chosen_deinit(). */
int choice_make(const struct choice *choice, const struct rights *rights, struct holder vm, uint64_t bytes,
                struct chosen *ret);
void chosen_deinit(struct chosen *chosen);
