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
#include "daemon/memserver/epoch.h"
#include "daemon/memserver/gate.h"
#include "daemon/memserver/keeper.h"
#include "daemon/memserver/page-store.h"
#include "daemon/memserver/range.h"
#include "daemon/memserver/report.h"
#include "daemon/memserver/space-name.h"

#define CAPABILITY_LEN 65 /* 256 random bits in hexadecimal, and a NUL */
#define SPACE_CONNECTIONS_MAX 64

struct copy;
struct persist_file;

enum space_role {
        SPACE_PRIMARY, /* serves its client */
        SPACE_MIRROR,  /* takes what the primary forwards (I: the mirror does not talk to the client) */
        SPACE_ROLE_MAX,
        SPACE_ROLE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(space_role); /* "primary", "mirror" */

#define EPOCH_WRITER_LEN 96

/* What there is of epochs. */
struct space_epochs {
        pthread_mutex_t lock;  /* held inside the gate, as long as something is staged or applied */
        struct epoch *staged;  /* owned; NULL: nobody has begun one */
        uint64_t receiving;    /* of a mirror: number of the one that its primary stages; 0: none */
        pthread_mutex_t writer_lock;
        const void *writer;    /* of a primary: the connection that stages. Compared only; NULL: none */
        char writer_name[EPOCH_WRITER_LEN];
        pthread_rwlock_t seen; /* held by readers, and by saves that take no range; written while one is applied */
        _Atomic uint64_t number;       /* of the last one applied, counted by the primary from 1; 0: none */
        _Atomic usec_t applied_usec;   /* when that was; 0: not here */
        _Atomic uint64_t staged_bytes;
        bool on_its_way;       /* a part of it is on disk */
        uint64_t put_page;     /* up to which page */
};

struct space {
        struct space_name name;
        struct client *client; /* holds a reference */
        struct page_space *pages;
        uint64_t limit_pages; /* 0: none */
        _Atomic unsigned n_references;
        _Atomic unsigned n_connections;

        struct persist_file *file; /* owned; NULL: not on disk */
        _Atomic uint64_t torn_begin, torn_end; /* bytes of the file that may not be as here; 0: none. Changed with the
                                                  epochs' lock held, or the gate shut */
        _Atomic bool restored; /* a mirror: brought back from disk, by a server that does not know its primary */
        _Atomic bool spoilt;   /* a mirror: a save was refused, and its page is not what the primary has */
        _Atomic bool replaced; /* another server has become the primary */
        struct ranges ranges;  /* being saved or handed over, where there is a copy or a file */

        struct report report;
        _Atomic uint64_t saved_bytes, returned_bytes; /* of a primary, metered since it was opened here */

