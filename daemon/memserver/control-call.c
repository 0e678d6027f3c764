/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/control-call.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

#define DEADLINE_USEC USEC_PER_SEC /* of a copy, where none is given */
#define RATE_BYTES (64 * MIB)      /* and a second, of its filling */
#define WATCH_LOOK_USEC (200 * USEC_PER_MSEC) /* how soon a watcher that hung up is noticed */

static int send_line(const struct control_out *out, int encoded, char *line) {
        int r = encoded < 0 ? encoded : out->line(out->userdata, line);

        if (encoded == 0) {
                explicit_bzero(line, strlen(line)); /* it may hold a capability */
                free(line);
        }
        return r;
}

static int send_item(const struct control_out *out, uint64_t id, const char *what, const struct fields *fields,
                     const void *object) {
        char *line = NULL;
        int r = control_encode_item(id, what, fields, object, &line);

        return send_line(out, r, line);
}

static int send_result(const struct control_out *out, uint64_t id, int result, const struct error *error) {
        char *line = NULL;
        int r = control_encode_result(id, result, result < 0 ? error_text(error) : NULL, &line);

        return send_line(out, r, line);
}

static struct space_name name_of(const struct control_request *request) {
        struct space_name name = { { 0 } };

        memcpy(name.node, request->node, NAME_LEN);
        memcpy(name.owner, request->owner, NAME_LEN);
        memcpy(name.space, request->space, NAME_LEN);
        return name;
}

static struct server_copy copy_of(const struct control_request *request) {
        return (struct server_copy) {
                .uri = request->uri,
                .deadline_usec = request->deadline_usec > 0 ? request->deadline_usec : DEADLINE_USEC,
                .rate_bytes = request->rate_bytes > 0 ? request->rate_bytes : RATE_BYTES,
                .relaxed = request->relaxed,
                .token = request->token,
        };
}

/* The capability goes out before the result; where nobody takes it, a new grant makes another one. */
static int send_capability(const struct control_out *out, uint64_t id, char *capability) {
        char *line = NULL;
        int r = control_encode_capability(id, capability, &line);

        explicit_bzero(capability, CAPABILITY_LEN);
        return send_line(out, r, line);
}

static int call_open(struct server *server, const struct control_request *request, const struct control_out *out,
                     struct error *error) {
        struct server_open open = { .name = name_of(request),
                                    .role = (enum space_role) request->role,
                                    .size_bytes = request->size_bytes,
                                    .quota_bytes = request->quota_bytes,
                                    .token = request->token,
                                    .persist = request->persist };
        char capability[CAPABILITY_LEN];
        int r = server_open(server, &open, capability, error);

        return r < 0 ? r : send_capability(out, request->id, capability);
}

static int call_grant(struct server *server, const struct control_request *request, const struct control_out *out,
                      struct error *error) {
        struct space_name name = name_of(request);
        char capability[CAPABILITY_LEN];
        int r = server_grant(server, &out->asker, &name, request->token, capability, error);

        return r < 0 ? r : send_capability(out, request->id, capability);
}

static int call_look(struct server *server, const struct control_request *request, const struct control_out *out,
                     struct error *error) {
        struct space_name name = name_of(request);
        char capability[CAPABILITY_LEN];
        int r = server_look(server, &out->asker, &name, (enum space_role) request->role, capability, error);

        return r < 0 ? r : send_capability(out, request->id, capability);
}

static int call_drop(struct server *server, const struct control_request *request, const struct control_out *out,
                     struct error *error) {
        struct space_name name = name_of(request);

        return server_drop(server, &out->asker, &name, request->token, error);
}

static int call_mirror(struct server *server, const struct control_request *request, const struct control_out *out,
                       struct error *error) {
        struct space_name name = name_of(request);
        struct server_copy copy = copy_of(request);

        return server_mirror(server, &out->asker, &name, &copy, error);
}

static int call_unmirror(struct server *server, const struct control_request *request, const struct control_out *out,
                         struct error *error) {
        struct space_name name = name_of(request);

        return server_unmirror(server, &out->asker, &name, request->token, error);
}

static int call_hand_over(struct server *server, const struct control_request *request, const struct control_out *out,
                          struct error *error) {
        struct space_name name = name_of(request);
        struct server_copy copy = copy_of(request);

        return server_hand_over(server, &out->asker, &name, &copy, error);
}

static int call_stay(struct server *server, const struct control_request *request, const struct control_out *out,
                     struct error *error) {
        struct space_name name = name_of(request);

        return server_stay(server, &out->asker, &name, error);
}

