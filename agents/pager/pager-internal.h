/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of a pager share: pager.c is its life, pager-request.c the requests, pager-run.c the thread that keeps
 * it connected and mirrored, pager-status.c what it says of itself. */

#include <pthread.h>

#include "agents/pager/channel.h"
#include "agents/pager/pager.h"
#include "agents/pager/read-ahead.h"
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
        struct read_ahead ahead; /* of pages as they were acknowledged last */
        enum pager_state state;
        struct channel *channel; /* borrowed from the thread; NULL: none */
        unsigned n_users;        /* calls on it, and what follows of them in the map */
        unsigned primary;        /* server whose space it is, from 1 as in the map; 0: there is none */
        uint64_t token;          /* of the present channel's grant, or the last one's */
        uint64_t acknowledged_token; /* of the grant under which a save was acknowledged last; 0: none was */
        uint64_t n_losses;       /* how often its pages were lost */
        bool stop;
        int n_clients;
        int n_waiting;           /* requests, for a server */
        uint64_t n_takeovers, saved_bytes, returned_bytes;
        usec_t serving_usec; /* when the present channel began, CLOCK_BOOTTIME */
        usec_t stalled_usec; /* since when there is no server; 0: there is one */
        unsigned mirror;     /* server, from 1; 0: none */
        enum copy_state mirror_state;
        unsigned wish;       /* server to move to, from 1; 0: none */
        unsigned moving_to;  /* the same, while it does */
        uint64_t n_moves;
        uint64_t capacity_bytes; /* that the servers could hold of it, as they said last; 0: they have not */
        char text[PAGER_TEXT_LEN]; /* what is wrong; "" */

        /* the thread's own */
        struct channel *current; /* owned; NULL: none */
        struct grant grant;
        usec_t answered_usec;  /* when the last channel had its last answer */
        bool stalled;          /* it ended without any for as long as the deadline */
        usec_t mirror_gone_usec; /* since when the mirror's server has not answered; 0: it has */
        unsigned vacated; /* servers, as bits, with something of the space to be dropped */
        usec_t halted_usec;  /* since when a move has made no headway, as far as it is seen; 0: it does */
        uint64_t handed_bytes; /* of a move, when it was looked at last */
        uint64_t told_token;   /* under which it serves, or is just about to: it is told before the first save */
        uint64_t moved_token;  /* of the grant that the last move ended with; 0: there was none */
        unsigned moved_mirror; /* server that had the mirror before the space moved; 0: none */
};

/* pager-request.c: wakes the thread; with the lock held. */
void pager_hurry(struct pager *pager);

/* pager-run.c */
void *pager_run(void *userdata);
/* Opens a new space at the first server that takes one. -ESTALE where the name is somebody else's now. */
int pager_open(struct pager *pager, struct error *error);
struct control_ask pager_ask(const struct pager *pager, size_t server);

/* What a server says, as recovery.h needs it. */
struct sight;
void pager_see(struct pager *pager, size_t server, struct sight *ret);
/* Takes the space, or the mirror, and goes on there. -ESTALE where the server says that the mirror may lack pages. */
int pager_take(struct pager *pager, enum recovery choice, size_t server, struct error *error);

/* pager-adopt.c: goes on with the space that an earlier pager has left. 1 where there is one, 0 where there is none. */
int pager_adopt(struct pager *pager, struct error *error);

/* pager-mirror.c: looks after the mirror, and a move; the primary is there. The server, from 1, at which it is time to
 * go on instead: the one that the space has moved to, or the mirror's, where a move came to no end; 0: none. */
unsigned pager_tend(struct pager *pager);
#define PAGER_MIRROR_PATIENCE_USEC (10 * USEC_PER_SEC) /* for another server, before it is done without */
/* Calls that can wait: a channel that breaks meanwhile ends them. */
struct control_ask pager_ask_at_leisure(const struct pager *pager, unsigned server);
/* Opens the space at a server, in place of what it has under this name, which is of an earlier grant, and has it
 * mirrored or handed over (CONTROL_MIRROR, CONTROL_HAND_OVER) there. */
int pager_open_copy(struct pager *pager, unsigned server, enum control_call call, struct error *error);

/* The server that has a copy of the primary's, known by its session; 0: none that answers. */
unsigned pager_find_copy(struct pager *pager, uint64_t session);

/* pager-move.c: as pager_tend(). */
unsigned pager_tend_move(struct pager *pager, const struct space_status *space);
/* The pager goes on, and was at `before`: what that means for a move. */
void pager_settle_move(struct pager *pager, unsigned before);
/* What the server has of the space is no whole of it: it was handed over from there, or not as far as there. */
bool pager_has_moved_from(const struct pager *pager, unsigned server);
/* Something is left of the space at that server. */
void pager_vacate(struct pager *pager, unsigned server);
bool pager_is_vacated(const struct pager *pager, unsigned server);
/* The NBD URI of a capability at a server; the caller frees it. NULL when out of memory. */
char *pager_uri(const struct pager *pager, size_t server, const char *capability);

/* pager-status.c: writes the status file. */
void pager_tell(struct pager *pager);
/* The token in the status file that is there, of an earlier pager's. 0: none. */
uint64_t pager_earlier_token(const struct pager *pager);
/* Tells of an event; without the lock. */
void pager_say(struct pager *pager, enum pager_event event, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
