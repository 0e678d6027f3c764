/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "agents/pager/spread-internal.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/control-ask.h"

#define ASK_USEC USEC_PER_SEC    /* between two questions to the servers */
#define AGAIN_USEC USEC_PER_SEC  /* until what could not be trimmed is tried again */
#define SWEEP_PAGES UINT64_C(256) /* trimmed at once */

DEFINE_CLEANUP(struct json_object *, json_object_put)

/* One server's answer, out of what it says of its load. */
static void ask_server(struct spread *spread, size_t server, struct placement_answer *ret) {
        const struct pager_options *options = &spread->options.pager;
        struct control_ask ask = { options->servers[server].control, NULL, options->deadline_usec, -1 };
        _cleanup_(json_object_putp) struct json_object *items = NULL;
        struct load_status load = { 0 };

        *ret = (struct placement_answer) { 0 };
        if (control_ask_items(&ask, CONTROL_LOAD, 0, &items, NULL) < 0 || json_object_array_length(items) != 1 ||
            fields_decode(json_object_array_get_idx(items, 0), &load_status_fields, load_status_fields.required,
                          UINT64_MAX, &load, NULL) < 0)
                return;
        ret->known = true;
        ret->willing = !load.draining;
        ret->total_pages = load.memory_bytes / PAGE_BYTES;
        ret->free_pages = ret->total_pages - load.memory_used_bytes / PAGE_BYTES;
}

void spread_ask(struct spread *spread) {
        struct placement placement = { .n_answers = spread->options.pager.n_servers };

        for (size_t i = 0; i < placement.n_answers; i++)
                ask_server(spread, i, &placement.answers[i]);
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
