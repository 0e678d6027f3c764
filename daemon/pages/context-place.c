/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-place.h"

#include <poll.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/peer.h"
#include "daemon/pages/context-internal.h"

#define DEADLINE_USEC (30 * USEC_PER_SEC)
#define CONNECT_USEC (5 * USEC_PER_SEC)
#define MIRROR_DEADLINE_USEC (5 * USEC_PER_SEC)
#define MIRROR_PATIENCE_USEC (30 * USEC_PER_SEC) /* until an empty one is complete */
#define MIRROR_LOOK_MSEC 20
#define MIRROR_RATE_BYTES GIB

int context_servers_add(struct context_servers *servers, const struct memory_server *server) {
        if (servers->n == CONTEXT_SERVERS_MAX)
                return -E2BIG;
        servers->at[servers->n++] = (struct context_server) {
                .control = server->control,
                .uri = server->uri,
                .psk_file = server->psk,
                .certificates = server->certificates,
                .tls_required = server->unencrypted != SAID_YES,
        };
        return 0;
}

int context_name_check(const struct context_servers *servers, const char *name, struct error *error) {
        if (!space_word_is_valid(name) || strlen(name) > CONTEXT_NAME_MAX)
                return error_set(error, -EINVAL, "a %s's name is of letters, digits and _.:@+-, begins with a "
                                 "letter or digit and has at most %zu", context_kind(servers), CONTEXT_NAME_MAX);
        return 0;
}

void context_host(char ret[static NAME_LEN]) {
        char name[NAME_LEN] = "";

        if (gethostname(name, sizeof(name) - 1) < 0 || !space_word_is_valid(name))
                strcpy(name, "localhost");
        memcpy(ret, name, sizeof(name));
}

void context_space_name(const struct context_servers *servers, const char *owner, const char *name,
                        struct space_name *ret) {
        *ret = (struct space_name) { 0 };
        context_host(ret->node);
        snprintf(ret->owner, sizeof(ret->owner), "%s", owner);
        snprintf(ret->space, sizeof(ret->space), "%s:%s", context_kind(servers), name);
}

static int io_read(void *userdata, void *buffer, uint64_t length, uint64_t offset) {
        return peer_call(userdata, PEER_READ, buffer, length, offset);
}

static int io_write(void *userdata, const void *buffer, uint64_t length, uint64_t offset) {
        return peer_call(userdata, PEER_WRITE, (void *) buffer, length, offset);
}

static int io_flush(void *userdata) {
        return peer_call(userdata, PEER_FLUSH, NULL, 0, 0);
}

static int connect_place(struct context_place *place, const char *capability, struct error *error) {
        const struct context_server *server = &place->servers->at[place->primary];
        char *uri = peer_uri(server->uri, capability);
        struct peer_options options = {
                .uri = uri,
                .deadline_usec = place->servers->deadline_usec ? place->servers->deadline_usec : DEADLINE_USEC,
                .connect_usec = CONNECT_USEC,
                .psk_file = server->psk_file,
                .certificates = server->certificates,
                .tls_required = server->tls_required,
        };
        int r = uri ? peer_new(&options, &place->peer, error) : error_set(error, -ENOMEM, "out of memory");

        if (uri)
                explicit_bzero(uri, strlen(uri));
        free(uri);
        if (r < 0) {
                error_prefix(error, "the memory server of %s cannot be reached over NBD",
                             server->control);
                return r;
        }
        place->io = (struct context_io) { io_read, io_write, io_flush, place->peer, peer_size(place->peer) };
        return 0;
}

static int open_space(const struct context_place *place, size_t server, enum space_role role, uint64_t size_bytes,
                      char ret_capability[static CAPABILITY_LEN], struct error *error) {
        const struct control_ask ask = context_ask(place->servers, server, &place->name);

        if (place->persistent)
                return control_ask_open_persistent(&ask, role, size_bytes, CONTEXT_TOKEN_OPEN, ret_capability, error);
        return control_ask_open(&ask, role, size_bytes, CONTEXT_TOKEN_OPEN, ret_capability, error);
}

