/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a look at a domain found, as sentences: what is missing and how to mend it. Any that is no advice keeps
 * the pair from being armed.
 */

#include "daemon/core/event.h"

#define FINDING_LEN 320

struct finding {
        bool advice;  /* does not keep the pair from being armed */
        bool blocks;  /* a failover to that side would come to a stop there */
        char text[FINDING_LEN];
        char mend[FINDING_LEN];
};

#define FINDINGS_MAX (12 + 3 * POLICY_APPLICATIONS_MAX)

/* The findings of one side, worst first. Returns how many. */
size_t findings_list(const struct policy *policy, const struct pair_policy *pair, enum side side,
                     const struct preflight *found, struct finding ret[static FINDINGS_MAX]);
