/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Why does failoverd fail over, or not? For each VM and each application of a pair: what is believed of it, by which
 * rule, and what would tip it. Sentences for people, made from the numbers that the deciding functions weigh
 * (detector_weigh(), app_severity(), flow_blocker()); asking changes nothing.
 */

#include "daemon/core/engine.h"

struct member_explanation {
        struct detector_evidence evidence;
        unsigned missed;             /* beats, in a row */
        char rule[EVENT_TEXT_LEN];   /* what is believed, and why */
        char tip[EVENT_TEXT_LEN];    /* what would change it, and what would follow */
};

struct app_explanation {
        unsigned restarts;           /* used of its budget, in this window */
        enum severity severity;      /* of its latest failure while that is to be dealt with; else SEVERITY_INVALID */
        char rule[EVENT_TEXT_LEN];
        char tip[EVENT_TEXT_LEN];
};

struct explanation {
        struct member_explanation members[SIDE_MAX];
        struct app_explanation apps[POLICY_APPLICATIONS_MAX];
        enum flow_blocker blocker[SIDE_MAX]; /* of a failover to that side */
        char blocked[SIDE_MAX][EVENT_TEXT_LEN]; /* the same with its particulars; empty where it is free */
        char doubt[EVENT_TEXT_LEN];  /* why silence is not believed at present; empty: it is */
};

void explain_pair(const struct engine *engine, const struct pair *pair, usec_t now_usec, struct explanation *ret);
