/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of a spread share: spread.c is its life, spread-request.c the requests, spread-run.c its threads,
 * spread-status.c what it says of itself. */

#include <pthread.h>

#include "agents/pager/decider.h"
#include "agents/pager/leftover.h"
#include "agents/pager/spread.h"

/* One space: that at one holder, and the thread that trims there what has gone elsewhere. */
struct share {
        struct spread *spread;
        unsigned holder;
        struct pager *pager;
        char *status_path; /* owned */
        pthread_t sweeper;
        bool started;
        int swept; /* result of its last trim; what it has left over does not go away while this is an error */
};

struct spread {
        struct spread_options options;
        struct share shares[PAGE_HOLDERS_MAX];
        size_t n_shares; /* saved fixed, 1, and no table */

        pthread_mutex_t lock;
        pthread_cond_t changed;  /* a request has ended, or a leftover has gone */
        pthread_cond_t leftover; /* there is one, or the threads shall end */
        pthread_cond_t hurry;    /* the thread that asks shall do so now, or end */
        struct page_map map;     /* by share */
        struct leftovers leftovers;
        struct decider *decider; /* the asking thread's */
        struct placement servers;   /* what they have answered; the same thread's */
        usec_t quiet_until_usec;    /* until then no space moves: answers do not show the last move yet */
        struct placement placement; /* the same, by share: where its primary is now */
        bool stop;
        pthread_t thread;
        bool started;
        uint64_t n_saved; /* pages, since servers were asked last, or thereabouts */
        uint64_t n_moved; /* pages that were saved elsewhere than they had been */
};

/* spread-run.c: asks the servers, once now and then by a thread, which also tells how all is. */
void spread_ask(struct spread *spread);
int spread_start(struct spread *spread);
void spread_end(struct spread *spread);

/* The server that a share's pager calls its `server`, both from 1, and the other way round. */
unsigned spread_server_of(const struct share *share, unsigned server);

/* spread-status.c */
void spread_tell(struct spread *spread);
