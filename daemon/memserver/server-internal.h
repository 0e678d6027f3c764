/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of a server share: server.c has its spaces and who may use them, server-copy.c their copies,
 * server-restore.c those that were on disk. */

#include <inttypes.h>

#include "daemon/memserver/copy.h"
#include "daemon/memserver/server.h"

struct server {
        struct page_store *store;
        struct spill *spill;
        const char *persist_path;
        struct events *events;
        uint64_t client_quota_pages;
        struct server_peer peer;

        pthread_mutex_t lock;
        struct space *spaces[SERVER_SPACES_MAX]; /* references */
        size_t n_spaces;
        struct client *clients[SERVER_CLIENTS_MAX]; /* references */
        size_t n_clients;
        bool draining;
        uint64_t identity;
};

#define NAME_FORMAT "%s/%s/%s"
#define NAME_ARGS(name) (name)->node, (name)->owner, (name)->space

/* Shuts the gate of the space of that name. server_reopen_space() ends that, and the reference. -ENOENT, -ECANCELED. */
int server_shut_space(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                      struct space **ret, struct error *error);
/* What is said where an asker has gone, to nobody but a log: returns -ECANCELED. */
int server_asker_gone(struct error *error);
void server_reopen_space(struct space *space);
/* With the gate shut: a new grant, and its capability. -ESTALE where the token is not above the present one. */
int server_new_grant(struct server *server, struct space *space, uint64_t token,
                     char ret_capability[static CAPABILITY_LEN], struct error *error);

/* With the lock held. Of server_open()'s errors, without the name. */
int server_add_space(struct server *server, const struct server_open *open, const char *capability,
                     struct space **ret, struct error *error);

/* server-restore.c: brings back what is on disk, before anything is served. */
int server_restore(struct server *server, struct error *error);

/* server-copy.c: ends what copies the space has. With the gate open. */
void server_end_copies(struct space *space);
