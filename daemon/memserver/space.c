/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/space.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/memserver/persist.h"

/* An epoch is not kept waiting by readers that come one after the other. */
static void seen_init(pthread_rwlock_t *lock) {
        pthread_rwlockattr_t attributes;

        (void) pthread_rwlockattr_init(&attributes);
        (void) pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        (void) pthread_rwlock_init(lock, &attributes);
        (void) pthread_rwlockattr_destroy(&attributes);
}

int space_new(const struct space_name *name, struct client *client, struct page_store *store, uint64_t size_bytes,
              uint64_t limit_pages, struct space **ret) {
        struct space *space = calloc(1, sizeof(*space));
        int r;

        if (!space)
                return -ENOMEM;
        r = page_space_new(store, size_bytes, limit_pages, &client->quota, &space->pages);
        if (r < 0) {
                free(space);
                return r;
        }
        space->name = *name;
        space->client = client_ref(client);
        space->limit_pages = limit_pages;
        space->n_references = 1;
        (void) pthread_mutex_init(&space->told, NULL);
        report_init(&space->report);
        gate_init(&space->admin);
        gate_init(&space->gate);
        (void) pthread_mutex_init(&space->epochs.lock, NULL);
        (void) pthread_mutex_init(&space->epochs.writer_lock, NULL);
        seen_init(&space->epochs.seen);
        ranges_init(&space->ranges);
        *ret = space;
        return 0;
}

struct space *space_ref(struct space *space) {
        atomic_fetch_add(&space->n_references, 1);
        return space;
}

struct space *space_unref(struct space *space) {
        if (atomic_fetch_sub(&space->n_references, 1) > 1)
                return NULL;
        if (space->file)
                persist_free(space->file);
        if (space->epochs.staged)
                epoch_free(space->epochs.staged);
        page_space_free(space->pages);
        client_unref(space->client);
        gate_deinit(&space->gate);
        gate_deinit(&space->admin);
        (void) pthread_mutex_destroy(&space->epochs.lock);
        (void) pthread_mutex_destroy(&space->epochs.writer_lock);
        (void) pthread_rwlock_destroy(&space->epochs.seen);
        (void) pthread_mutex_destroy(&space->told);
        report_deinit(&space->report);
        ranges_deinit(&space->ranges);
        explicit_bzero(space->capability, sizeof(space->capability));
        explicit_bzero(space->look, sizeof(space->look));
        free(space);
        return NULL;
}

int space_enter(struct space *space, uint64_t grant) {
        int r = 0;

        gate_enter(&space->gate);
        if (space->dropped)
                r = -ESHUTDOWN;
        else if (grant != space->grants || space->replaced)
                r = -EPERM;
        if (r < 0)
                gate_leave(&space->gate);
        return r;
}

void space_leave(struct space *space) {
        gate_leave(&space->gate);
}
