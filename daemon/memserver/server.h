/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A memory server (T, I): its page store, the spaces in it by name and by capability, and their clients. All functions
 * may be called from many threads. */

#include "daemon/memserver/event.h"
#include "daemon/memserver/space.h"

#define SERVER_SPACES_MAX 1024
#define SERVER_CLIENTS_MAX 2048 /* those without a space are forgotten first, with their meters */

struct server;

/* How other servers are spoken to. The strings outlive the server. */
struct server_peer {
        const char *psk_file, *certificates; /* TLS; NULL: none */
        bool tls_required;                   /* other than over unix sockets */
};

struct server_options {
        struct server_peer peer;
        uint64_t memory_bytes;
        uint64_t spill_bytes; /* 0: no spill file */
        const char *spill_path;
        const char *persist_path; /* directory of spaces on disk; NULL: there are none. Outlives the server */
        uint64_t client_quota_bytes; /* of each client, over all its spaces; 0: none */
        void (*tell)(const struct event *event); /* of each event; may be NULL */
};

struct server_open {
        struct space_name name;
        enum space_role role;
        uint64_t size_bytes;
        uint64_t quota_bytes; /* 0: none */
        uint64_t token;
        bool persist; /* on disk too */
};

struct server_load {
        struct page_store_load pages;
        size_t n_spaces, n_clients;
        bool draining;
        uint64_t identity; /* random, of this run of the server; not 0 */
};

/* Spaces that are found on disk are brought back as mirrors, which only force promotes: nobody here knows what happened
 * meanwhile. Where one cannot be, the call succeeds, and `error` says why. */
int server_new(const struct server_options *options, struct server **ret, struct error *error);
/* No connection is open any more. */
struct server *server_free(struct server *server);

/* Opens a new, empty space. -EEXIST where there is one of that name, -ESHUTDOWN while the server is being drained,
 * -EMFILE past a limit, -EINVAL. */
int server_open(struct server *server, const struct server_open *open, char ret_capability[static CAPABILITY_LEN],
                struct error *error);
/* What follows waits for requests that are under way, for as long as the asker is there (gate.h): -ECANCELED, and
 * nothing has changed, once he has gone. */

/* The space goes to whoever gets the new capability. Returns when nothing of an older grant is under way any more.
 * -ENOENT, -ESTALE where `token` is not above that of the space. */
int server_grant(struct server *server, const struct gate_asker *asker, const struct space_name *name, uint64_t token,
                 char ret_capability[static CAPABILITY_LEN], struct error *error);
/* A capability for reading alone, for as long as the present grant lasts, which is not ended. -ENOENT, -EPERM unless
 * the space has that role: of a mirror, who reads has to know by the contents whether they are whole. */
int server_look(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                enum space_role role, char ret_capability[static CAPABILITY_LEN], struct error *error);
/* Ends the space and gives its pages back. -ENOENT, -ESTALE where `token` is below that of the space: the order is
 * of a grant that has passed. */
int server_drop(struct server *server, const struct gate_asker *asker, const struct space_name *name, uint64_t token,
                struct error *error);

#define SERVER_DEADLINE_MIN_USEC (20 * USEC_PER_MSEC)

struct server_copy {
        const char *uri; /* of a space that was opened as a mirror at another server, with its capability */
        usec_t deadline_usec;
        uint64_t rate_bytes; /* a second, of filling; 0: as fast as it can */
        bool relaxed;        /* a mirror: saves are acknowledged before it has them */
        uint64_t token;      /* -ESTALE where the space was granted under a higher one; 0: whatever its grant */
};

/* Gives the space a mirror, which is filled while its client works. -ENOENT, -EEXIST where it has one, -EBUSY while it
 * is being handed over, -EPERM for a space that is a mirror itself. Where the mirror cannot be reached, it is tried
 * again. */
int server_mirror(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                  const struct server_copy *options, struct error *error);
/* Gives its mirror up. -ENOENT where there is none, -ESTALE as server_copy.token says. */
int server_unmirror(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                    uint64_t token, struct error *error);
/* Hands the space over, page by page, while its client works. Until the other server is made the primary, clients are
 * served here out of its pages. -EALREADY while it is being handed over, -EBUSY while its mirror is being filled, and
 * as above. */
int server_hand_over(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                     const struct server_copy *options, struct error *error);
/* Ends a hand-over of which nothing has gone to the other server yet. -EBUSY where something may have, -ENOENT where
 * there is none. */
int server_stay(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                struct error *error);
/* A mirror becomes the primary, for whoever gets the new capability; nothing of its old primary's is under way any
 * more, or taken later. `lost_usec`: for how long the client has had no answer from the old primary. -ESTALE where
 * pages that were acknowledged could be missing, unless `force`; and where the token is not above the old one.
 * -EALREADY for a primary. */
int server_promote(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                   uint64_t token, usec_t lost_usec, bool force, char ret_capability[static CAPABILITY_LEN],
                   struct error *error);

/* A connection to the space that the capability opens, and whether it is for reading alone. -EACCES where it opens
 * none, -EMFILE past SPACE_CONNECTIONS_MAX. To be ended with server_disconnect(). */
int server_connect(struct server *server, const char *capability, struct space **ret, uint64_t *ret_grant,
                   bool *ret_looks);
void server_disconnect(struct space *space);

/* A reference, or NULL. */
struct space *server_find(struct server *server, const struct space_name *name);
/* References to all spaces, or clients, in the order of their opening; the caller frees the array. Returns how many, or
 * -ENOMEM. */
int server_spaces(struct server *server, struct space ***ret);
int server_clients(struct server *server, struct client ***ret);

void server_load(struct server *server, struct server_load *ret);
/* While a server is being drained, no space is opened in it. */
void server_drain(struct server *server, bool draining);
struct events *server_events(struct server *server);
