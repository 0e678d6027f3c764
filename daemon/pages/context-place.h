/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Where contexts are: one space each, `context:NAME` of the VM, on the memory servers that somebody names, and where
 * there are two of them, on both.
 *
 * A server tells of a space its name and its token, without opening it. So the token says what `list` has to know: it
 * is CONTEXT_TOKEN_OPEN until the context is whole, and then the time of saving in microseconds since 1970, to which
 * each later grant adds one.
 *
 * Whoever wants to read a context has itself granted its space, which ends all earlier grants: of two that resume it at
 * once, the first one fails before it has done anything.
 */

#include "daemon/memserver/control-message.h"
#include "daemon/pages/context-image.h"

#define CONTEXT_SERVERS_MAX 6
#define CONTEXT_TOKEN_OPEN 1
#define CONTEXT_NAME_MAX (NAME_LEN - sizeof("context:"))

struct context_server {
        const char *control; /* path of its control socket */
        const char *uri;     /* NBD, without an export name */
        const char *psk_file, *certificates; /* TLS; NULL: none */
        bool tls_required;                   /* other than over a unix socket */
};

struct context_servers {
        struct context_server at[CONTEXT_SERVERS_MAX];
        size_t n;
        int cancel_fd; /* -1: none */
        const char *kind;     /* of what is kept there: NULL: contexts; CONTEXT_PROGRAM: programs (program.h) */
        usec_t deadline_usec; /* without any answer over NBD; 0: half a minute, since a flush goes to two disks */
};

#define CONTEXT_PROGRAM "program"

/* Adds a memory server of a policy, which has to outlive them. -E2BIG past CONTEXT_SERVERS_MAX. */
int context_servers_add(struct context_servers *servers, const struct memory_server *server);

/* One context, and what each server says of it. */
struct context_entry {
        struct space_name name;
        struct {
                bool there;
                struct space_status status;
        } at[CONTEXT_SERVERS_MAX];
};

struct context_list {
        struct context_entry *entries; /* owned */
        size_t n;
        bool answered[CONTEXT_SERVERS_MAX];
        struct error why[CONTEXT_SERVERS_MAX]; /* a server did not */
};

/* Asks all of them; who does not answer is no failure, and noted. */
int context_list(const struct context_servers *servers, struct context_list *ret, struct error *error);
void context_list_deinit(struct context_list *list);
/* Asks all of them for the context of that name: -ENOENT, and -ENOTUNIQ where there are several. Messages name servers
 * that did not answer. The entry is of the list, which is the caller's. */
int context_find(const struct context_servers *servers, const char *name, struct context_list *ret_list,
                 const struct context_entry **ret_entry, struct error *error);

/* -EEXIST where there is one of that name, and -ENOTCONN where a server that did not answer may have it. */
int context_check_free(const struct context_servers *servers, const char *name, struct error *error);
/* -EBUSY while somebody is at work on it, unless `force`. */
int context_entry_idle(const struct context_servers *servers, const struct context_entry *entry, bool force,
                       struct error *error);
/* Drops the one of that name: errors of the two above. */
int context_drop_named(const struct context_servers *servers, const char *name, bool force, struct error *error);

/* Its name without the prefix. */
const char *context_entry_name(const struct context_entry *entry);
/* The server where it is served, or -1 where there are mirrors alone. */
int context_entry_primary(const struct context_entry *entry);
/* The highest token that a server has of it, and how many connections there are to it. */
uint64_t context_entry_token(const struct context_entry *entry);
/* Its save is under way, or was cut off, as far as its primary says: a mirror hears of the end a little later. */
bool context_entry_unfinished(const struct context_entry *entry);
/* How many servers have it as it was saved then (0: whenever), as far as they say: where it is served, and its mirror
 * when that is complete; or a mirror alone that is. */
unsigned context_entry_copies(const struct context_entry *entry, uint64_t saved_usec);
/* Whether that server says that it has all of it: as a mirror that is complete, or as its server, though another one
 * may have taken its place. */
bool context_entry_has_copy(const struct context_entry *entry, size_t server);
uint64_t context_entry_connections(const struct context_entry *entry);

struct context_place {
        const struct context_servers *servers;
        struct space_name name;
        size_t primary;
        bool at[CONTEXT_SERVERS_MAX]; /* who has it, or a copy of it */
        bool persistent;
        uint64_t token;
        struct peer *peer;
        struct context_io io;
};

/* This host, as a space's node. */
void context_host(char ret[static NAME_LEN]);
/* What the space is called that one of that name is put into, on this host. */
void context_space_name(const struct context_servers *servers, const char *owner, const char *name,
                        struct space_name *ret);
/* -EINVAL with the reason for what cannot be a name of what is kept there. */
int context_name_check(const struct context_servers *servers, const char *name, struct error *error);

/* Opens a new space at the first server, with a mirror, once it is whole, at the second where there is one. -EEXIST. */
int context_place_new(const struct context_servers *servers, const struct space_name *name, uint64_t size_bytes,
                      bool persistent, struct context_place *ret, struct error *error);
/* What was saved is complete: both have it, or -EIO. The token becomes `saved_usec`. */
int context_place_finish(struct context_place *place, uint64_t saved_usec, struct error *error);
/* Its server has it, and so has the mirror, where there is one: errors of above. */
int context_place_check(const struct context_place *place, struct error *error);
/* Takes one over that is there. Where its primary is lost, the mirror is asked for: -ESTALE where that may lack what
 * happened since, unless `force`. */
int context_place_take(const struct context_servers *servers, const struct context_entry *entry, bool force,
                       struct context_place *ret, struct error *error);
/* To be read alone, with no new grant, so that whoever saves or resumes it goes on undisturbed; where its primary is
 * lost, at a mirror that is complete, which remains one. */
int context_place_look(const struct context_servers *servers, const struct context_entry *entry,
                       struct context_place *ret, struct error *error);
/* The same at a server that has it in whatever role, which remains: for what its sums tell to be whole. */
int context_place_look_at_copy(const struct context_servers *servers, const struct context_entry *entry, size_t server,
                               struct context_place *ret, struct error *error);
/* Lets it be. */
void context_place_close(struct context_place *place);
/* Gives its pages back, at all servers. */
int context_drop(const struct context_servers *servers, const struct context_entry *entry, struct error *error);
int context_place_drop(struct context_place *place, struct error *error);
