/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A pager that begins where another one of its name has ended without dropping its space (T: return, asked): which
 * server has the space, and which pages are in it, is asked of the servers. Only what is sure to be the latest is
 * taken; where that cannot be known, it is an error, and nothing is dropped.
 */

#include <errno.h>
#include <string.h>

#include "agents/pager/pager-internal.h"
#include "daemon/base/cleanup.h"

#define ASK_BYTES GIB /* of the space, in one question */

/* What one server has. */
static int see(struct pager *pager, size_t server, struct sight *ret, struct space_status *ret_space) {
        struct control_ask ask = pager_ask(pager, server);

        pager_see(pager, server, ret);
        return ret->there ? control_ask_space(&ask, ret_space, NULL) : 0;
}

static void note_extent(void *userdata, uint64_t offset, uint64_t length) {
        struct pager *pager = userdata;

        page_map_note(&pager->map, offset, length, pager->primary);
}

/* Which pages are there. Nobody else has the space any more. */
static int list_pages(struct pager *pager, struct error *error) {
        uint64_t size = pager->options.size_bytes;
        int r = 0;

        for (uint64_t at = 0; at < size && r == 0; at += ASK_BYTES) {
                uint64_t length = size - at < ASK_BYTES ? size - at : ASK_BYTES;

                r = channel_list(pager->current, length, at, note_extent, pager);
        }
        if (r < 0)
                error_set(error, r, "%s: it does not say which pages it has: %s",
                          pager->options.servers[pager->primary - 1].control, strerror(-r));
        return r;
}

/* Where its mirror is, and whereto it is being moved, is found when they are looked after (pager_tend()). */
static int take_over(struct pager *pager, const struct sight *sights, size_t server, const struct space_status *space,
                     struct error *error) {
        const char *control = pager->options.servers[server].control;
        int r;

        if (space->size_bytes != pager->options.size_bytes)
                return error_set(error, -EINVAL, "%s: it has a space of that name, of another size: give this one that "
                                 "size, or say return=remembered, which drops it", control);
        pager->primary = (unsigned) server + 1;
        pager->grant.opened = pager->grant.granted = sights[server].token;
        r = pager_take(pager, RECOVERY_GRANT, server, error);
        if (r == 0)
                r = list_pages(pager, error);
        if (r < 0) {
                pager->grant.opened = 0; /* what is there is left alone */
                return r;
        }
        return 1;
}

int pager_adopt(struct pager *pager, struct error *error) {
        struct sight sights[PAGE_HOLDERS_MAX] = { 0 };
        struct space_status spaces[PAGE_HOLDERS_MAX] = { 0 };
        bool mirrored[PAGE_HOLDERS_MAX] = { false };
        size_t server;

        for (size_t i = 0; i < pager->options.n_servers; i++) {
                if (see(pager, i, &sights[i], &spaces[i]) < 0)
                        sights[i] = (struct sight) { 0 };
                mirrored[i] = spaces[i].mirror == COPY_COMPLETE;
        }
        switch (recovery_adopt(sights, mirrored, pager->options.n_servers, pager_earlier_token(pager), &server)) {
        case ADOPT_THIS:
                return take_over(pager, sights, server, &spaces[server], error);
        case ADOPT_UNSURE:
                return error_set(error, -EAGAIN, "an earlier pager had pages, but where the latest are only a server "
                                 "knows that does not answer, or has begun anew: wait for it, promote the mirror by "
                                 "hand, or say return=remembered, which drops them");
        default:
                return !pager->options.resume ? 0
                               : error_set(error, -ENOENT, "no server that answers has anything of an earlier pager's "
                                           "space: without resume=yes a new one is opened");
        }
}
