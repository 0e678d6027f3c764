/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/server-internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/spill.h"

DEFINE_CLEANUP(struct server *, server_free)

int server_new(const struct server_options *options, struct server **ret, struct error *error) {
        _cleanup_(server_freep) struct server *server = NULL;
        struct page_store_options pages = { .memory_bytes = options->memory_bytes,
                                            .spill_bytes = options->spill_bytes };
        char text[UNITS_TEXT_MAX];
        int r;

        server = calloc(1, sizeof(*server));
        if (!server || !(server->events = events_new(options->tell)))
                return error_set(error, -ENOMEM, "out of memory");
        (void) pthread_mutex_init(&server->lock, NULL);
        server->peer = options->peer;
        server->client_quota_pages = options->client_quota_bytes / PAGE_BYTES;
        if (getrandom(&pages.seed, sizeof(pages.seed), 0) != (ssize_t) sizeof(pages.seed) ||
            getrandom(&server->identity, sizeof(server->identity), 0) != (ssize_t) sizeof(server->identity))
                return error_set(error, -EIO, "no random numbers from the kernel");
        server->identity |= 1;
        if (options->spill_bytes > 0) {
                r = spill_open(options->spill_path, options->spill_bytes, &server->spill, error);
                if (r < 0)
                        return r;
                pages.spill = spill_functions(server->spill);
        }
        r = page_store_new(&pages, &server->store);
        if (r < 0)
                return error_set(error, r, "memory of %s: %s", size_format(text, options->memory_bytes), strerror(-r));
        server->persist_path = options->persist_path;
        r = server->persist_path ? server_restore(server, error) : 0;
        if (r < 0)
                return r;
        *ret = steal_ptr(server);
        return 0;
}

struct server *server_free(struct server *server) {
        for (size_t i = 0; i < server->n_spaces; i++) {
                server_end_copies(server->spaces[i]);
                space_unref(server->spaces[i]);
        }
        for (size_t i = 0; i < server->n_clients; i++)
                client_unref(server->clients[i]);
        if (server->store)
                page_store_free(server->store);
        spill_free(server->spill);
        events_free(server->events);
        free(server);
        return NULL;
}

struct events *server_events(struct server *server) {
        return server->events;
}

/* With the lock held. */
static struct space *find(struct server *server, const struct space_name *name) {
        for (size_t i = 0; i < server->n_spaces; i++)
                if (space_name_equal(&server->spaces[i]->name, name))
                        return server->spaces[i];
        return NULL;
}

struct space *server_find(struct server *server, const struct space_name *name) {
        struct space *space;

        pthread_mutex_lock(&server->lock);
        space = find(server, name);
        if (space)
                space_ref(space);
        pthread_mutex_unlock(&server->lock);
        return space;
}

/* Makes room for one more by forgetting the oldest client that has no space. With the lock held. */
static int forget_idle_client(struct server *server) {
        for (size_t i = 0; i < server->n_clients; i++)
                if (client_idle(server->clients[i])) {
                        client_unref(server->clients[i]);
                        server->n_clients--;
                        memmove(&server->clients[i], &server->clients[i + 1],
                                (server->n_clients - i) * sizeof(server->clients[0]));
                        return 0;
                }
        return -EMFILE;
}

/* The client of that name, a new one where there is none. With the lock held. */
static int find_client(struct server *server, const struct space_name *name, struct client **ret) {
        struct client *client;

        for (size_t i = 0; i < server->n_clients; i++)
                if (strcmp(server->clients[i]->node, name->node) == 0 &&
                    strcmp(server->clients[i]->owner, name->owner) == 0) {
                        *ret = server->clients[i];
                        return 0;
                }
        if (server->n_clients == SERVER_CLIENTS_MAX && forget_idle_client(server) < 0)
                return -EMFILE;
        client = client_new(name->node, name->owner, server->client_quota_pages, clock_usec(CLOCK_BOOTTIME));
        if (!client)
                return -ENOMEM;
        server->clients[server->n_clients++] = client;
        *ret = client;
        return 0;
}

static int make_capability(char ret[static CAPABILITY_LEN], struct error *error) {
        static const char digits[] = "0123456789abcdef";
        unsigned char bytes[(CAPABILITY_LEN - 1) / 2];

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
                return error_set(error, -EIO, "no random numbers from the kernel");
        for (size_t i = 0; i < sizeof(bytes); i++) {
                ret[2 * i] = digits[bytes[i] >> 4];
                ret[2 * i + 1] = digits[bytes[i] & 15];
        }
        ret[CAPABILITY_LEN - 1] = 0;
        explicit_bzero(bytes, sizeof(bytes));
        return 0;
}

static int put_on_disk(struct server *server, struct space *space, struct error *error) {
        struct label label;

        if (!server->persist_path)
                return error_set(error, -EOPNOTSUPP, "this server keeps nothing on disk: write persist: in its "
                                 "configuration");
        space_make_label(space, space->role == SPACE_PRIMARY ? LABEL_COMPLETE : LABEL_NONE, &label);
        return persist_create(server->persist_path, &label, &space->file, error);
}

