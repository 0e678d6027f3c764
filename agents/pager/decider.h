/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Asks how much room servers have (placement.h): all of them by broadcast, or an arbitrator, which also picks one. The
 * client's own servers are known in the answers by their identity, which their control sockets tell; strangers' are
 * passed over. Where there is no discovery, or the arbitrator is silent, each server is asked at its control socket.
 *
 * One thread's. Takes as long as an answer may take.
 */

#include "agents/pager/pager.h"
#include "agents/pager/placement.h"

struct decider;

struct decider_options {
        const struct pager_options *pager; /* servers, name and deadline; outlives the decider */
        enum placement_decider decided;
        const char *address;  /* ADDRESS:PORT, of a broadcast or the arbitrator; NULL: no discovery */
        const char *key_file;
        void (*tell)(const char *text); /* what was refused, the first time; may be NULL */
};

int decider_new(const struct decider_options *options, struct decider **ret, struct error *error);
struct decider *decider_free(struct decider *decider);
/* The client has so many pages, at this holder; 0: at several. */
void decider_ask(struct decider *decider, uint64_t held_pages, unsigned holder, struct placement *ret);
