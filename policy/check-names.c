/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "policy/check.h"

/* What may occur once in a policy, or once in a pair: sorted, so that 1024 pairs of 16 applications do not cost a
 * comparison of each with each. */

struct entry {
        char *name, *path; /* owned */
        size_t order;
};

struct entries {
        struct entry *items;
        size_t n;
};

static void entries_deinit(struct entries *entries) {
        for (size_t i = 0; i < entries->n; i++) {
                free(entries->items[i].name);
                free(entries->items[i].path);
        }
        free(entries->items);
}

static int entries_reserve(struct entries *entries, size_t n) {
        entries->items = calloc(n + 1, sizeof(*entries->items));
        return entries->items ? 0 : -ENOMEM;
}

static void entries_add(struct check *c, struct entries *entries, const char *name, const char *path) {
        struct entry *entry = &entries->items[entries->n];

        if (!name || !*name || !check_usable(c, path))
                return;
        *entry = (struct entry) { strdup(name), strdup(path), entries->n };
        entries->n++;
        if (!entry->name || !entry->path)
                c->error = -ENOMEM;
}

static int compare_entries(const void *a, const void *b) {
        const struct entry *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        if (r != 0)
                return r;
        return x->order < y->order ? -1 : x->order > y->order;
}

/* Reports every name that was there before, with where it was first. */
static void entries_report(struct check *c, struct entries *entries, const char *rule) {
        const struct entry *first = entries->items;
        char quoted[QUOTE_LEN];

        if (c->error < 0)
                return;
        qsort(entries->items, entries->n, sizeof(*entries->items), compare_entries);
        for (size_t i = 1; i < entries->n; i++) {
                const struct entry *entry = &entries->items[i];

                if (strcmp(entry->name, first->name) == 0)
                        check_broken(c, entry->path, "\"%s\" is used already, by %s; %s",
                                     text_quote(entry->name, strlen(entry->name), quoted), first->path, rule);
                else
                        first = entry;
        }
}

static void check_pair_names(struct check *c) {
        _cleanup_(entries_deinit) struct entries entries = { 0 };
        char path[NODE_PATH_LEN];

        if (entries_reserve(&entries, c->policy->n_pairs) < 0) {
                c->error = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < c->policy->n_pairs; i++)
                entries_add(c, &entries, c->policy->pairs[i].name, check_path(path, "pairs[%zu].name", i));
        entries_report(c, &entries, "give each pair a name of its own");
}

static void check_domain_names(struct check *c) {
        _cleanup_(entries_deinit) struct entries entries = { 0 };
        char path[NODE_PATH_LEN];

        if (entries_reserve(&entries, c->policy->n_pairs * SIDE_MAX + c->policy->n_vms) < 0) {
                c->error = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < c->policy->n_pairs; i++)
                for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                        entries_add(c, &entries, c->policy->pairs[i].members[side].domain,
                                    check_path(path, "pairs[%zu].%s.domain", i,
                                               side == SIDE_A ? "active" : "standby"));
        for (size_t i = 0; i < c->policy->n_vms; i++)
                entries_add(c, &entries, c->policy->vms[i].domain, check_path(path, "vms[%zu].domain", i));
        entries_report(c, &entries, "a domain belongs to one pair, on one side, or stands alone");
}

static void check_application_names(struct check *c) {
        _cleanup_(entries_deinit) struct entries entries = { 0 };
        char path[NODE_PATH_LEN];

        if (entries_reserve(&entries, c->policy->n_pairs * POLICY_APPLICATIONS_MAX) < 0) {
                c->error = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < c->policy->n_pairs; i++)
                for (size_t j = 0; j < c->policy->pairs[i].n_applications; j++)
                        entries_add(c, &entries, c->policy->pairs[i].applications[j].name,
                                    check_path(path, "pairs[%zu].applications[%zu].name", i, j));
        entries_report(c, &entries, "an application's name occurs once in the whole policy");
}

