/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who has spaces here: a VM, or a process, of a node. It has one quota and one meter for all its spaces. */

#include <stdbool.h>

#include "daemon/memserver/meter.h"
#include "daemon/memserver/page-store.h"
#include "policy/policy.h"

struct client {
        char node[NAME_LEN], owner[NAME_LEN];
        struct page_quota quota;
        struct meter meter;
        _Atomic unsigned n_references;
};

/* NULL where memory is out. `limit_pages` 0: none. */
struct client *client_new(const char *node, const char *owner, uint64_t limit_pages, usec_t now_usec);
struct client *client_ref(struct client *client);
struct client *client_unref(struct client *client);
/* No space refers to it any more, only its one holder. */
bool client_idle(const struct client *client);
