/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the servers of a shared region say of it, while it is taken (region-take.h). Blocks; for a thread. */

#include <pthread.h>

#include "daemon/memserver/control-ask.h"
#include "daemon/pages/region-take.h"

/* What one of them says. */
struct look {
        const struct places *places;
        size_t server;
        pthread_t thread;
        int r; /* 1: it is there, 0: it is not, or why that is not known */
        struct space_status status;
        struct error error;
};

/* How the right is taken there. */
enum way { WAY_NONE, WAY_GRANT, WAY_PROMOTE, WAY_FORCE, WAY_OPEN };

/* A region at its servers. */
struct places {
        struct region_take *take;
        usec_t until_usec;
        usec_t look_usec; /* a look takes no longer; 0: no longer than anything else that is asked */
        struct space_name name;
        struct look looks[REGION_SERVERS_MAX];
        enum way way;
        struct error error_here, *error;
};

void places_init(struct places *p, struct region_take *take);
void places_deinit(struct places *p);

/* How to ask that server, about that space or, with NULL, about none. A silent one leaves time for the other. */
struct control_ask places_ask(const struct places *p, const struct space_name *name, size_t at);
/* Asks all at once, so that a silent one takes no time from the other. */
void places_look(struct places *p);
/* Once more. */
void places_look_again(struct places *p);

const char *places_server(const struct places *p, size_t i);
bool take_has_mirror(const struct region_take *take);
/* Also of a server that there is none of. A primary that knows that the other took its place is none. */
bool places_have(const struct places *p, size_t i, enum space_role role);
/* Granted under the token on record. A higher one is of an attempt after which nothing was started. */
bool places_on_record(const struct places *p, size_t i);

/* The primary that was granted last; one that knows that the other was made the primary; one that cannot be asked: its
 * index, or -1. */
int places_primary(const struct places *p);
int places_replaced(const struct places *p);
int places_silent(const struct places *p);
