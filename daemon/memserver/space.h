/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A space: one client's address space of pages, here in the page store, with who may use it.
 *
 * It is opened by an unguessable capability that was made for this node and owner, and each use is under the grant
 * that the connection was opened with. A new grant raises the token, makes a new capability and ends what was under
 * way before it returns: a write of an older grant that arrives later is refused.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/base/enum-table.h"
#include "daemon/base/error.h"
#include "daemon/memserver/client.h"
#include "daemon/memserver/gate.h"
#include "daemon/memserver/page-store.h"

#define CAPABILITY_LEN 65 /* 256 random bits in hexadecimal, and a NUL */
#define SPACE_CONNECTIONS_MAX 64

struct space_name {
        char node[NAME_LEN];  /* host of the client */
        char owner[NAME_LEN]; /* VM or process */
        char space[NAME_LEN]; /* which of its spaces */
};

enum space_role {
        SPACE_PRIMARY, /* serves its client */
        SPACE_MIRROR,  /* takes what the primary forwards (I: the mirror does not talk to the client) */
        SPACE_ROLE_MAX,
        SPACE_ROLE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(space_role); /* "primary", "mirror" */

struct space {
        struct space_name name;
        struct client *client; /* holds a reference */
        struct page_space *pages;
        uint64_t limit_pages; /* 0: none */
        _Atomic unsigned n_references;
        _Atomic unsigned n_connections;

        struct gate gate;
        /* Changed while the gate is shut, so that whoever is inside may read them. */
        enum space_role role;
        uint64_t token;  /* of the present grant; only rises */
        uint64_t grants; /* how many there were; a connection belongs to one */
        bool dropped;
        char capability[CAPABILITY_LEN]; /* and with the server's lock held. Never logged */
};

/* -ENOMEM, -EMFILE, -EINVAL for a size that is no multiple of PAGE_BYTES. `limit_pages` 0: none. */
int space_new(const struct space_name *name, struct client *client, struct page_store *store, uint64_t size_bytes,
              uint64_t limit_pages, struct space **ret);
struct space *space_ref(struct space *space);
/* Takes a reference away; the last one ends the space and its pages. Returns NULL. */
struct space *space_unref(struct space *space);

bool space_name_equal(const struct space_name *a, const struct space_name *b);

/* To be called around each use of the space by a connection of grant number `grant`. -EPERM where there has been
 * another grant since, -ESHUTDOWN where the space was dropped: it is not entered then. */
int space_enter(struct space *space, uint64_t grant);
void space_leave(struct space *space);

/* The client's requests, inside. Errors as in page-store.h. */
int space_read(struct space *space, void *buffer, uint64_t length, uint64_t offset);
int space_write(struct space *space, const void *buffer, uint64_t length, uint64_t offset);
int space_trim(struct space *space, uint64_t length, uint64_t offset);
int space_extent(struct space *space, uint64_t length, uint64_t offset, uint64_t *ret_length);
