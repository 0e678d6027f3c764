/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What /etc/failover-memserver.yaml says: failover-memserver.yaml(5). Read by failover-memserver, which hands it to
 * nbdkit and the plugin. */

#include "policy/diagnostics.h"
#include "policy/policy.h"

struct memserver_config {
        uint64_t memory_bytes;
        char *spill_file; /* NULL: none */
        uint64_t spill_bytes;
        char *persist_directory; /* NULL: none */
        struct command listen; /* "unix:PATH", "tcp:ADDRESS:PORT" or "vsock:PORT" */
        char *tls_psk, *tls_certificates; /* at most one of them */
        int unencrypted;                  /* clients from the network without TLS */
        char *control_socket;
        struct command control_users;
        uint64_t client_quota_bytes; /* 0: none */
        char *discovery_listen, *discovery_arbitrator, *discovery_key; /* NULL: none */
        int discovery_silent;
        int lock;                    /* keep pages in memory */
        unsigned threads;            /* requests of one connection at once */
};

/* -EINVAL with every finding in `d`, which the caller releases in any case; -ENOMEM. */
int memserver_config_load(const char *path, struct memserver_config **ret, struct diagnostics *d);
int memserver_config_parse(const char *text, size_t n, const char *name, struct memserver_config **ret,
                           struct diagnostics *d);
struct memserver_config *memserver_config_free(struct memserver_config *config);