int server_add_space(struct server *server, const struct server_open *open, const char *capability,
                     struct space **ret, struct error *error) {
        uint64_t limit_pages = open->quota_bytes / PAGE_BYTES;
        struct client *client;
        struct space *space;
        int r;

        if (server->draining)
                return error_set(error, -ESHUTDOWN, "the server is being drained and takes no new space");
        if (find(server, &open->name))
                return error_set(error, -EEXIST, "there is a space of that name: grant gives it away, drop ends it");
        if (server->n_spaces == SERVER_SPACES_MAX)
                return error_set(error, -EMFILE, "the server has %d spaces, as many as it can", SERVER_SPACES_MAX);
        r = find_client(server, &open->name, &client);
        if (r == 0)
                r = space_new(&open->name, client, server->store, open->size_bytes,
                              open->quota_bytes > 0 && limit_pages == 0 ? 1 : limit_pages, &space);
        if (r == -EINVAL)
                return error_set(error, r, "a space's size is a multiple of %d bytes, from one page to 2^56",
                                 (int) PAGE_BYTES);
        if (r < 0)
                return error_set(error, r, "%s", strerror(-r));
        space->role = open->role;
        space->token = open->token;
        space->grants = 1;
        memcpy(space->capability, capability, CAPABILITY_LEN);
        if (open->persist) {
                r = put_on_disk(server, space, error);
                if (r < 0) {
                        space_unref(space);
                        return r;
                }
        }
        server->spaces[server->n_spaces++] = space;
        *ret = space;
        return 0;
}

int server_open(struct server *server, const struct server_open *open, char ret_capability[static CAPABILITY_LEN],
                struct error *error) {
        char capability[CAPABILITY_LEN];
        struct space *space;
        int r = make_capability(capability, error);

        if (r < 0)
                return r;
        pthread_mutex_lock(&server->lock);
        r = server_add_space(server, open, capability, &space, error);
        pthread_mutex_unlock(&server->lock);
        if (r < 0) {
                error_prefix(error, NAME_FORMAT, NAME_ARGS(&open->name));
                return r;
        }
        events_add(server->events, EVENT_OPENED, &open->name, "as %s, token %" PRIu64,
                   space_role_to_string(open->role), open->token);
        memcpy(ret_capability, capability, CAPABILITY_LEN);
        return 0;
}

int server_shut_space(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                      struct space **ret, struct error *error) {
        struct space *space = server_find(server, name);

        if (space) {
                if (gate_shut_for(&space->gate, asker) < 0) {
                        space_unref(space);
                        return server_asker_gone(error);
                }
                if (!space->dropped) {
                        *ret = space;
                        return 0;
                }
                gate_reopen(&space->gate);
                space_unref(space);
        }
        return error_set(error, -ENOENT, NAME_FORMAT ": there is no such space", NAME_ARGS(name));
}

int server_asker_gone(struct error *error) {
        return error_set(error, -ECANCELED, "whoever asked has hung up");
}

void server_reopen_space(struct space *space) {
        gate_reopen(&space->gate);
        space_unref(space);
}

int server_new_grant(struct server *server, struct space *space, uint64_t token,
                     char ret_capability[static CAPABILITY_LEN], struct error *error) {
        int r;

        if (token <= space->token)
                return error_set(error, -ESTALE, NAME_FORMAT ": token %" PRIu64 " is not above %" PRIu64
                                 ", the present one", NAME_ARGS(&space->name), token, space->token);
        r = make_capability(ret_capability, error);
        if (r < 0)
                return r;
        pthread_mutex_lock(&server->lock);
        memcpy(space->capability, ret_capability, CAPABILITY_LEN);
        explicit_bzero(space->look, sizeof(space->look));
        space->token = token;
        space->grants++;
        if (!space->mirror && !space->move) /* what took its place is no more: whoever grants it anew knows that */
                space->replaced = false;
        space_epoch_forget(space);
        report_forget(&space->report);
        pthread_mutex_unlock(&server->lock);
        return 0;
}

int server_grant(struct server *server, const struct gate_asker *asker, const struct space_name *name, uint64_t token,
                 char ret_capability[static CAPABILITY_LEN], struct error *error) {
        struct space *space;
        int r = server_shut_space(server, asker, name, &space, error);

        if (r < 0)
                return r;
        r = server_new_grant(server, space, token, ret_capability, error);
        server_reopen_space(space);
        if (r == 0)
                events_add(server->events, EVENT_GRANTED, name, "token %" PRIu64, token);
        return r;
}

/* With the gate shut. Several share one. */
static int look(struct server *server, struct space *space, enum space_role role,
                char ret_capability[static CAPABILITY_LEN], struct error *error) {
        int r = 0;

        if (space->role != role)
                return error_set(error, -EPERM, NAME_FORMAT ": it is a %s", NAME_ARGS(&space->name),
                                 space_role_to_string(space->role));
        pthread_mutex_lock(&server->lock);
        if (!space->look[0])
                r = make_capability(space->look, error);
        if (r == 0)
                memcpy(ret_capability, space->look, CAPABILITY_LEN);
        pthread_mutex_unlock(&server->lock);
        return r;
}

