/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The space moves to another server while its client works, because that one has more room (T: servers move pages among
 * themselves to balance load, so a client asks where they are). The pages go from server to server; the pager, which
 * alone has the right to its space, orders it, looks how far it is, and goes on at the new server when all is there.
 *
 * A mirrored space is handed over, page by page: its mirror keeps all of it meanwhile. One without a mirror gets the
 * new server as its mirror for as long, so that at each instant one server has everything: the old one, and then both.
 * Where the primary is lost half-way, it is recovered as ever, from its mirror, and what the new server has got is
 * dropped. Where the new server is lost, or takes no more, the mirror has all pages too: the pager goes on with that.
 * A move that an earlier pager has begun is gone on with: the primary and the new server tell of the same session.
 */

#include <errno.h>
#include <string.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/clock.h"

static bool is_handed_over(const struct pager *pager) {
        return pager->options.mirror;
}

/* The same of what is under way, which an earlier pager may have begun. */
static bool by_hand_over(const struct pager *pager, const struct space_status *space) {
        return is_handed_over(pager) || space->hand_over != COPY_NONE;
}

static enum copy_state progress(const struct pager *pager, const struct space_status *space) {
        return (enum copy_state) (by_hand_over(pager, space) ? space->hand_over : space->mirror);
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

static void note_moving_to(struct pager *pager, unsigned server) {
        pthread_mutex_lock(&pager->lock);
        pager->moving_to = server;
        pthread_mutex_unlock(&pager->lock);
}

/* The move has come to nothing: all is where it was. */
static void forget(struct pager *pager) {
        if (pager->moving_to != 0)
                pager_vacate(pager, pager->moving_to);
        pager->halted_usec = 0;
        note_moving_to(pager, 0);
}

/* Ends a move that has not begun, or by a mirror, which may have. A hand-over that has begun meanwhile goes on. */
static void give_up(struct pager *pager, const struct space_status *space) {
        struct control_ask primary = pager_ask_at_leisure(pager, pager->primary);
        int r = by_hand_over(pager, space) ? control_ask_stay(&primary, NULL) : control_ask_unmirror(&primary, 0, NULL);

        if (r < 0 && r != -ENOENT)
                return;
        pager_say(pager, PAGER_STAYS, "%s", space->text);
        forget(pager);
}

/* For so long that the new server can be done without: nothing more goes there, it does not answer, or nobody knows
 * which one it is. */
static bool is_halted(struct pager *pager, enum copy_state state, const struct space_status *space) {
        bool halted = pager->moving_to == 0 || state == COPY_LOST ||
                      (state == COPY_FILLING && space->text[0] && space->filled_bytes == pager->handed_bytes);
        usec_t now = clock_usec(CLOCK_BOOTTIME);

        pager->handed_bytes = space->filled_bytes;
        if (!halted)
                pager->halted_usec = 0;
        else if (pager->halted_usec == 0)
                pager->halted_usec = now;
        return halted && now >= pager->halted_usec + PAGER_MIRROR_PATIENCE_USEC;
}

/* What is to be done without the new server. */
static unsigned go_back(struct pager *pager, const struct space_status *space) {
        if (!by_hand_over(pager, space)) {
                give_up(pager, space);
                return 0;
        }
        pager->halted_usec = 0; /* where that is refused, it is waited for as long again */
        if (space->mirror != COPY_COMPLETE)
                return 0;
        return pager->mirror != 0 ? pager->mirror : pager_find_copy(pager, space->mirror_session);
}

/* A move is under way. */
static unsigned tend_moving(struct pager *pager, enum copy_state state, const struct space_status *space) {
        if (pager->moving_to == 0)
                note_moving_to(pager, pager_find_copy(pager, by_hand_over(pager, space) ? space->hand_over_session
                                                                                       : space->mirror_session));
        if (state == COPY_CONNECTING && (pager->moving_to == 0 || space->text[0])) {
                give_up(pager, space);
                return 0;
        }
        if (pager->moving_to != 0 && state == COPY_COMPLETE)
                return pager->moving_to;
        return is_halted(pager, state, space) ? go_back(pager, space) : 0;
}

unsigned pager_tend_move(struct pager *pager, const struct space_status *space) {
        enum copy_state state = progress(pager, space);
        unsigned server;

        if (state != COPY_NONE) {
                server = tend_moving(pager, state, space);
                if (pager->moving_to != 0) /* else nothing must be dropped anywhere */
                        clear_vacated(pager);
                return server;
        }
        if (pager->moving_to != 0)
                forget(pager);
        clear_vacated(pager);
        server = wish(pager, space);
        if (server > 0)
                begin(pager, server);
        return 0;
}

void pager_settle_move(struct pager *pager, unsigned before) {
        if (pager->moving_to == 0 || pager->primary == before)
                return; /* where it goes on at the old server, the move goes on too */
        if (pager->primary == pager->moving_to) {
                pager->moved_token = pager->token;
                pager_vacate(pager, before);
                note_moving_to(pager, 0);
        }
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
