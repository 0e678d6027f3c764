/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One grant of an application's shared regions, as their holders are asked for it: the right to write goes to whoever
 * gets the capabilities that come back, and is lost by who had it before. Blocks; for a thread.
 */

#include "daemon/pages/region-take.h"

struct region_grant {
        char node[NAME_LEN], owner[NAME_LEN]; /* of the spaces */
        uint64_t token;
        bool alone;                           /* nobody else can write the regions, also where no holder is asked */
        uint64_t granted;                     /* the one before (region-take.h) */
        usec_t deadline_usec;                 /* of each holder; they are asked at once */
        struct granted_region regions[POLICY_REGIONS_MAX];
        size_t n_regions;

        /* 0 or a negative errno; -ESTALE where a holder knows no lower token, -ENOTUNIQ where the policy would make do
         * without one that is out of reach, were it `alone` */
        int result;
        uint64_t token_known;                 /* which is this one */
        char text[REGION_TEXT_LEN];     /* why, or what is to be said besides */
        char *list;                           /* as a program is told of them (region-list.h), owned. Secret */

        /* What has come of looking after their mirrors, of each region by itself (region_take_tend()). */
        struct region_tended {
                int result;
                char text[REGION_TEXT_LEN];
        } tended[POLICY_REGIONS_MAX];
};

/* Asks for the regions that have no capability yet. */
void region_grant_ask(struct region_grant *grant);
/* Of those that were granted under `token` and are in use: mirrors that are not there any more. Sets `tended`. */
void region_grant_tend(struct region_grant *grant);
void region_grant_deinit(struct region_grant *grant);
