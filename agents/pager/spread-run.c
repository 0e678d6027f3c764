/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/spread-internal.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define ASK_USEC USEC_PER_SEC    /* between two questions to the servers */
#define HURRY_USEC (250 * USEC_PER_MSEC)
#define AGAIN_USEC USEC_PER_SEC  /* until what could not be trimmed is tried again */
#define QUIET_USEC (5 * USEC_PER_SEC) /* after a move */
#define SWEEP_PAGES UINT64_C(256) /* trimmed at once */

unsigned spread_server_of(const struct share *share, unsigned server) {
        unsigned n = (unsigned) share->spread->options.pager.n_servers;

        return server == 0 ? 0 : (share->holder - 1 + server - 1) % n + 1;
}

static unsigned number_at(const struct share *share, unsigned server) {
        unsigned n = (unsigned) share->spread->options.pager.n_servers;

        return (server - 1 + n - (share->holder - 1)) % n + 1;
}

/* By share: a share has the room of the server that its primary is at now. */
static void place_shares(struct spread *spread, struct placement *ret) {
        *ret = (struct placement) { .n_answers = spread->n_shares };
        for (size_t i = 0; i < spread->n_shares; i++) {
                struct pager_view view;
                unsigned server;

                pager_look(spread->shares[i].pager, &view);
                server = spread_server_of(&spread->shares[i], view.primary);
                if (server == 0)
                        continue;
                ret->answers[i] = spread->servers.answers[server - 1];
                if (server == spread->servers.pick && ret->pick == 0)
                        ret->pick = (unsigned) i + 1;
        }
}

void spread_ask(struct spread *spread) {
        struct placement placement;
        uint64_t held_bytes = 0;
        unsigned holder = 0;

        for (size_t i = 0; i < spread->n_shares; i++) {
                struct pager_view view;

                pager_look(spread->shares[i].pager, &view);
                held_bytes += view.held_bytes;
                holder = spread->n_shares == 1 ? spread_server_of(&spread->shares[i], view.primary) : 0;
        }
        decider_ask(spread->decider, held_bytes / PAGE_BYTES, holder, &spread->servers);
        place_shares(spread, &placement);
        pthread_mutex_lock(&spread->lock);
        spread->placement = placement;
        pthread_mutex_unlock(&spread->lock);
}

/* Moves one space to a server that has more room, if there is one, and waits until answers show it. */
static void balance(struct spread *spread) {
        usec_t now = clock_usec(CLOCK_BOOTTIME);

        for (size_t i = 0; i < spread->n_shares; i++) {
                struct share *share = &spread->shares[i];
                struct pager_view view;
                unsigned mirror, to;

                pager_look(share->pager, &view);
                if (view.moving_to != 0)
                        spread->quiet_until_usec = now + QUIET_USEC;
                if (view.state != PAGER_SERVING)
                        continue;
                mirror = spread_server_of(share, view.mirror);
                to = placement_balance(&spread->servers, spread_server_of(share, view.primary),
                                       view.held_bytes / PAGE_BYTES, mirror > 0 ? HOLDER_BIT(mirror) : 0,
                                       now >= spread->quiet_until_usec);
                if (to == 0)
                        continue;
                pager_move(share->pager, number_at(share, to));
                spread->quiet_until_usec = now + QUIET_USEC;
        }
}

static bool balances(const struct spread *spread) {
        return spread->options.returned == RETURN_ASKED && spread->options.discovery;
}

/* Until it is time to ask again, or sooner where much was saved, but not at once: who asks too much is not heard. */
static void wait_to_ask(struct spread *spread) {
        usec_t asked = clock_usec(CLOCK_BOOTTIME), now;

        if (!spread->stop)
                condition_wait(&spread->hurry, &spread->lock, ASK_USEC);
        while (!spread->stop && (now = clock_usec(CLOCK_BOOTTIME)) < asked + HURRY_USEC)
                condition_wait(&spread->hurry, &spread->lock, asked + HURRY_USEC - now);
}

static void *ask_on(void *userdata) {
        struct spread *spread = userdata;

        pthread_mutex_lock(&spread->lock);
        while (!spread->stop) {
                pthread_mutex_unlock(&spread->lock);
                spread_ask(spread);
                if (balances(spread))
                        balance(spread);
                if (spread->options.save == SAVE_PER_SAVE)
                        spread_tell(spread); /* else the pager itself does */
                pthread_mutex_lock(&spread->lock);
                wait_to_ask(spread);
        }
        pthread_mutex_unlock(&spread->lock);
        return NULL;
}

/* Trims one run. Nobody saves these pages here meanwhile. With the lock held, which is let go meanwhile. */
static void sweep_run(struct share *share, uint64_t first, uint64_t n) {
        struct spread *spread = share->spread;
        int r;

        pthread_mutex_unlock(&spread->lock);
        r = pager_trim(share->pager, n * PAGE_BYTES, first * PAGE_BYTES);
        pthread_mutex_lock(&spread->lock);
        share->swept = r;
        if (r == 0)
                leftovers_clear(&spread->leftovers, share->holder, first, n);
        pthread_cond_broadcast(&spread->changed);
        if (r < 0 && !spread->stop)
                condition_wait(&spread->leftover, &spread->lock, AGAIN_USEC);
}

static void *sweep(void *userdata) {
        struct share *share = userdata;
        struct spread *spread = share->spread;
        uint64_t cursor = 0, first, n;

        pthread_mutex_lock(&spread->lock);
        while (!spread->stop) {
                if (leftovers_next(&spread->leftovers, share->holder, cursor, SWEEP_PAGES, &first, &n)) {
                        cursor = first + n;
                        sweep_run(share, first, n);
                } else if (cursor > 0) {
                        cursor = 0;
                } else {
                        pthread_cond_wait(&spread->leftover, &spread->lock);
                }
        }
        pthread_mutex_unlock(&spread->lock);
        return NULL;
}

int spread_start(struct spread *spread) {
        bool per_save = spread->options.save == SAVE_PER_SAVE;
        int r = per_save || balances(spread) ? thread_start_joined(ask_on, spread, &spread->thread) : -EALREADY;

        spread->started = r == 0;
        if (!per_save)
                return r == -EALREADY ? 0 : r; /* nothing is ever left over */
        for (size_t i = 0; i < spread->n_shares && r == 0; i++) {
                r = thread_start_joined(sweep, &spread->shares[i], &spread->shares[i].sweeper);
                spread->shares[i].started = r == 0;
        }
        return r;
}

void spread_end(struct spread *spread) {
        pthread_mutex_lock(&spread->lock);
        spread->stop = true;
        pthread_cond_broadcast(&spread->changed);
        pthread_cond_broadcast(&spread->leftover);
        pthread_cond_broadcast(&spread->hurry);
        pthread_mutex_unlock(&spread->lock);
        if (spread->started)
                (void) pthread_join(spread->thread, NULL);
        for (size_t i = 0; i < spread->n_shares; i++)
                if (spread->shares[i].started)
                        (void) pthread_join(spread->shares[i].sweeper, NULL);
}