/* 0 once both have all. */
static int wait_mirror(const struct context_place *place, usec_t patience_usec, struct error *error) {
        const struct control_ask ask = context_ask(place->servers, place->primary, &place->name);
        usec_t until = clock_usec(CLOCK_BOOTTIME) + patience_usec;

        for (;;) {
                struct space_status status;
                int r = control_ask_space(&ask, &status, error);

                if (r < 0)
                        return r;
                if (r == 0)
                        return error_set(error, -ENOENT, "%s: the space has been dropped by somebody", ask.path);
                if (status.mirror == COPY_COMPLETE)
                        return 0;
                if (clock_usec(CLOCK_BOOTTIME) >= until)
                        return error_set(error, -EIO, "the copy at %s is not there: it is %s%s%s",
                                         place->servers->at[place->primary + 1].control,
                                         copy_state_to_string((enum copy_state) status.mirror),
                                         *status.text ? ", " : "", status.text);
                if (poll(&(struct pollfd) { .fd = ask.cancel_fd, .events = POLLIN }, 1, MIRROR_LOOK_MSEC) > 0)
                        return error_set(error, -ECANCELED, "it was given up");
        }
}

static int make_mirror(struct context_place *place, uint64_t size_bytes, struct error *error) {
        const struct control_ask ask = context_ask(place->servers, 0, &place->name);
        char capability[CAPABILITY_LEN];
        char *uri;
        int r = open_space(place, 1, SPACE_MIRROR, size_bytes, capability, error);

        if (r < 0)
                return r;
        place->at[1] = true;
        uri = peer_uri(place->servers->at[1].uri, capability);
        r = uri ? control_ask_copy(&ask, CONTROL_MIRROR, uri, MIRROR_DEADLINE_USEC, MIRROR_RATE_BYTES, error)
                : error_set(error, -ENOMEM, "out of memory");
        if (uri)
                explicit_bzero(uri, strlen(uri));
        free(uri);
        explicit_bzero(capability, sizeof(capability));
        return r < 0 ? r : wait_mirror(place, MIRROR_PATIENCE_USEC, error);
}

int context_place_new(const struct context_servers *servers, const struct space_name *name, uint64_t size_bytes,
                      bool persistent, struct context_place *ret, struct error *error) {
        struct context_place place = { .servers = servers, .name = *name, .persistent = persistent,
                                       .token = CONTEXT_TOKEN_OPEN };
        char capability[CAPABILITY_LEN];
        int r = open_space(&place, 0, SPACE_PRIMARY, size_bytes, capability, error);

        if (r < 0)
                return r;
        place.at[0] = true;
        r = connect_place(&place, capability, error);
        explicit_bzero(capability, sizeof(capability));
        if (r == 0 && servers->n > 1)
                r = make_mirror(&place, size_bytes, error);
        if (r < 0) {
                (void) context_place_drop(&place, NULL);
                return r;
        }
        *ret = place;
        return 0;
}

int context_place_check(const struct context_place *place, struct error *error) {
        return place->at[1] ? wait_mirror(place, 0, error) : 0;
}

int context_place_finish(struct context_place *place, uint64_t saved_usec, struct error *error) {
        const struct control_ask ask = context_ask(place->servers, place->primary, &place->name);
        char capability[CAPABILITY_LEN];
        int r = context_place_check(place, error);

        if (r < 0)
                return r;
        place->token = saved_usec; /* also where no answer comes: it may have been granted */
        r = control_ask_grant(&ask, saved_usec, capability, error);
        if (r < 0)
                return r;
        place->peer = peer_free(place->peer);
        r = connect_place(place, capability, error);
        explicit_bzero(capability, sizeof(capability));
        return r;
}

static int promote(const struct context_servers *servers, size_t server, struct context_place *place, bool force,
                   char ret_capability[static CAPABILITY_LEN], struct error *error) {
        const struct control_ask ask = context_ask(servers, server, &place->name);
        int r = force ? control_ask_promote_forced(&ask, place->token, ret_capability, error)
                      : control_ask_promote(&ask, place->token, 0, ret_capability, error);

        place->primary = server;
        if (r == -ESTALE) {
                error_prefix(error, "the server that has served it is gone, and the copy here may be older: somebody "
                             "may have resumed it meanwhile. If you know that it runs nowhere, say so by --force");
        }
        return r;
}

