/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/spread-internal.h"
#include "daemon/base/thread.h"

#define ASK_USEC USEC_PER_SEC    /* between two questions to the servers */
#define AGAIN_USEC USEC_PER_SEC  /* until what could not be trimmed is tried again */
#define SWEEP_PAGES UINT64_C(256) /* trimmed at once */

void spread_ask(struct spread *spread) {
        struct placement placement;
        uint64_t n_held = 0;

        pthread_mutex_lock(&spread->lock);
        for (unsigned h = 1; h <= PAGE_HOLDERS_MAX; h++)
                n_held += spread->map.n_held[h];
        pthread_mutex_unlock(&spread->lock);
        decider_ask(spread->decider, n_held, PAGE_NOBODY, &placement);
        pthread_mutex_lock(&spread->lock);
        spread->placement = placement;
        pthread_mutex_unlock(&spread->lock);
}

static void *ask_on(void *userdata) {
        struct spread *spread = userdata;

        pthread_mutex_lock(&spread->lock);
        while (!spread->stop) {
                pthread_mutex_unlock(&spread->lock);
                spread_ask(spread);
                spread_tell(spread);
                pthread_mutex_lock(&spread->lock);
                if (!spread->stop)
                        condition_wait(&spread->hurry, &spread->lock, ASK_USEC);
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
        int r = thread_start_joined(ask_on, spread, &spread->thread);

        spread->started = r == 0;
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
