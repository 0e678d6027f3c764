/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Mirrors, hand-overs, and mirrors that become primaries. */

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/memserver/persist.h"
#include "daemon/memserver/server-internal.h"

/* With the gate shut. */
static int may_have_copy(struct space *space, enum copy_kind kind, struct error *error) {
        struct copy_status mirror = { .state = COPY_NONE };
        char writer[EPOCH_WRITER_LEN];

        if (space->mirror)
                copy_tell(space->mirror, &mirror);
        if (space->role != SPACE_PRIMARY)
                return error_set(error, -EPERM, "it is a mirror itself");
        if (space->move)
                return error_set(error, kind == COPY_MOVE ? -EALREADY : -EBUSY, "it is being handed over");
        if (kind == COPY_MIRROR && space->mirror)
                return error_set(error, -EEXIST, "it has a mirror; unmirror ends it");
        if (kind == COPY_MOVE && space_epoch_writer(space, writer))
                return error_set(error, -EBUSY, "%s writes epochs to it", writer);
        if (kind == COPY_MOVE && mirror.state == COPY_FILLING)
                return error_set(error, -EBUSY, "its mirror is being filled");
        return 0;
}

static struct copy **place_of(struct space *space, enum copy_kind kind) {
        return kind == COPY_MIRROR ? &space->mirror : &space->move;
}

/* With the gate shut. */
static void set_copy(struct space *space, enum copy_kind kind, struct copy *copy) {
        pthread_mutex_lock(&space->told);
        *place_of(space, kind) = copy;
        pthread_mutex_unlock(&space->told);
}

/* Takes a copy away from the space and ends it, which is not called off half-way. With the admin gate shut. */
static void end_copy(struct space *space, enum copy_kind kind) {
        struct copy *copy = *place_of(space, kind);

        if (!copy)
                return;
        copy_stop(copy);
        gate_shut(&space->gate);
        set_copy(space, kind, NULL);
        gate_reopen(&space->gate);
        copy_free(copy);
}

void server_end_copies(struct space *space) {
        gate_shut(&space->admin);
        end_copy(space, COPY_MIRROR);
        end_copy(space, COPY_MOVE);
        gate_reopen(&space->admin);
}

/* Who had it before the present grant decides no more what becomes of its copies. With a gate shut. */
static int check_token(const struct space *space, uint64_t token, struct error *error) {
        if (token == 0 || token >= space->token)
                return 0;
        return error_set(error, -ESTALE, "token %" PRIu64 " is below %" PRIu64 ", the present one", token,
                         (uint64_t) space->token);
}

/* With the admin gate shut. */
static int add_copy(struct server *server, const struct gate_asker *asker, struct space *space, uint64_t token,
                    const struct copy_options *options, struct error *error) {
        struct copy *copy;
        int r;

        if (gate_shut_for(&space->gate, asker) < 0)
                return server_asker_gone(error);
        r = space->dropped ? error_set(error, -ENOENT, "there is no such space")
                           : check_token(space, token, error);
        if (r == 0)
                r = may_have_copy(space, options->kind, error);
        if (r == 0) {
                r = copy_new(space, server->events, options, &copy);
                if (r == 0)
                        set_copy(space, options->kind, copy);
                else
                        error_set(error, r, "%s", strerror(-r));
        }
        gate_reopen(&space->gate);
        if (r < 0)
                return r;
        r = copy_start(copy);
        if (r < 0) {
                end_copy(space, options->kind);
                return error_set(error, r, "no thread: %s", strerror(-r));
        }
        return 0;
}

static int shut_admin(struct space *space, const struct gate_asker *asker, struct error *error) {
        return gate_shut_for(&space->admin, asker) < 0 ? server_asker_gone(error) : 0;
}

static int copy_space(struct server *server, const struct gate_asker *asker, enum copy_kind kind,
                      const struct space_name *name, const struct server_copy *options, struct error *error) {
        struct space *space = server_find(server, name);
        int r;
        struct copy_options copy = {
                .kind = kind,
                .peer = { .uri = options->uri,
                          .deadline_usec = options->deadline_usec,
                          .psk_file = server->peer.psk_file,
                          .certificates = server->peer.certificates,
                          .tls_required = server->peer.tls_required },
                .rate_bytes = options->rate_bytes,
                .relaxed = options->relaxed,
        };

        if (!space)
                return error_set(error, -ENOENT, NAME_FORMAT ": there is no such space", NAME_ARGS(name));
        r = options->deadline_usec < SERVER_DEADLINE_MIN_USEC
                    ? error_set(error, -EINVAL, "a deadline is at least 20 ms") : shut_admin(space, asker, error);
        if (r == 0) {
                r = add_copy(server, asker, space, options->token, &copy, error);
                gate_reopen(&space->admin);
        }
        space_unref(space);
        if (r < 0)
                error_prefix(error, NAME_FORMAT, NAME_ARGS(name));
        return r;
}

