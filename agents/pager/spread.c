/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/spread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agents/pager/spread-internal.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"

DEFINE_CLEANUP(struct spread *, spread_free)

/* The servers beginning with the holder, so that its space is there, and its mirror at the next one. */
static void rotate_servers(const struct pager_options *from, unsigned holder, struct pager_options *to) {
        for (size_t i = 0; i < from->n_servers; i++)
                to->servers[i] = from->servers[(holder - 1 + i) % from->n_servers];
}

/* The space at one holder has a name of its own, since the mirror of another one may lie beside it. */
static int name_share(const struct spread_options *options, struct share *share, struct pager_options *pager,
                      struct error *error) {
        const char *space = options->pager.name.space;
        int n = snprintf(pager->name.space, NAME_LEN, "%s@%u", space, share->holder);

        if (n >= NAME_LEN)
                return error_set(error, -ENAMETOOLONG, "space %s: %d characters are the most where each server has one "
                                 "of its own", space, NAME_LEN - 3);
        if (options->pager.status_path &&
            asprintf(&share->status_path, "%s.%u", options->pager.status_path, share->holder) < 0)
                return error_set(error, -ENOMEM, "out of memory");
        pager->status_path = share->status_path;
        return 0;
}

static int open_share(struct spread *spread, unsigned holder, struct error *error) {
        const struct spread_options *options = &spread->options;
        struct share *share = &spread->shares[spread->n_shares];
        struct pager_options pager = options->pager;
        int r = 0;

        share->spread = spread;
        share->holder = holder;
        rotate_servers(&options->pager, holder, &pager);
        if (options->save == SAVE_PER_SAVE)
                r = name_share(options, share, &pager, error);
        if (r == 0)
                r = pager_new(&pager, &share->pager, error);
        spread->n_shares += r == 0;
        return r;
}

/* Where the one space begins: as its client says, or as the decider does. */
static unsigned first_holder(struct spread *spread) {
        if (!spread->options.discovery)
                return 1;
        spread_ask(spread);
        return placement_open(&spread->servers, 0);
}

static int open_shares(struct spread *spread, struct error *error) {
        size_t n = spread->options.pager.n_servers;
        int r = 0;

        if (spread->options.save == SAVE_FIXED)
                return open_share(spread, first_holder(spread), error);
        for (unsigned holder = 1; holder <= n && r == 0; holder++)
                r = open_share(spread, holder, error);
        return r;
}

/* A page that is there. Where another share has it too, one of them was never acknowledged: either will do, and the one
 * that comes later goes. A share that is older than its status file says is not gone on with at all. */
static void note_pages(void *userdata, uint64_t offset, uint64_t length) {
        struct share *share = userdata;
        struct spread *spread = share->spread;

        for (uint64_t at = offset, next; at < offset + length; at = next)
                if (page_map_run(&spread->map, at, offset + length, &next) == PAGE_NOBODY)
                        page_map_note(&spread->map, at, next - at, share->holder);
                else
                        leftovers_add(&spread->leftovers, share->holder, at / PAGE_BYTES, (next - at) / PAGE_BYTES);
}

/* Before there are threads: what each share has found at its servers. */
static void find_pages(struct spread *spread) {
        for (size_t i = 0; i < spread->n_shares; i++)
                pager_list(spread->shares[i].pager, note_pages, &spread->shares[i]);
        spread_ask(spread);
}

static int open_decider(struct spread *spread, struct error *error) {
        const struct spread_options *options = &spread->options;
        struct decider_options decider = { .pager = &options->pager, .decided = options->decided,
                                           .address = options->discovery, .key_file = options->discovery_key,
                                           .tell = options->warn };
        int r = decider_new(&decider, &spread->decider, error);

        if (r < 0)
                error_prefix(error, "discovery");
        return r;
}

static int init_table(struct spread *spread, struct error *error) {
        uint64_t size_bytes = spread->options.pager.size_bytes;
        int r = page_map_init(&spread->map, size_bytes);

        if (r == 0)
                r = leftovers_init(&spread->leftovers, spread->map.n_pages);
        return r < 0 ? error_set(error, r, "no table for %zu bytes: %s", (size_t) size_bytes, strerror(-r)) : 0;
}

int spread_new(const struct spread_options *options, struct spread **ret, struct error *error) {
        _cleanup_(spread_freep) struct spread *spread = calloc(1, sizeof(*spread));
        int r;

        if (!spread)
                return error_set(error, -ENOMEM, "out of memory");
        spread->options = *options;
        spread->options.pager.asked = options->returned == RETURN_ASKED;
        if (options->pager.n_servers < 2)
                spread->options.save = SAVE_FIXED;
        (void) pthread_mutex_init(&spread->lock, NULL);
        condition_init(&spread->changed);
        condition_init(&spread->leftover);
        condition_init(&spread->hurry);
        r = open_decider(spread, error);
        if (r == 0 && spread->options.save == SAVE_PER_SAVE)
                r = init_table(spread, error);
        if (r == 0)
                r = open_shares(spread, error);
        if (r < 0)
                return r;
        if (spread->options.save == SAVE_PER_SAVE)
                find_pages(spread);
        r = spread_start(spread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        *ret = steal_ptr(spread);
        return 0;
}

struct spread *spread_free(struct spread *spread) {
        spread_end(spread);
        for (size_t i = 0; i < spread->n_shares; i++)
                (void) pager_free(spread->shares[i].pager);
        for (size_t i = 0; i < ELEMENTSOF(spread->shares); i++)
                free(spread->shares[i].status_path);
        if (spread->decider)
                (void) decider_free(spread->decider);
        leftovers_deinit(&spread->leftovers);
        page_map_deinit(&spread->map);
        (void) pthread_cond_destroy(&spread->hurry);
        (void) pthread_cond_destroy(&spread->leftover);
        (void) pthread_cond_destroy(&spread->changed);
        (void) pthread_mutex_destroy(&spread->lock);
        free(spread);
        return NULL;
}

void spread_count_client(struct spread *spread, int change) {
        for (size_t i = 0; i < spread->n_shares; i++)
                pager_count_client(spread->shares[i].pager, change);
}