static int call_promote(struct server *server, const struct control_request *request, const struct control_out *out,
                        struct error *error) {
        struct space_name name = name_of(request);
        char capability[CAPABILITY_LEN];
        int r = server_promote(server, &out->asker, &name, request->token, request->lost_usec, request->force,
                               capability, error);

        return r < 0 ? r : send_capability(out, request->id, capability);
}

/* "" asks for all. */
static bool asked_for(const char *asked, const char *name) {
        return *asked == 0 || strcmp(asked, name) == 0;
}

/* With the lock for it held. */
static void tell_copy(struct copy *copy, int *ret_state, uint64_t *ret_session, struct space_status *status) {
        struct copy_status told;

        if (!copy)
                return;
        copy_tell(copy, &told);
        *ret_state = (int) told.state;
        *ret_session = told.session;
        status->filled_bytes = told.filled_bytes;
        if (*told.text)
                memcpy(status->text, told.text, sizeof(status->text));
}

/* With the lock for it held. */
static void tell_keeper(const struct space *space, struct space_status *status) {
        usec_t now = clock_usec(CLOCK_BOOTTIME);
        struct error error = ERROR_INIT;

        status->copy = (int) space->keeper.last.state;
        status->session = space->keeper.last.session;
        if (space->keeper.last.session != 0)
                status->silent_usec = now - space->keeper.heard_usec + 1;
        if (space->restored)
                snprintf(status->text, sizeof(status->text), "brought back from disk");
        else if (space->spoilt)
                snprintf(status->text, sizeof(status->text), "a save was refused");
        else if (keeper_judge(&space->keeper, 0, now, &error) < 0)
                snprintf(status->text, sizeof(status->text), "%s", error_text(&error));
        error_deinit(&error);
}

static void tell_epochs(struct space *space, struct space_status *status) {
        usec_t applied_usec = space->epochs.applied_usec;

        status->epochs = space->epochs.number;
        status->staged_bytes = space->epochs.staged_bytes;
        if (applied_usec > 0)
                status->epoch_age_usec = clock_usec(CLOCK_BOOTTIME) - applied_usec + 1;
        (void) space_epoch_writer(space, status->writer);
}

static void tell_use(struct space *space, struct space_status *status) {
        status->saved_bytes = space->saved_bytes;
        status->returned_bytes = space->returned_bytes;
        status->report_age_usec = report_read(&space->report, clock_usec(CLOCK_BOOTTIME), &status->report,
                                              status->client);
}

static void tell_space(struct space *space, struct space_status *ret) {
        uint64_t capacity = page_space_capacity(space->pages);

        *ret = (struct space_status) { 0 };
        memcpy(ret->node, space->name.node, NAME_LEN);
        memcpy(ret->owner, space->name.owner, NAME_LEN);
        memcpy(ret->space, space->name.space, NAME_LEN);
        ret->size_bytes = page_space_size(space->pages);
        ret->held_bytes = page_space_pages(space->pages) * PAGE_BYTES;
        ret->quota_bytes = space->limit_pages * PAGE_BYTES;
        ret->capacity_bytes = (capacity > 0 ? capacity : 1) * PAGE_BYTES;
        ret->persist = space->file != NULL;
        ret->connections = atomic_load(&space->n_connections);
        pthread_mutex_lock(&space->told);
        ret->role = (int) space->role;
        ret->token = space->token;
        tell_copy(space->mirror, &ret->mirror, &ret->mirror_session, ret);
        tell_copy(space->move, &ret->hand_over, &ret->hand_over_session, ret);
        if (space->role == SPACE_MIRROR)
                tell_keeper(space, ret);
        pthread_mutex_unlock(&space->told);
        tell_epochs(space, ret);
        tell_use(space, ret);
}

static int call_spaces(struct server *server, const struct control_request *request, const struct control_out *out,
                       struct error *error) {
        _cleanup_free_ struct space **spaces = NULL;
        int n = server_spaces(server, &spaces), r = 0;

        for (int i = 0; i < n; i++) {
                const struct space_name *name = &spaces[i]->name;
                struct space_status status;

                if (r == 0 && asked_for(request->node, name->node) && asked_for(request->owner, name->owner) &&
                    asked_for(request->space, name->space)) {
                        tell_space(spaces[i], &status);
                        r = send_item(out, request->id, "space", &space_status_fields, &status);
                }
                space_unref(spaces[i]);
        }
        return n < 0 ? n : r;
}