int server_mirror(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                  const struct server_copy *options, struct error *error) {
        return copy_space(server, asker, COPY_MIRROR, name, options, error);
}

int server_hand_over(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                     const struct server_copy *options, struct error *error) {
        return copy_space(server, asker, COPY_MOVE, name, options, error);
}

int server_unmirror(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                    uint64_t token, struct error *error) {
        struct space *space = server_find(server, name);
        bool had = false;
        int r = space ? shut_admin(space, asker, error) : 0;

        if (space && r == 0) {
                r = check_token(space, token, error);
                had = r == 0 && space->mirror;
                if (r == 0)
                        end_copy(space, COPY_MIRROR);
                else
                        error_prefix(error, NAME_FORMAT, NAME_ARGS(name));
                gate_reopen(&space->admin);
        }
        if (space)
                space_unref(space);
        if (r == 0 && !had)
                return error_set(error, -ENOENT, NAME_FORMAT ": there is no such space, or it has no mirror",
                                 NAME_ARGS(name));
        return r;
}

/* With the admin gate shut. */
static int stay(struct space *space, const struct gate_asker *asker, struct error *error) {
        int r;

        if (gate_shut_for(&space->gate, asker) < 0)
                return server_asker_gone(error);
        if (!space->move)
                r = error_set(error, -ENOENT, "it is not being handed over");
        else if (copy_call_off(space->move))
                r = 0;
        else
                r = error_set(error, -EBUSY, "pages of it are at the other server already");
        gate_reopen(&space->gate);
        if (r == 0)
                end_copy(space, COPY_MOVE);
        return r;
}

int server_stay(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                struct error *error) {
        struct space *space = server_find(server, name);
        int r = -ENOENT;

        if (!space)
                return error_set(error, r, NAME_FORMAT ": there is no such space", NAME_ARGS(name));
        r = shut_admin(space, asker, error);
        if (r == 0) {
                r = stay(space, asker, error);
                gate_reopen(&space->admin);
        }
        space_unref(space);
        if (r < 0)
                error_prefix(error, NAME_FORMAT, NAME_ARGS(name));
        return r;
}

/* With the gate shut. */
static int may_promote(const struct space *space, usec_t lost_usec, bool force, struct error *error) {
        int r = 0;

        if (space->role != SPACE_MIRROR)
                return error_set(error, -EALREADY, NAME_FORMAT ": it is the primary already", NAME_ARGS(&space->name));
        if (force)
                return 0;
        if (space->restored)
                r = error_set(error, -ESTALE, "it was brought back from disk%s: nobody here knows what its primary did "
                              "meanwhile, so only force promotes it",
                              space->keeper.last.state == LABEL_COMPLETE ? "" : ", and pages are missing");
        else if (space->spoilt)
                r = error_set(error, -ESTALE, "a save was refused here, and its page is not what the primary had");
        else
                r = keeper_judge(&space->keeper, lost_usec, clock_usec(CLOCK_BOOTTIME), error);
        if (r < 0)
                error_prefix(error, NAME_FORMAT, NAME_ARGS(&space->name));
        return r;
}

/* On disk it is the primary too, should this server end. Where that cannot be written, it stays what it was there. */
static void relabel(struct space *space) {
        struct label label;

        if (!space->file)
                return;
        space_make_label(space, space->torn_end > 0 ? LABEL_FILLING : LABEL_COMPLETE, &label);
        (void) persist_relabel(space->file, &label);
}

int server_promote(struct server *server, const struct gate_asker *asker, const struct space_name *name,
                   uint64_t token, usec_t lost_usec, bool force, char ret_capability[static CAPABILITY_LEN],
                   struct error *error) {
        struct space *space;
        int r = server_shut_space(server, asker, name, &space, error);

        if (r < 0)
                return r;
        r = may_promote(space, lost_usec, force, error);
        if (r == 0)
                r = server_new_grant(server, space, token, ret_capability, error);
        if (r == 0) {
                pthread_mutex_lock(&space->told);
                space->role = SPACE_PRIMARY;
                pthread_mutex_unlock(&space->told);
                space->restored = false;
                relabel(space);
        }
        server_reopen_space(space);
        if (r == 0)
                events_add(server->events, EVENT_PROMOTED, name, "token %" PRIu64 "%s", token,
                           force ? ", by force" : "");
        return r;
}
