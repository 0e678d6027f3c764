/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/client.h"

#include <stdlib.h>
#include <string.h>

struct client *client_new(const char *node, const char *owner, uint64_t limit_pages, usec_t now_usec) {
        struct client *client = calloc(1, sizeof(*client));

        if (!client)
                return NULL;
        strncpy(client->node, node, sizeof(client->node) - 1);
        strncpy(client->owner, owner, sizeof(client->owner) - 1);
        client->quota.limit = limit_pages;
        client->n_references = 1;
        meter_init(&client->meter, now_usec);
        return client;
}

struct client *client_ref(struct client *client) {
        atomic_fetch_add(&client->n_references, 1);
        return client;
}

struct client *client_unref(struct client *client) {
        if (atomic_fetch_sub(&client->n_references, 1) == 1)
                free(client);
        return NULL;
}

bool client_idle(const struct client *client) {
        return atomic_load(&client->n_references) == 1;
}
