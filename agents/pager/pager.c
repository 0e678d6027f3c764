/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/pager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

DEFINE_CLEANUP(struct pager *, pager_free)

/* Nobody else has the space: who has, has connections to its primary. Tokens begin with the time, above those that
 * servers may remember which do not answer now. */
static int claim(struct pager *pager, struct error *error) {
        pager->grant.tried = clock_usec(CLOCK_REALTIME);
        for (size_t i = 0; i < pager->options.n_servers; i++) {
                struct control_ask ask = pager_ask(pager, i);
                struct space_status space;

                if (control_ask_space(&ask, &space, NULL) <= 0)
                        continue;
                if (space.role == SPACE_PRIMARY && space.connections > 0)
                        return error_set(error, -EEXIST, "%s: space %s of %s on node %s is in use: name this one "
                                         "otherwise, or end who uses that one", ask.path, space.space, space.owner,
                                         space.node);
                if (pager->grant.tried < space.token)
                        pager->grant.tried = space.token;
        }
        return 0;
}

int pager_new(const struct pager_options *options, struct pager **ret, struct error *error) {
        _cleanup_(pager_freep) struct pager *pager = calloc(1, sizeof(*pager));
        int r;

        if (!pager)
                return error_set(error, -ENOMEM, "out of memory");
        pager->options = *options;
        (void) pthread_mutex_init(&pager->lock, NULL);
        condition_init(&pager->changed);
        pager->urgent_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (pager->urgent_fd < 0)
                return error_set(error, -errno, "no descriptor: %s", strerror(errno));
        r = page_map_init(&pager->map, options->size_bytes);
        if (r < 0)
                return error_set(error, r, "no table for %zu bytes: %s", (size_t) options->size_bytes, strerror(-r));
        r = claim(pager, error);
        if (r == 0)
                r = pager_open(pager, error);
        if (r < 0)
                return r;
        r = thread_start_joined(pager_run, pager, &pager->thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        pager->started = true;
        *ret = steal_ptr(pager);
        return 0;
}

static void drop_at(struct pager *pager, unsigned server) {
        struct control_ask ask;

        if (server == 0 || pager->state == PAGER_FENCED)
                return;
        ask = pager_ask(pager, server - 1);
        (void) control_ask_drop(&ask, pager->grant.tried, NULL);
}

struct pager *pager_free(struct pager *pager) {
        if (pager->started) {
                pthread_mutex_lock(&pager->lock);
                pager->stop = true;
                pager_hurry(pager);
                pthread_mutex_unlock(&pager->lock);
                (void) pthread_join(pager->thread, NULL);
        }
        if (pager->current)
                (void) channel_free(pager->current);
        drop_at(pager, pager->primary);
        drop_at(pager, pager->mirror);
        page_map_deinit(&pager->map);
        if (pager->urgent_fd >= 0)
                (void) close(pager->urgent_fd);
        (void) pthread_cond_destroy(&pager->changed);
        (void) pthread_mutex_destroy(&pager->lock);
        free(pager);
        return NULL;
}
