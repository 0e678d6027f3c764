/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <assert.h>

#include "daemon/memserver/page-internal.h"

/* The page's place, in no table any more; 0 where none is stored. */
static place_t unlink_page(struct page_space *space, uint64_t page) {
        struct group group = group_find(space->store, space->id, page);
        place_t place;

        pthread_mutex_lock(group.lock);
        place = table_find(space->store, &group, key_of(space->id, page));
        if (place)
                table_unlink(space->store, &group, place);
        pthread_mutex_unlock(group.lock);
        return place;
}

void page_space_take(struct page_space *to, struct page_space *from, uint64_t page) {
        struct page_store *store = to->store;
        uint64_t key = key_of(to->id, page);
        place_t place = unlink_page(from, page), old;
        struct group group = group_find(store, to->id, page);
        struct batch freed = { .n = 0 };

        assert(from->own.wider == &to->own);
        pthread_mutex_lock(group.lock);
        old = table_find(store, &group, key);
        if (old) {
                table_unlink(store, &group, old);
                page_forget(to, page);
                batch_add(&freed, old);
        }
        if (place) {
                page_pass(to, from, page);
                table_link(store, &group, key, place);
        }
        pthread_mutex_unlock(group.lock);
        batch_flush(store, &freed);
}
