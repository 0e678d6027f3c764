/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One shared region (R), taken from whoever had the right to write it: at its holder, or where that is lost, at its
 * mirror, which becomes the primary. The other one of the two becomes, or stays, the copy. Blocks; for a thread.
 *
 * Which of the two has what was written last is told by their tokens: the one that was granted last has the highest.
 * Where only one can be asked, the token that failoverd has on record tells whether that is the one.
 *
 * Of several regions that are granted together, nothing is changed at any server before all can be had, and what may
 * lack writes is gone on with only once all others were had: an attempt that fails leaves no older copy that takes the
 * place of the latest.
 */

#include "daemon/core/record.h"

#define REGION_CAPABILITY_LEN 65
#define REGION_TEXT_LEN 256
#define REGION_SERVERS_MAX 2              /* the holder, and its mirror */

/* A memory server that may have it. All owned. */
struct region_server {
        char *name, *control, *guests, *uri; /* `guests` and `uri`: as guests and as memory servers reach it */
};

struct granted_region {
        struct state_region policy;
        bool may_be_new;                        /* opened where it is not there */
        bool has_moved;                         /* ... and was elsewhere: what is there may be of before */
        struct region_server servers[REGION_SERVERS_MAX];
        size_t n_servers;
        size_t at;                              /* which of them was granted */
        char capability[REGION_CAPABILITY_LEN]; /* "" until it was granted under that token. Secret */
};

struct region_take {
        char node[NAME_LEN], owner[NAME_LEN]; /* of the space */
        uint64_t token;
        uint64_t granted;                     /* the token under which it was granted last, as on record
                                           * (record_app.state_granted) */
        bool alone;                           /* nobody else can write it, also where no server is asked */
        usec_t deadline_usec;                 /* for all of it */
        struct granted_region *region;        /* `at` and `capability` are set */
        struct places *places;                /* from region_take_look() to region_take_end() */

        /* 0 or a negative errno; -ESTALE where a server knows no lower token, -ENOTUNIQ where the policy would make do
         * without one that is out of reach, were it `alone` */
        int result;
        uint64_t token_known;                 /* which is this one */
        char text[REGION_TEXT_LEN];           /* why, or what is to be said besides */
};

/* In this order, each only where all that were before left a `result` of 0. Looks where it is, and decides; then takes
 * the right to write, where that loses nothing; then with what may not be the latest, where the policy makes do with
 * it; then has the other server mirror it. */
void region_take_look(struct region_take *take);
void region_take_right(struct region_take *take);
void region_take_older(struct region_take *take);
void region_take_mirror(struct region_take *take);
/* By itself: of a region that is in use, under `token`. Where it goes on without its mirror, and the other server has
 * nothing that anybody could need, it is mirrored there anew, and `text` says so; else nothing is done. -EAGAIN without
 * a text where a server was not heard, or the region was granted anew; another error, and `text`, where it has no
 * mirror. A grant does not wait for it, and takes the place of what it does: the servers refuse what comes under a
 * token below theirs. The right to write stays where it is. */
void region_take_tend(struct region_take *take);
/* After any of them. */
void region_take_end(struct region_take *take);

void granted_region_deinit(struct granted_region *region);

/* Behind what is said already, as far as there is room. */
void region_remark(char text[static REGION_TEXT_LEN], const char *format, ...) __attribute__((format(printf, 2, 3)));
