/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A connection to a space of another memory server. Many threads may call at once, and each waits for its own answer;
 * where none comes for anybody within the deadline while somebody waits, the connection is broken for good, and all
 * calls end with -ENOTCONN. What the other server itself refuses is another error.
 */

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/error.h"
#include "daemon/base/units.h"

struct peer;

/* The URI of a space at a server's `uri`, in which the capability is the path: nbds://host:10809/CAPABILITY,
 * nbd+unix:///CAPABILITY?socket=... The caller frees it, and it is never logged. NULL when out of memory. */
char *peer_uri(const char *uri, const char *capability);

struct peer_options {
        const char *uri;           /* nbd:, nbds:, nbd+unix: ... with the capability; never logged */
        usec_t deadline_usec;      /* for an answer */
        usec_t connect_usec;       /* for connecting */
        const char *psk_file;      /* TLS pre-shared keys; NULL: none */
        const char *certificates;  /* directory; NULL: none */
        bool tls_required;         /* for what is not a unix socket */
        bool extents;              /* PEER_EXTENTS can be asked: costs every answer, see set_options() */
};

/* Waits until the connection is there. -EPERM for a URI without TLS where it is required, and libnbd's errors; messages
 * do not hold the capability. */
int peer_new(const struct peer_options *options, struct peer **ret, struct error *error);
/* Calls under way end with -ENOTCONN before this returns; no new ones may come. */
struct peer *peer_free(struct peer *peer);
uint64_t peer_size(struct peer *peer);
/* What the server said when it was connected to. */
bool peer_read_only(struct peer *peer);

/* A longer call goes over in such pieces, so that the deadline is one of progress. */
#define PEER_PIECE_BYTES (256 * KIB)

enum peer_kind { PEER_WRITE, PEER_READ, PEER_ZERO, PEER_FLUSH, PEER_EXTENTS };

/* The buffer of PEER_EXTENTS, over a connection that was made for it, of a range of at most a GiB: where the server has
 * pages. It may tell of the beginning of the range alone. */
struct peer_extents {
        void (*found)(void *userdata, uint64_t offset, uint64_t length); /* from whatever thread, not for long */
        void *userdata;
        uint64_t told_to; /* set before the call to its offset */
};

/* A call that is waited for by `done`, from whatever thread, instead of by the caller. Zero-initialise, fill in `done`;
 * it stays where it is, and the buffer too, until then. */
struct peer_call {
        void (*done)(struct peer_call *call);
        _Atomic int result; /* 0, or a negative errno */
        _Atomic unsigned left;
        sem_t answered;
};

/* `buffer` is not used for PEER_ZERO, and neither is anything else for PEER_FLUSH. 0, -ENOTCONN where the connection is
 * broken, or what the server answered. */
int peer_call(struct peer *peer, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset);
void peer_submit(struct peer *peer, struct peer_call *call, enum peer_kind kind, void *buffer, uint64_t length,
                 uint64_t offset);
/* Ends what is under way. */
void peer_break(struct peer *peer);
bool peer_broken(struct peer *peer);
