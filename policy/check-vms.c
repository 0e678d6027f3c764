/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "policy/check.h"

/* Its checkpoints are named after it, with something behind. */
static void check_length(struct check *c, size_t i) {
        const char *domain = c->policy->vms[i].domain;
        char path[NODE_PATH_LEN];

        if (strlen(domain) > VM_DOMAIN_MAX && check_usable(c, check_path(path, "vms[%zu].domain", i)))
                check_broken(c, path, "\"%s\" has %zu letters; a VM that stands alone has at most %d", domain,
                             strlen(domain), VM_DOMAIN_MAX);
}

/* VMs that stand alone: where their checkpoints go. */
void check_vms(struct check *c) {
        char path[NODE_PATH_LEN];

        for (size_t i = 0; i < c->policy->n_vms; i++) {
                check_length(c, i);
                for (size_t k = 0; k < c->policy->vms[i].n_servers; k++)
                        (void) check_server_name(c, c->policy->vms[i].servers, k,
                                                 check_path(path, "vms[%zu].servers[%zu]", i, k));
        }
}
