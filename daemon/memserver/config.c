/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/memserver/listen.h"
#include "policy/reader.h"
#include "policy/text.h"

DEFINE_CLEANUP(struct memserver_config *, memserver_config_free)
DEFINE_CLEANUP(struct node *, node_free)

#define TIB (1024 * GIB)

static const char *no_or_yes(int i) {
        static const char *const words[] = { "no", "yes", NULL };

        return words[i];
}

#define AT(field) .offset = offsetof(struct memserver_config, field)

static const struct key spill_keys[] = {
        { "file", KEY_TEXT, AT(spill_file), .required = true },
        { "size", KEY_SIZE, AT(spill_bytes), .min = MIB, .max = 8 * TIB, .required = true },
        { NULL },
};
static const struct key tls_keys[] = {
        { "psk", KEY_TEXT, AT(tls_psk) },
        { "certificates", KEY_TEXT, AT(tls_certificates) },
        { NULL },
};
static const struct key control_keys[] = {
        { "socket", KEY_TEXT, AT(control_socket) },
        { "users", KEY_COMMAND, AT(control_users) },
        { NULL },
};
static const struct key discovery_keys[] = {
        { "listen", KEY_TEXT, AT(discovery_listen) },
        { "arbitrator", KEY_TEXT, AT(discovery_arbitrator) },
        { "key", KEY_TEXT, AT(discovery_key), .required = true },
        { "silent", KEY_WORD, AT(discovery_silent), .word = no_or_yes },
        { NULL },
};
static const struct key config_keys[] = {
        { "memory", KEY_SIZE, AT(memory_bytes), .min = 16 * MIB, .max = 8 * TIB, .required = true },
        { "spill", KEY_BLOCK, .children = spill_keys },
        { "persist", KEY_TEXT, AT(persist_directory) },
        { "listen", KEY_COMMAND, AT(listen) },
        { "tls", KEY_BLOCK, .children = tls_keys },
        { "unencrypted", KEY_WORD, AT(unencrypted), .word = no_or_yes },
        { "control", KEY_BLOCK, .children = control_keys },
        { "discovery", KEY_BLOCK, .children = discovery_keys },
        { "client-quota", KEY_SIZE, AT(client_quota_bytes), .min = MIB, .max = 16 * TIB },
        { "lock", KEY_WORD, AT(lock), .word = no_or_yes },
        { "threads", KEY_COUNT, AT(threads), .min = 1, .max = 256 },
        { NULL },
};

static int set_defaults(struct memserver_config *config) {
        config->lock = 1;
        config->threads = 16;
        config->control_socket = strdup("/run/failover-memserver/control.sock");
        return config->control_socket ? 0 : -ENOMEM;
}

/* Where pages could be read on their way, somebody has to have said so. */
static void check_network(struct reader *r, const struct memserver_config *config, const struct node *root) {
        const struct node *listen = node_get(root, "listen"), *tls = node_get(root, "tls");
        bool network = false;

        for (size_t i = 0; i < config->listen.n_words; i++) {
                struct error error = ERROR_INIT;
                struct listen_address address;

                if (listen_parse(config->listen.words[i], &address, &error) < 0)
                        reader_report(r, listen, "%s", error_text(&error));
                else
                        network |= address.kind != LISTEN_UNIX;
                error_deinit(&error);
        }
        if (config->tls_psk && config->tls_certificates)
                reader_report(r, tls, "has both psk and certificates; keep one of them");
        else if (tls && !config->tls_psk && !config->tls_certificates)
                reader_report(r, tls, "is empty; write {psk: FILE} or {certificates: DIRECTORY}");
        if (network && !tls && !config->unencrypted)
                reader_report(r, listen, "clients come over the network, and there is no tls; write "
                              "\"tls: {psk: FILE}\", or \"unencrypted: yes\" where that network is as safe as the "
                              "host's memory");
}

int memserver_config_parse(const char *text, size_t n, const char *name, struct memserver_config **ret,
                           struct diagnostics *d) {
        _cleanup_(memserver_config_freep) struct memserver_config *config = calloc(1, sizeof(*config));
        _cleanup_(node_freep) struct node *root = NULL;
        struct reader reader = { .d = d };
        int r = diagnostics_set_name(d, name);

        if (r < 0)
                return r;
        if (!config || set_defaults(config) < 0)
                return -ENOMEM;
        r = node_parse(text, n, d, &root);
        if (r == 0) {
                read_keys(&reader, root, config_keys, config);
                if (reader.error == 0 && root->kind == NODE_MAPPING)
                        check_network(&reader, config, root);
                r = reader.error;
        }
        diagnostics_sort(d);
        if (r < 0)
                return r;
        if (d->n_errors > 0)
                return -EINVAL;
        *ret = steal_ptr(config);
        return 0;
}

int memserver_config_load(const char *path, struct memserver_config **ret, struct diagnostics *d) {
        _cleanup_free_ char *text = NULL;
        size_t n = 0;
        int r = text_load(path, &text, &n, d);

        return r < 0 ? r : memserver_config_parse(text, n, path, ret, d);
}

struct memserver_config *memserver_config_free(struct memserver_config *config) {
        free(config->spill_file);
        free(config->persist_directory);
        free(config->tls_psk);
        free(config->tls_certificates);
        free(config->control_socket);
        free(config->discovery_listen);
        free(config->discovery_arbitrator);
        free(config->discovery_key);
        command_deinit(&config->listen);
        command_deinit(&config->control_users);
        free(config);
        return NULL;
}
