/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The server is found by those who look for memory: its parameters for that, and what it answers. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/memserver/plugin.h"
#include "daemon/pages/responder.h"

static struct {
        char *listen, *arbitrator, *key_file;
        bool silent;
        struct responder *responder;
} discovery;

static int read_text(const char *value, char **ret) {
        free(*ret);
        *ret = strdup(value);
        if (*ret)
                return 0;
        nbdkit_error("out of memory");
        return -1;
}

int plugin_discovery_config(const char *key, const char *value) {
        if (strcmp(key, "discovery") == 0)
                return read_text(value, &discovery.listen);
        if (strcmp(key, "arbitrator") == 0)
                return read_text(value, &discovery.arbitrator);
        if (strcmp(key, "discovery-key") == 0) {
                free(discovery.key_file);
                discovery.key_file = nbdkit_absolute_path(value);
                return discovery.key_file ? 0 : -1;
        }
        if (strcmp(key, "discovery-silent") == 0) {
                int r = nbdkit_parse_bool(value);

                discovery.silent = r > 0;
                return r < 0 ? -1 : 0;
        }
        nbdkit_error("unknown parameter %s", key);
        return -1;
}

/* Spilled pages are slower, and are pages all the same. */
static void look(void *userdata, struct discovery_entry *ret) {
        struct server_load load;

        server_load(plugin.server, &load);
        *ret = (struct discovery_entry) {
                .identity = load.identity,
                .total_pages = load.pages.memory_pages + load.pages.spill_pages,
                .willing = !load.draining,
        };
        ret->free_pages = ret->total_pages - load.pages.memory_used - load.pages.spill_used;
}

static void tell(void *userdata, enum guard_refusal refusal, const char *from) {
        fprintf(stderr, "<4>discovery: a datagram from %s is refused: %s; such ones are told once an hour\n", from,
                guard_refusal_to_string(refusal));
}

int plugin_discovery_start(struct error *error) {
        struct responder_options options = { .listen = discovery.listen, .arbitrator = discovery.arbitrator,
                                             .key_file = discovery.key_file, .silent = discovery.silent,
                                             .look = look, .tell = tell };

        if (!discovery.listen && !discovery.arbitrator)
                return 0;
        if (!discovery.key_file)
                return error_set(error, -EINVAL, "discovery-key= is missing: the key that servers and clients share");
        return responder_new(&options, &discovery.responder, error);
}

void plugin_discovery_end(void) {
        if (discovery.responder)
                discovery.responder = responder_free(discovery.responder);
        free(discovery.listen);
        free(discovery.arbitrator);
        free(discovery.key_file);
        discovery.listen = discovery.arbitrator = discovery.key_file = NULL;
}