int server_look(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                enum space_role role, char ret_capability[static CAPABILITY_LEN], struct error *error) {
        struct space *space;
        int r = server_shut_space(server, asker, name, &space, error);

        if (r < 0)
                return r;
        r = look(server, space, role, ret_capability, error);
        server_reopen_space(space);
        return r;
}

static void remove_space(struct server *server, struct space *space) {
        pthread_mutex_lock(&server->lock);
        for (size_t i = 0; i < server->n_spaces; i++)
                if (server->spaces[i] == space) {
                        server->n_spaces--;
                        memmove(&server->spaces[i], &server->spaces[i + 1],
                                (server->n_spaces - i) * sizeof(server->spaces[0]));
                        break;
                }
        pthread_mutex_unlock(&server->lock);
        space_unref(space);
}

/* With the gate shut. */
static int drop(struct server *server, struct space *space, uint64_t token, struct error *error) {
        if (token < space->token)
                return error_set(error, -ESTALE, NAME_FORMAT ": token %" PRIu64 " is below %" PRIu64
                                 ", the present one", NAME_ARGS(&space->name), token, space->token);
        space->dropped = true;
        if (space->file)
                persist_remove(space->file);
        remove_space(server, space);
        /* Connections may keep the space a while, but not its pages. */
        space_epoch_forget(space);
        (void) page_space_trim(space->pages, page_space_size(space->pages), 0);
        return 0;
}

int server_drop(struct server *server, const struct gate_asker *asker, const struct space_name *name, uint64_t token,
                struct error *error) {
        struct space *space;
        int r = server_shut_space(server, asker, name, &space, error);

        if (r < 0)
                return r;
        r = drop(server, space, token, error);
        gate_reopen(&space->gate);
        if (r == 0) {
                server_end_copies(space);
                events_add(server->events, EVENT_DROPPED, name, "token %" PRIu64, token);
        }
        space_unref(space);
        return r;
}

/* Takes as long for every capability. */
static bool capability_equal(const char *a, const char *b) {
        unsigned char differs = 0;

        for (size_t i = 0; i < CAPABILITY_LEN; i++)
                differs |= (unsigned char) (a[i] ^ b[i]);
        return differs == 0;
}

int server_connect(struct server *server, const char *capability, struct space **ret, uint64_t *ret_grant,
                   bool *ret_looks) {
        char whole[CAPABILITY_LEN] = { 0 };
        struct space *space = NULL;
        bool looks = false;
        int r = -EACCES;

        if (strlen(capability) != CAPABILITY_LEN - 1)
                return -EACCES;
        memcpy(whole, capability, CAPABILITY_LEN - 1);
        pthread_mutex_lock(&server->lock);
        for (size_t i = 0; i < server->n_spaces; i++)
                if (capability_equal(server->spaces[i]->capability, whole)) {
                        space = server->spaces[i];
                } else if (capability_equal(server->spaces[i]->look, whole)) {
                        space = server->spaces[i];
                        looks = true;
                }
        if (space && atomic_load(&space->n_connections) < SPACE_CONNECTIONS_MAX) {
                *ret = space_ref(space);
                *ret_grant = space->grants;
                *ret_looks = looks;
                atomic_fetch_add(&space->n_connections, 1);
                r = 0;
        } else if (space) {
                r = -EMFILE;
        }
        pthread_mutex_unlock(&server->lock);
        return r;
}

void server_disconnect(struct space *space) {
        atomic_fetch_sub(&space->n_connections, 1);
        space_unref(space);
}

int server_spaces(struct server *server, struct space ***ret) {
        struct space **spaces;
        size_t n;

        pthread_mutex_lock(&server->lock);
        n = server->n_spaces;
        spaces = calloc(n + 1, sizeof(*spaces));
        for (size_t i = 0; spaces && i < n; i++)
                spaces[i] = space_ref(server->spaces[i]);
        pthread_mutex_unlock(&server->lock);
        if (!spaces)
                return -ENOMEM;
        *ret = spaces;
        return (int) n;
}

int server_clients(struct server *server, struct client ***ret) {
        struct client **clients;
        size_t n;

        pthread_mutex_lock(&server->lock);
        n = server->n_clients;
        clients = calloc(n + 1, sizeof(*clients));
        for (size_t i = 0; clients && i < n; i++)
                clients[i] = client_ref(server->clients[i]);
        pthread_mutex_unlock(&server->lock);
        if (!clients)
                return -ENOMEM;
        *ret = clients;
        return (int) n;
}

void server_load(struct server *server, struct server_load *ret) {
        *ret = (struct server_load) { 0 };
        page_store_load(server->store, &ret->pages);
        pthread_mutex_lock(&server->lock);
        ret->n_spaces = server->n_spaces;
        ret->n_clients = server->n_clients;
        ret->draining = server->draining;
        ret->identity = server->identity;
        pthread_mutex_unlock(&server->lock);
}

void server_drain(struct server *server, bool draining) {
        pthread_mutex_lock(&server->lock);
        server->draining = draining;
        pthread_mutex_unlock(&server->lock);
}
