/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The space moves to another server while its client works, because that one has more room (T: servers move pages among
 * themselves to balance load, so a client asks where they are). The pages go from server to server; the pager, which
 * alone has the right to its space, orders it, looks how far it is, and goes on at the new server when all is there.
 *
 * A mirrored space is handed over, page by page: its mirror keeps all of it meanwhile. One without a mirror gets the
 * new server as its mirror for as long, so that at each instant one server has everything: the old one, and then both.
 * Where the primary is lost half-way, it is recovered as ever, from its mirror, and what the new server has got is
 * dropped.
 */

#include <errno.h>
#include <string.h>

#include "agents/pager/pager-internal.h"

static bool is_handed_over(const struct pager *pager) {
        return pager->options.mirror;
}

static enum copy_state progress(const struct pager *pager, const struct space_status *space) {
        return (enum copy_state) (is_handed_over(pager) ? space->hand_over : space->mirror);
}

/* The wish, if it can be begun now. */
static unsigned wish(struct pager *pager, const struct space_status *space) {
        unsigned server;

        pthread_mutex_lock(&pager->lock);
        server = pager->wish;
        pager->wish = 0;
        pthread_mutex_unlock(&pager->lock);
        if (server == 0 || server == pager->primary || server == pager->mirror || progress(pager, space) != COPY_NONE)
                return 0;
        return !is_handed_over(pager) || space->mirror == COPY_COMPLETE ? server : 0;
}

static void begin(struct pager *pager, unsigned server) {
        struct error error = ERROR_INIT;
        int r = pager_open_copy(pager, server, is_handed_over(pager) ? CONTROL_HAND_OVER : CONTROL_MIRROR, &error);

        /* Where no answer came, it may have begun; where it has not, that is seen at the next look. */
        pthread_mutex_lock(&pager->lock);
        pager->moving_to = server;
        pthread_mutex_unlock(&pager->lock);
        if (r < 0)
                pager_say(pager, PAGER_STAYS, "%s", error_text(&error));
        error_deinit(&error);
}

void pager_vacate(struct pager *pager, unsigned server) {
        pager->vacated |= 1u << (server - 1);
}

bool pager_is_vacated(const struct pager *pager, unsigned server) {
        return pager->vacated >> (server - 1) & 1;
}

/* Drops what is left of the space at a server, unless the pager uses that now: 0 where there is no more to do. */
static int clear(struct pager *pager, unsigned server) {
        struct control_ask ask = pager_ask_at_leisure(pager, server);
        struct space_status space;
        int r;

        if (server == pager->primary || server == pager->mirror || server == pager->moving_to)
                return 0;
        r = control_ask_space(&ask, &space, NULL);
        if (r <= 0 || (space.role == SPACE_PRIMARY && space.token >= pager->token))
                return r < 0 ? r : 0;
        r = control_ask_drop(&ask, pager->grant.tried, NULL);
        return r == -ESTALE ? 0 : r;
}

static void clear_vacated(struct pager *pager) {
        for (unsigned server = 1; server <= pager->options.n_servers; server++)
                if (pager_is_vacated(pager, server) && clear(pager, server) == 0)
                        pager->vacated &= ~(1u << (server - 1));
}

static void forget(struct pager *pager) {
        pthread_mutex_lock(&pager->lock);
        pager->moving_to = 0;
        pthread_mutex_unlock(&pager->lock);
}

static void give_up(struct pager *pager) {
        struct control_ask primary = pager_ask_at_leisure(pager, pager->primary);

        pager_vacate(pager, pager->moving_to);
        if (!is_handed_over(pager))
                (void) control_ask_unmirror(&primary, NULL);
        forget(pager);
}

bool pager_tend_move(struct pager *pager, const struct space_status *space) {
        enum copy_state state = progress(pager, space);
        unsigned server;

        if (pager->moving_to == 0 && space->hand_over != COPY_NONE)
                return false; /* to somewhere: nothing must be dropped anywhere */
        clear_vacated(pager);
        if (pager->moving_to == 0) {
                server = wish(pager, space);
                if (server > 0)
                        begin(pager, server);
                return false;
        }
        if (state == COPY_NONE || (state == COPY_CONNECTING && !is_handed_over(pager) && space->text[0])) {
                give_up(pager);
                return false;
        }
        return state == COPY_COMPLETE;
}

void pager_settle_move(struct pager *pager, unsigned before) {
        if (pager->moving_to == 0 || pager->primary == before)
                return; /* where it goes on at the old server, the move goes on too */
        if (pager->primary == pager->moving_to)
                pager->moved_token = pager->token;
        pager_vacate(pager, pager->primary == pager->moving_to ? before : pager->moving_to);
        forget(pager);
}

bool pager_has_moved_from(const struct pager *pager, unsigned server) {
        return is_handed_over(pager) && pager_is_vacated(pager, server);
}

void pager_move(struct pager *pager, unsigned server) {
        pthread_mutex_lock(&pager->lock);
        pager->wish = server;
        pthread_mutex_unlock(&pager->lock);
}
