/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/clock.h"

/* The primary gives a silent mirror up in this part of the time in which the pager would give the primary up for not
 * answering meanwhile. */
#define MIRROR_DEADLINE_DIVISOR 2
/* And one that hands the space over waits for the other server for longer than the pager waits for it. Should that one
 * be lost, the pager goes on with the mirror, which has everything, before the primary fails a request, and gives up
 * the mirror because of it. */
#define MOVE_DEADLINE_FACTOR 4
#define MOVE_DEADLINE_MAX (600 * USEC_PER_SEC)

char *pager_uri(const struct pager *pager, size_t server, const char *capability) {
        return peer_uri(pager->options.servers[server].uri, capability);
}

struct control_ask pager_ask_at_leisure(const struct pager *pager, unsigned server) {
        struct control_ask ask = pager_ask(pager, server - 1);

        ask.cancel_fd = pager->urgent_fd;
        return ask;
}

static void note(struct pager *pager, unsigned mirror, enum copy_state state, const char *text) {
        enum copy_state before = pager->mirror_state; /* changed by this thread alone */

        pthread_mutex_lock(&pager->lock);
        pager->mirror = mirror;
        pager->mirror_state = state;
        snprintf(pager->text, sizeof(pager->text), "%s", text);
        pthread_mutex_unlock(&pager->lock);
        if (state == COPY_COMPLETE && before != COPY_COMPLETE)
                pager_say(pager, PAGER_MIRRORED, "at %s",
                          mirror > 0 ? pager->options.servers[mirror - 1].control : "another server");
        else if (state != COPY_COMPLETE && before == COPY_COMPLETE)
                pager_say(pager, PAGER_ALONE, "%s", text);
}

static usec_t copy_deadline(const struct pager *pager, enum control_call call) {
        usec_t deadline = pager->options.deadline_usec;

        if (call == CONTROL_MIRROR)
                return deadline / MIRROR_DEADLINE_DIVISOR;
        return deadline * MOVE_DEADLINE_FACTOR < MOVE_DEADLINE_MAX ? deadline * MOVE_DEADLINE_FACTOR
                                                                   : MOVE_DEADLINE_MAX;
}

int pager_open_copy(struct pager *pager, unsigned server, enum control_call call, struct error *error) {
        struct control_ask ask = pager_ask_at_leisure(pager, server);
        struct control_ask primary = pager_ask_at_leisure(pager, pager->primary);
        char capability[CAPABILITY_LEN];
        struct space_status space;
        char *uri = NULL;
        int r = control_ask_space(&ask, &space, error);

        if (r > 0 && space.role == SPACE_PRIMARY && space.token >= pager->token)
                return error_set(error, -EEXIST, "%s: that is the primary's own server, which cannot have the mirror "
                                 "too: name each server once", ask.path);
        if (r > 0)
                r = control_ask_drop(&ask, pager->grant.tried, error);
        if (r >= 0)
                r = control_ask_open(&ask, SPACE_MIRROR, pager->options.size_bytes, pager->token, capability, error);
        if (r < 0)
                return r;
        uri = pager_uri(pager, server - 1, capability);
        r = uri ? control_ask_copy(&primary, call, uri, copy_deadline(pager, call), pager->options.fill_rate_bytes,
                                   error)
                : error_set(error, -ENOMEM, "out of memory");
        if (uri)
                explicit_bzero(uri, strlen(uri));
        explicit_bzero(capability, sizeof(capability));
        free(uri);
        return r;
}

/* One server is tried. */
static bool try_mirror(struct pager *pager, unsigned server) {
        struct error error = ERROR_INIT;
        int r = pager_open_copy(pager, server, CONTROL_MIRROR, &error);

        note(pager, r == 0 ? server : 0, r == 0 ? COPY_CONNECTING : COPY_NONE, r == 0 ? "" : error_text(&error));
        error_deinit(&error);
        return r == 0;
}

/* Gives the space a mirror at the first other server that takes it: the one that had it before the space moved, those
 * behind the primary, and last of all one that it has just been moved away from. */