int context_place_take(const struct context_servers *servers, const struct context_entry *entry, bool force,
                       struct context_place *ret, struct error *error) {
        struct context_place place = { .servers = servers, .name = entry->name,
                                       .token = context_entry_token(entry) + 1 };
        int primary = context_entry_primary(entry), r = -ENOENT;
        char capability[CAPABILITY_LEN];

        for (size_t i = 0; i < servers->n; i++)
                place.at[i] = entry->at[i].there;
        if (primary >= 0) {
                const struct control_ask ask = context_ask(servers, (size_t) primary, &place.name);

                place.primary = (size_t) primary;
                r = control_ask_grant(&ask, place.token, capability, error);
        }
        for (size_t i = 0; i < servers->n && primary < 0; i++)
                if (entry->at[i].there) {
                        r = promote(servers, i, &place, force, capability, error);
                        primary = r == 0 ? (int) i : -1;
                }
        if (r == 0) {
                r = connect_place(&place, capability, error);
                explicit_bzero(capability, sizeof(capability));
        }
        if (r == 0)
                *ret = place;
        return r;
}

static int look_at(const struct context_servers *servers, size_t server, const struct space_name *name,
                   enum space_role role, struct context_place *ret, struct error *error) {
        struct context_place place = { .servers = servers, .name = *name, .primary = server };
        const struct control_ask ask = context_ask(servers, server, name);
        char capability[CAPABILITY_LEN];
        int r = control_ask_look(&ask, role, capability, error);

        if (r == 0)
                r = connect_place(&place, capability, error);
        explicit_bzero(capability, sizeof(capability));
        if (r == 0)
                *ret = place;
        return r;
}

int context_place_look(const struct context_servers *servers, const struct context_entry *entry,
                       struct context_place *ret, struct error *error) {
        const int primary = context_entry_primary(entry);
        int r = -ENOTCONN;

        if (primary >= 0)
                return look_at(servers, (size_t) primary, &entry->name, SPACE_PRIMARY, ret, error);
        (void) error_set(error, r, "its memory server does not answer, and no other one has a whole copy");
        for (size_t i = 0; i < servers->n && r < 0; i++)
                if (entry->at[i].status.role == SPACE_MIRROR && context_entry_has_copy(entry, i) &&
                    look_at(servers, i, &entry->name, SPACE_MIRROR, ret, NULL) == 0)
                        r = 0;
        if (r == 0 && error)
                error_deinit(error);
        return r;
}

int context_place_look_at_copy(const struct context_servers *servers, const struct context_entry *entry, size_t server,
                               struct context_place *ret, struct error *error) {
        return look_at(servers, server, &entry->name, (enum space_role) entry->at[server].status.role, ret, error);
}

void context_place_close(struct context_place *place) {
        if (place->peer)
                place->peer = peer_free(place->peer);
}

/* The first failure is told; all are asked. */
static int drop_at(const struct context_servers *servers, size_t server, const struct space_name *name, uint64_t token,
                   int before, struct error *error) {
        const struct control_ask ask = { servers->at[server].control, name, CONTEXT_ASK_USEC, -1 };
        int r = control_ask_drop(&ask, token, before < 0 ? NULL : error);

        if (r == -ENOENT)
                r = 0;
        if (r < 0 && before == 0)
                error_prefix(error, "its pages there remain until it is dropped again");
        return before < 0 ? before : r;
}

int context_drop(const struct context_servers *servers, const struct context_entry *entry, struct error *error) {
        int primary = context_entry_primary(entry), r = 0;

        /* The primary first: what it still sends to its mirror would come too late. */
        if (primary >= 0)
                r = drop_at(servers, (size_t) primary, &entry->name, entry->at[primary].status.token, r, error);
        for (size_t i = 0; i < servers->n; i++)
                if ((int) i != primary && entry->at[i].there)
                        r = drop_at(servers, i, &entry->name, context_entry_token(entry), r, error);
        return r;
}

int context_place_drop(struct context_place *place, struct error *error) {
        int r;

        context_place_close(place);
        r = drop_at(place->servers, place->primary, &place->name, place->token, 0, error);
        for (size_t i = 0; i < place->servers->n; i++)
                if (i != place->primary && place->at[i])
                        r = drop_at(place->servers, i, &place->name, place->token, r, error);
        return r;
}
