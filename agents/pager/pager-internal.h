/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of a pager share: pager.c is its life, pager-request.c the requests, pager-run.c the thread that keeps
 * it connected and mirrored, pager-status.c what it says of itself. */

#include <pthread.h>

#include "agents/pager/channel.h"
#include "agents/pager/pager.h"
#include "agents/pager/recovery.h"
#include "daemon/memserver/control-ask.h"

#define PAGER_TEXT_LEN 160

struct pager {
        struct pager_options options;
        pthread_t thread;
        bool started;
        int urgent_fd; /* readable when the thread shall leave what it does */

        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct page_map map;
        enum pager_state state;
        struct channel *channel; /* borrowed from the thread; NULL: none */
        unsigned n_users;        /* calls on it, and what follows of them in the map */
        unsigned primary;        /* server whose space it is, from 1 as in the map; 0: there is none */
        uint64_t token;          /* of the present channel's grant, or the last one's */
        uint64_t acknowledged_token; /* of the grant under which a save was acknowledged last; 0: none was */
        uint64_t n_losses;       /* how often its pages were lost */
        bool stop;
        int n_clients;
        uint64_t n_takeovers, saved_bytes, returned_bytes;
        usec_t serving_usec; /* when the present channel began, CLOCK_BOOTTIME */
        usec_t stalled_usec; /* since when there is no server; 0: there is one */
        unsigned mirror;     /* server, from 1; 0: none */
        enum copy_state mirror_state;
        char text[PAGER_TEXT_LEN]; /* what is wrong; "" */

        /* the thread's own */
        struct channel *current; /* owned; NULL: none */
        struct grant grant;
        usec_t answered_usec;  /* when the last channel had its last answer */
        bool stalled;          /* it ended without any for as long as the deadline */
        usec_t mirror_gone_usec; /* since when the mirror's server has not answered; 0: it has */
};

/* pager-request.c: wakes the thread; with the lock held. */
void pager_hurry(struct pager *pager);

/* pager-run.c */
void *pager_run(void *userdata);
/* Opens a new space at the first server that takes one. -ESTALE where the name is somebody else's now. */
int pager_open(struct pager *pager, struct error *error);
struct control_ask pager_ask(const struct pager *pager, size_t server);

/* pager-mirror.c: looks after the mirror; the primary is there. */
void pager_tend_mirror(struct pager *pager);
/* The NBD URI of a capability at a server; the caller frees it. NULL when out of memory. */
char *pager_uri(const struct pager *pager, size_t server, const char *capability);

/* pager-status.c: writes the status file. */
void pager_tell(struct pager *pager);
/* Tells of an event; without the lock. */
void pager_say(struct pager *pager, enum pager_event event, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