/* A disk moves from one VM to the other, so within a pair it belongs to one application. */
static void check_disks(struct check *c, size_t pair) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        _cleanup_(entries_deinit) struct entries entries = { 0 };
        char path[NODE_PATH_LEN];

        if (entries_reserve(&entries, POLICY_APPLICATIONS_MAX * POLICY_RESOURCES_MAX) < 0) {
                c->error = -ENOMEM;
                return;
        }
        for (size_t j = 0; j < p->n_applications; j++) {
                if (!check_usable(c, check_path(path, "pairs[%zu].applications[%zu].resources.disks", pair, j)))
                        continue;
                for (size_t k = 0; k < p->applications[j].n_disks; k++)
                        entries_add(c, &entries, p->applications[j].disks[k],
                                    check_path(path, "pairs[%zu].applications[%zu].resources.disks[%zu]", pair, j, k));
        }
        entries_report(c, &entries, "a disk of a pair belongs to one application");
}

/* The address alone and in its shortest form, so that other spellings and other prefixes are the same address. */
static const char *plain_address(const char *cidr, char buffer[static INET6_ADDRSTRLEN]) {
        unsigned char bytes[16];
        size_t n = strcspn(cidr, "/");
        int family = memchr(cidr, ':', n) ? AF_INET6 : AF_INET;

        if (n >= INET6_ADDRSTRLEN)
                return NULL;
        memcpy(buffer, cidr, n);
        buffer[n] = 0;
        if (inet_pton(family, buffer, bytes) != 1)
                return NULL;
        return inet_ntop(family, bytes, buffer, INET6_ADDRSTRLEN);
}

static void add_addresses(struct check *c, struct entries *entries, size_t pair, size_t application) {
        const struct application *a = &c->policy->pairs[pair].applications[application];
        char path[NODE_PATH_LEN], plain[INET6_ADDRSTRLEN];

        for (size_t i = 0; i < a->n_addresses; i++)
                if (a->addresses[i].cidr)
                        entries_add(c, entries, plain_address(a->addresses[i].cidr, plain),
                                    check_path(path, "pairs[%zu].applications[%zu].resources.addresses[%zu].address",
                                               pair, application, i));
}

static void check_addresses(struct check *c) {
        _cleanup_(entries_deinit) struct entries entries = { 0 };

        if (entries_reserve(&entries, c->policy->n_pairs * POLICY_APPLICATIONS_MAX * POLICY_RESOURCES_MAX) < 0) {
                c->error = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < c->policy->n_pairs; i++)
                for (size_t j = 0; j < c->policy->pairs[i].n_applications; j++)
                        add_addresses(c, &entries, i, j);
        entries_report(c, &entries, "an address belongs to one application");
}

/* Two names for one server would make a mirror of it that is none. */
static void check_server_names(struct check *c) {
        _cleanup_(entries_deinit) struct entries names = { 0 };
        _cleanup_(entries_deinit) struct entries controls = { 0 };
        char path[NODE_PATH_LEN];

        if (entries_reserve(&names, c->policy->n_servers) < 0 || entries_reserve(&controls, c->policy->n_servers) < 0) {
                c->error = -ENOMEM;
                return;
        }
        for (size_t i = 0; i < c->policy->n_servers; i++) {
                entries_add(c, &names, c->policy->servers[i].name, check_path(path, "memory-servers[%zu].name", i));
                entries_add(c, &controls, c->policy->servers[i].control,
                            check_path(path, "memory-servers[%zu].control", i));
        }
        entries_report(c, &names, "give each memory server a name of its own");
        entries_report(c, &controls, "a memory server stands here once");
}

/* Names, disks and addresses that may be there only once. */
void check_names(struct check *c) {
        check_server_names(c);
        check_pair_names(c);
        check_domain_names(c);
        check_application_names(c);
        for (size_t i = 0; i < c->policy->n_pairs; i++)
                check_disks(c, i);
        check_addresses(c);
}