static void choose_mirror(struct pager *pager) {
        unsigned n = (unsigned) pager->options.n_servers, before = pager->moved_mirror;

        pager->moved_mirror = 0;
        if (before != 0 && before != pager->primary && try_mirror(pager, before))
                return;
        if (before != 0)
                pager_vacate(pager, before);
        for (unsigned i = 0; i < 2 * n; i++) {
                unsigned server = (pager->primary + i) % n + 1;

                if (server != pager->primary && pager_is_vacated(pager, server) == (i >= n) &&
                    try_mirror(pager, server))
                        return;
        }
}

/* Whether the mirror's server has it no more, or has not answered for so long that another one may as well begin anew.
 * The primary itself reaches for a mirror that is still there. */
static bool is_mirror_gone(struct pager *pager) {
        struct control_ask ask;
        struct space_status space;
        usec_t now = clock_usec(CLOCK_BOOTTIME);
        int r;

        if (pager->mirror == 0)
                return true;
        ask = pager_ask_at_leisure(pager, pager->mirror);
        r = control_ask_space(&ask, &space, NULL);
        if (r >= 0)
                pager->mirror_gone_usec = 0;
        else if (pager->mirror_gone_usec == 0)
                pager->mirror_gone_usec = now;
        if (r >= 0)
                return r == 0 || space.role != SPACE_MIRROR;
        return pager->options.n_servers > 2 && now >= pager->mirror_gone_usec + PAGER_MIRROR_PATIENCE_USEC;
}

unsigned pager_find_copy(struct pager *pager, uint64_t session) {
        for (unsigned server = 1; server <= pager->options.n_servers && session != 0; server++) {
                struct control_ask ask = pager_ask_at_leisure(pager, server);
                struct space_status space;

                if (server != pager->primary && control_ask_space(&ask, &space, NULL) > 0 &&
                    space.role == SPACE_MIRROR && space.session == session)
                        return server;
        }
        return 0;
}

/* The server with the mirror. One that an earlier pager has begun is found, unless the primary does not reach it, by
 * the way which that one knew: then a mirror is begun anew. */
static unsigned mirror_now(struct pager *pager, const struct space_status *space) {
        if (space->mirror == COPY_NONE)
                return 0;
        if (pager->mirror == 0 && (space->mirror == COPY_COMPLETE || space->mirror == COPY_FILLING))
                return pager_find_copy(pager, space->mirror_session);
        return pager->mirror;
}

static void tend_mirror(struct pager *pager, struct space_status *space) {
        struct control_ask primary = pager_ask_at_leisure(pager, pager->primary);

        note(pager, mirror_now(pager, space), (enum copy_state) space->mirror, space->text);
        if (space->hand_over != COPY_NONE)
                return; /* neither could be had, nor must the server that it goes to be taken for one */
        if (space->mirror == COPY_CONNECTING && is_mirror_gone(pager)) {
                if (control_ask_unmirror(&primary, 0, NULL) < 0)
                        return;
                space->mirror = COPY_NONE;
        }
        if (space->mirror == COPY_NONE)
                choose_mirror(pager);
}

/* What both of its servers could hold. While the mirror is not heard it is no more than it was. */
static void note_capacity(struct pager *pager, uint64_t capacity_bytes) {
        uint64_t most_bytes = 0;

        if (pager->mirror > 0 && (pager->mirror_state == COPY_FILLING || pager->mirror_state == COPY_COMPLETE)) {
                struct control_ask ask = pager_ask_at_leisure(pager, pager->mirror);
                struct space_status space;

                most_bytes = control_ask_space(&ask, &space, NULL) > 0 ? space.capacity_bytes : pager->capacity_bytes;
        }
        pthread_mutex_lock(&pager->lock);
        pager->capacity_bytes = most_bytes > 0 && most_bytes < capacity_bytes ? most_bytes : capacity_bytes;
        pthread_mutex_unlock(&pager->lock);
}

unsigned pager_tend(struct pager *pager) {
        struct control_ask primary = pager_ask_at_leisure(pager, pager->primary);
        struct space_status space;

        if (control_ask_space(&primary, &space, NULL) <= 0)
                return 0;
        if (pager->options.mirror)
                tend_mirror(pager, &space);
        note_capacity(pager, space.capacity_bytes);
        return pager_tend_move(pager, &space);
}