        struct gate admin; /* shut by who gives it a copy or takes one away; nobody is inside */
        struct gate gate;
        struct space_epochs epochs;
        /* Changed while the gate is shut, so that whoever is inside may read them. */
        pthread_mutex_t told; /* and held where role, copies and keeper change, for who is not inside and must not wait
                                 for who is: the control socket tells of a space that hangs, too */
        enum space_role role;
        _Atomic uint64_t token; /* of the present grant; only rises */
        uint64_t grants; /* how many there were; a connection belongs to one */
        bool dropped;
        struct copy *mirror, *move; /* owned; NULL: none */
        struct keeper keeper;       /* of a mirror here */
        char capability[CAPABILITY_LEN]; /* and with the server's lock held. Never logged */
        char look[CAPABILITY_LEN];       /* the same, for reading alone; "": nobody has asked for one */
};

/* -ENOMEM, -EMFILE, -EINVAL for a size that is no multiple of PAGE_BYTES. `limit_pages` 0: none. */
int space_new(const struct space_name *name, struct client *client, struct page_store *store, uint64_t size_bytes,
              uint64_t limit_pages, struct space **ret);
struct space *space_ref(struct space *space);
/* Takes a reference away; the last one ends the space and its pages. Returns NULL. */
struct space *space_unref(struct space *space);

/* To be called around each use of the space by a connection of grant number `grant`. -EPERM where there has been
 * another grant since, or another server has become the primary, -ESHUTDOWN where the space was dropped: it is not
 * entered then. */
int space_enter(struct space *space, uint64_t grant);
void space_leave(struct space *space);

/* What a connection sees: a mirror has more, for its primary's labels, epochs and bundles. */
uint64_t space_size(const struct space *space);

/* What became of a save, inside; returns it. A mirror that refuses one, or cannot keep it, lacks it: its primary goes
 * on without it, maybe at once, so it does not stand in, until a new session begins. */
static inline int space_saved(struct space *space, int r) {
        if (r < 0 && space->role == SPACE_MIRROR)
                space->spoilt = true;
        return r;
}

/* The client's requests, inside. Errors as in page-store.h and copy.h. */
int space_read(struct space *space, void *buffer, uint64_t length, uint64_t offset);
int space_write(struct space *space, const void *buffer, uint64_t length, uint64_t offset);
/* A mirror: the saves of a bundle, one after the other. Also -EBADMSG for what is no bundle. */
int space_write_bundle(struct space *space, const void *bundle, uint64_t length);
int space_trim(struct space *space, uint64_t length, uint64_t offset);
int space_flush(struct space *space);
int space_extent(struct space *space, uint64_t length, uint64_t offset, uint64_t *ret_length);
/* A mirror has got a label over a connection of grant number `*grant`, not inside. Where it is the first one of a new
 * connection, older ones are refused from then on, and where it begins a session, the pages go. -EPERM for what is no
 * mirror any more, -EINVAL for a label that does not fit. */
int space_hear_label(struct space *space, _Atomic uint64_t *grant, const void *buffer);
/* Whether saves take their range (range.h), since they reach more than the page store. */
bool space_is_in_order(const struct space *space);
/* space-epoch.c: connection `writer`, called `name`, is the one that stages saves here from now on (epoch.h). Inside.
 * -EBUSY where there is another one or the space is being handed over, -EPERM of a mirror, and as epoch_new(). */
int space_epoch_begin(struct space *space, const void *writer, const char *name);
/* Who that is; false where there is nobody. */
bool space_epoch_writer(struct space *space, char ret_name[static EPOCH_WRITER_LEN]);
/* The connection has ended, and what it has staged is forgotten. Not inside; no matter which grant it had. */
void space_epoch_end(struct space *space, const void *writer);
/* The writer's requests, inside: the first two stage, the last one applies all that is staged, here and at the mirror,
 * or nothing of it. -EPERM where another server has become the primary, -EIO where what was staged cannot be read. */
int space_epoch_write(struct space *space, const void *buffer, uint64_t length, uint64_t offset);
int space_epoch_trim(struct space *space, uint64_t length, uint64_t offset);
int space_epoch_flush(struct space *space);
/* With the gate shut: whoever stages here does so no more. */
void space_epoch_forget(struct space *space);
/* A mirror's part behind its label: where its primary stages, and a page that begins and ends an epoch. */
uint64_t space_staging_offset(const struct space *space);
uint64_t space_turn_offset(const struct space *space);
int space_hear_turn(struct space *space, const void *buffer);

/* space-mend.c: of a space with a mirror, and with the range of all pages that are touched held. As page_space_read(),
 * and what cannot be read here is read at the mirror: -EIO where that does not have it either, -EPERM where another
 * server has become the primary. */
int space_read_mended(struct space *space, void *buffer, uint64_t length, uint64_t offset);
/* Pages that cannot be read here are written anew as the mirror has them: errors as above. */
int space_mend(struct space *space, uint64_t length, uint64_t offset);

/* space-disk.c: what is staged, of that span, goes to the file too, if there is one. Where that fails the file is made
 * as it was, at once or at the next flush. With the epochs' lock and the range of space_disk_span() held: the span, and
 * what is torn. */
int space_disk_put(struct space *space, uint64_t offset, uint64_t length);
/* A first, or further, part of it, of EPOCH_PART_BYTES. */
int space_disk_put_part(struct space *space, uint64_t offset, uint64_t length);
void space_disk_span(const struct space *space, uint64_t *offset, uint64_t *length);
/* It was put there, and then refused elsewhere. */
void space_disk_undo(struct space *space, uint64_t offset, uint64_t length);
/* All that was saved is on disk. Inside. */
int space_disk_flush(struct space *space);

/* What is to be said of the space on disk: whose it is, and in which state. */
void space_make_label(const struct space *space, enum label_state state, struct label *ret);
/* The label page of a mirror: whose it is. */
void space_read_label(struct space *space, void *buffer);
