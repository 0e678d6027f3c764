/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The arbitrator (T: a third machine that knows all servers and clients): servers announce themselves to it, clients
 * ask it, and it chooses. What it hands out it remembers until the server's next announcement shows it, so that many
 * clients that ask at once are not all sent to one server. It has nothing that cannot be had again: after a restart it
 * knows all within a second.
 *
 * Pure.
 */

#include "agents/pager/placement.h"
#include "daemon/pages/discovery-message.h"

#define ARBITRATOR_CLIENTS_MAX 1024
#define ARBITRATOR_SILENT_USEC (5 * USEC_PER_SEC) /* after which a server is not named any more */
#define ARBITRATOR_SHARE_PAGES 4096 /* what a client that was sent to a server is taken to save before it is seen */

struct arbitrator_server {
        struct discovery_entry entry;
        usec_t heard_usec; /* a clock that does not jump */
        uint64_t handed_pages;
};

struct arbitrator_client {
        struct space_name name;
        uint64_t held_pages, holder;
        usec_t asked_usec; /* 0: none */
};

struct arbitrator {
        struct arbitrator_server servers[DISCOVERY_ENTRIES_MAX];
        size_t n_servers;
        struct arbitrator_client clients[ARBITRATOR_CLIENTS_MAX]; /* in place of who has been silent for longest */
};

/* A server has announced itself. -EMFILE where there are as many as there is room for, and all are alive. */
int arbitrator_hear(struct arbitrator *arbitrator, const struct discovery_message *announcement, usec_t now_usec);
/* A client has asked: all servers that are alive, and, of those that it can reach, the one for its next pages. */
void arbitrator_answer(struct arbitrator *arbitrator, const struct discovery_message *ask, usec_t now_usec,
                       struct discovery_message *ret);