static void tell_client(struct client *client, usec_t since_usec, struct client_status *ret) {
        struct meter_counts counts;

        *ret = (struct client_status) { .held_bytes = atomic_load(&client->quota.pages) * PAGE_BYTES,
                                        .quota_bytes = client->quota.limit * PAGE_BYTES };
        memcpy(ret->node, client->node, NAME_LEN);
        memcpy(ret->owner, client->owner, NAME_LEN);
        ret->span_usec = meter_read(&client->meter, since_usec > 0 ? since_usec : USEC_INFINITY,
                                    clock_usec(CLOCK_BOOTTIME), &counts);
        ret->saved_bytes = counts.saved_bytes;
        ret->saved_pages = counts.saved_pages;
        ret->returned_bytes = counts.returned_bytes;
        ret->returned_pages = counts.returned_pages;
}

static int call_clients(struct server *server, const struct control_request *request, const struct control_out *out,
                        struct error *error) {
        _cleanup_free_ struct client **clients = NULL;
        int n = server_clients(server, &clients), r = 0;

        for (int i = 0; i < n; i++) {
                struct client_status status;

                if (r == 0 && asked_for(request->node, clients[i]->node) &&
                    asked_for(request->owner, clients[i]->owner)) {
                        tell_client(clients[i], request->since_usec, &status);
                        r = send_item(out, request->id, "client", &client_status_fields, &status);
                }
                client_unref(clients[i]);
        }
        return n < 0 ? n : r;
}

static int call_load(struct server *server, const struct control_request *request, const struct control_out *out,
                     struct error *error) {
        struct server_load load;
        struct load_status status;

        server_load(server, &load);
        status = (struct load_status) {
                .memory_bytes = load.pages.memory_pages * PAGE_BYTES,
                .memory_used_bytes = load.pages.memory_used * PAGE_BYTES,
                .spill_bytes = load.pages.spill_pages * PAGE_BYTES,
                .spill_used_bytes = load.pages.spill_used * PAGE_BYTES,
                .spill_errors = load.pages.spill_errors,
                .table_bytes = load.pages.table_bytes,
                .spaces = load.n_spaces,
                .clients = load.n_clients,
                .draining = load.draining,
                .latest_event = events_latest(server_events(server)),
                .identity = load.identity,
        };
        return send_item(out, request->id, "load", &load_status_fields, &status);
}

static int call_drain(struct server *server, const struct control_request *request, const struct control_out *out,
                      struct error *error) {
        server_drain(server, request->on);
        return 0;
}

/* Goes on until nobody reads any more. */
static int call_watch(struct server *server, const struct control_request *request, const struct control_out *out,
                      struct error *error) {
        uint64_t after = request->after;
        struct event event;
        int r = 0;

        while (r == 0 && !out->over(out->userdata)) {
                struct event_status status = { 0 };

                if (events_next(server_events(server), after, WATCH_LOOK_USEC, &event) == 0)
                        continue;
                after = event.number;
                status.number = event.number;
                status.age_usec = clock_usec(CLOCK_BOOTTIME) - event.at_usec;
                status.kind = (int) event.kind;
                memcpy(status.node, event.name.node, NAME_LEN);
                memcpy(status.owner, event.name.owner, NAME_LEN);
                memcpy(status.space, event.name.space, NAME_LEN);
                memcpy(status.text, event.text, EVENT_TEXT_LEN);
                r = send_item(out, request->id, "event", &event_status_fields, &status);
        }
        return r;
}

int control_call(struct server *server, const struct control_request *request, const struct control_out *out) {
        static int (*const calls[])(struct server *, const struct control_request *, const struct control_out *,
                                    struct error *) = {
                [CONTROL_OPEN] = call_open,
                [CONTROL_GRANT] = call_grant,
                [CONTROL_LOOK] = call_look,
                [CONTROL_DROP] = call_drop,
                [CONTROL_MIRROR] = call_mirror,
                [CONTROL_UNMIRROR] = call_unmirror,
                [CONTROL_PROMOTE] = call_promote,
                [CONTROL_HAND_OVER] = call_hand_over,
                [CONTROL_STAY] = call_stay,
                [CONTROL_SPACES] = call_spaces,
                [CONTROL_CLIENTS] = call_clients,
                [CONTROL_LOAD] = call_load,
                [CONTROL_DRAIN] = call_drain,
                [CONTROL_WATCH] = call_watch,
        };
        struct error error = ERROR_INIT;
        int r = calls[request->call](server, request, out, &error);

        if (r < 0 && error.code == 0)
                error_set(&error, r, "%s: %s", control_call_to_string(request->call), strerror(-r));
        r = send_result(out, request->id, r, &error);
        error_deinit(&error);
        return r;
}
