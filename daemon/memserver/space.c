/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/space.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/base/clock.h"

static const char *const space_role_table[] = {
        [SPACE_PRIMARY] = "primary",
        [SPACE_MIRROR] = "mirror",
};
DEFINE_ENUM_TABLE(space_role, space_role_table)

bool space_name_equal(const struct space_name *a, const struct space_name *b) {
        return strcmp(a->node, b->node) == 0 && strcmp(a->owner, b->owner) == 0 && strcmp(a->space, b->space) == 0;
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
        gate_init(&space->gate);
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
        page_space_free(space->pages);
        client_unref(space->client);
        gate_deinit(&space->gate);
        explicit_bzero(space->capability, sizeof(space->capability));
        free(space);
        return NULL;
}

int space_enter(struct space *space, uint64_t grant) {
        int r = 0;

        gate_enter(&space->gate);
        if (space->dropped)
                r = -ESHUTDOWN;
        else if (grant != space->grants)
                r = -EPERM;
        if (r < 0)
                gate_leave(&space->gate);
        return r;
}

void space_leave(struct space *space) {
        gate_leave(&space->gate);
}

int space_read(struct space *space, void *buffer, uint64_t length, uint64_t offset) {
        int r = page_space_read(space->pages, buffer, length, offset);

        if (r == 0)
                meter_returned(&space->client->meter, length, offset, clock_usec(CLOCK_BOOTTIME));
        return r;
}

int space_write(struct space *space, const void *buffer, uint64_t length, uint64_t offset) {
        int r = page_space_write(space->pages, buffer, length, offset);

        if (r == 0)
                meter_saved(&space->client->meter, length, offset, clock_usec(CLOCK_BOOTTIME));
        return r;
}

int space_trim(struct space *space, uint64_t length, uint64_t offset) {
        return page_space_trim(space->pages, length, offset);
}

int space_extent(struct space *space, uint64_t length, uint64_t offset, uint64_t *ret_length) {
        return page_space_extent(space->pages, length, offset, ret_length);
}
