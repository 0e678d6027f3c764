/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/pager.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define TOKEN_MAX (UINT64_MAX / 2) /* of what was there before: above it are tokens for as long as this one lives */

DEFINE_CLEANUP(struct pager *, pager_free)

static int in_use(const struct space_status *space, const char *path, const char *why, struct error *error) {
        return error_set(error, -EEXIST, "%s: space %s of %s on node %s is in use%s: name this one otherwise, or end "
                         "who uses that one", path, space->space, space->owner, space->node, why);
}

/* Nobody else has the space: who has, has connections to its primary, and a primary that cannot be seen from here has
 * one to its mirror. Tokens begin with the time, above those that servers may remember which do not answer now. */
static int claim(struct pager *pager, struct error *error) {
        struct space_status kept;
        size_t keeper = SIZE_MAX;
        bool unseen = false;

        pager->grant.tried = clock_usec(CLOCK_REALTIME);
        for (size_t i = 0; i < pager->options.n_servers; i++) {
                struct control_ask ask = pager_ask(pager, i);
                struct space_status space;
                int r = control_ask_space(&ask, &space, NULL);

                unseen = unseen || r < 0;
                if (r <= 0)
                        continue;
                if (space.role == SPACE_PRIMARY && space.connections > 0)
                        return in_use(&space, ask.path, "", error);
                if (space.token > TOKEN_MAX)
                        return error_set(error, -ERANGE, "%s: the token of the space, %" PRIu64 ", leaves no room for "
                                         "further grants: drop it there", ask.path, space.token);
                if (space.role == SPACE_MIRROR && space.connections > 0) {
                        keeper = i;
                        kept = space;
                }
                if (pager->grant.tried < space.token)
                        pager->grant.tried = space.token;
        }
        return unseen && keeper != SIZE_MAX ? in_use(&kept, pager->options.servers[keeper].control, ", its primary is "
                                                     "alive at a server that does not answer here", error) : 0;
}

int pager_new(const struct pager_options *options, struct pager **ret, struct error *error) {
        _cleanup_(pager_freep) struct pager *pager = calloc(1, sizeof(*pager));
        int r;

        if (!pager)
                return error_set(error, -ENOMEM, "out of memory");
        pager->options = *options;
        pager->state = PAGER_RECOVERING; /* as long as there is no channel */
        (void) pthread_mutex_init(&pager->lock, NULL);
        condition_init(&pager->changed);
        pager->urgent_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (pager->urgent_fd < 0)
                return error_set(error, -errno, "no descriptor: %s", strerror(errno));
        r = page_map_init(&pager->map, options->size_bytes);
        if (r < 0)
                return error_set(error, r, "no table for %zu bytes: %s", (size_t) options->size_bytes, strerror(-r));
        r = claim(pager, error);
        if (r == 0 && pager->options.asked)
                r = pager_adopt(pager, error);
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

/* At whatever server it has been; what is somebody else's has a higher token. */
static void drop_everywhere(struct pager *pager) {
        for (size_t i = 0; i < pager->options.n_servers; i++) {
                struct control_ask ask = pager_ask(pager, i);

                (void) control_ask_drop(&ask, pager->grant.tried, NULL);
        }
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
        if (pager->grant.opened != 0 && pager->state != PAGER_FENCED && !pager->options.keep) {
                drop_everywhere(pager);
                pager->told_token = 0; /* the next one need not look for these pages */
                pager_tell(pager);
        }
        page_map_deinit(&pager->map);
        read_ahead_deinit(&pager->ahead);
        if (pager->urgent_fd >= 0)
                (void) close(pager->urgent_fd);
        (void) pthread_cond_destroy(&pager->changed);
        (void) pthread_mutex_destroy(&pager->lock);
        free(pager);
        return NULL;
}

void pager_list(struct pager *pager, void (*found)(void *userdata, uint64_t offset, uint64_t length), void *userdata) {
        uint64_t at = 0, length;

        for (; at < pager->options.size_bytes; at += length)
                if (page_map_extent(&pager->map, pager->options.size_bytes - at, at, &length))
                        found(userdata, at, length);
}
