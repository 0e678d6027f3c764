/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "daemon/base/cleanup.h"
#include "policy/check.h"

/* Memory servers, the VMs and applications that overflow to them, and the regions that they hold. */

#define UNIT_LOCK_BYTES (8 * MIB) /* DefaultLimitMEMLOCK= of systemd */

static const char *quote(const char *text, char buffer[static QUOTE_LEN]) {
        return text_quote(text, strlen(text), buffer);
}

static bool starts_with(const char *text, const char *prefix) {
        return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* What stands in front of the scheme's "://" for each way to reach a server. */
enum way { WAY_UNIX, WAY_PLAIN, WAY_TLS, WAY_NONE };

static enum way way_of(const char *uri) {
        static const struct {
                const char *scheme;
                enum way way;
        } ways[] = {
                { "nbd+unix://", WAY_UNIX }, { "nbds+unix://", WAY_UNIX }, { "nbd://", WAY_PLAIN },
                { "nbd+vsock://", WAY_PLAIN }, { "nbds://", WAY_TLS }, { "nbds+vsock://", WAY_TLS },
        };

        for (size_t i = 0; i < ELEMENTSOF(ways); i++)
                if (starts_with(uri, ways[i].scheme))
                        return ways[i].way;
        return WAY_NONE;
}

/* Whether it names an export: that is the space's capability, which the server gives. */
static bool names_export(const char *uri) {
        const char *path = strchr(strstr(uri, "://") + 3, '/');

        return path && path[1] && path[1] != '?';
}

static void check_path_key(struct check *c, const char *at, const char *text, size_t length_max) {
        char quoted[QUOTE_LEN];

        if (!text || !check_usable(c, at))
                return;
        if (*text != '/')
                check_error(c, at, "\"%s\" is no absolute path; begin it with \"/\"", quote(text, quoted));
        else if (strlen(text) > length_max)
                check_error(c, at, "is %zu bytes long; the path of a socket has at most %zu", strlen(text), length_max);
        else if (strchr(text, ','))
                check_error(c, at, "\"%s\" has a comma in it; choose another name", quote(text, quoted));
}

static void check_uri_key(struct check *c, const char *at, const char *uri, bool plain) {
        char quoted[QUOTE_LEN];
        enum way way;

        if (!uri || !check_usable(c, at))
                return;
        quote(uri, quoted);
        way = way_of(uri);
        if (way == WAY_NONE || strpbrk(uri, " \t\n\"'\\"))
                check_error(c, at, "\"%s\" is no NBD URI; write one such as nbds://192.0.2.10/ or "
                            "nbd+unix:///?socket=/run/failover-memserver/nbd.sock", quoted);
        else if (way == WAY_UNIX && !strstr(uri, "?socket=/"))
                check_error(c, at, "\"%s\" does not say which socket; add ?socket=/PATH", quoted);
        else if (names_export(uri))
                check_error(c, at, "\"%s\" names an export; leave it out, since each space has its own", quoted);
        else if (way == WAY_PLAIN && !plain)
                check_error(c, at, "\"%s\" is a way over the network without TLS; write nbds, or unencrypted: yes",
                            quoted);
}

static void check_guests_key(struct check *c, const char *at, const struct memory_server *server) {
        if (server->guests && way_of(server->guests) == WAY_UNIX && check_usable(c, at))
                check_error(c, at, "a guest does not reach a unix socket of the host; write a URI with nbd, nbds or "
                            "nbd+vsock");
        else
                check_uri_key(c, at, server->guests, server->unencrypted == SAID_YES);
}

static void check_unencrypted(struct check *c, const char *at, const struct memory_server *server) {
        char quoted[QUOTE_LEN];

        if (server->unencrypted == SAID_YES && server->uri && way_of(server->uri) != WAY_PLAIN &&
            (!server->guests || way_of(server->guests) != WAY_PLAIN) && check_usable(c, at))
                check_warning(c, at, "\"%s\" goes over no network without TLS; leave unencrypted: yes out",
                              quote(server->uri, quoted));
}

static void check_server(struct check *c, size_t i) {
        const struct memory_server *server = &c->policy->servers[i];
        char path[NODE_PATH_LEN];

        check_path_key(c, check_path(path, "memory-servers[%zu].control", i), server->control,
                       sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1);
        check_uri_key(c, check_path(path, "memory-servers[%zu].uri", i), server->uri,
                      server->unencrypted == SAID_YES);
        check_unencrypted(c, path, server);
        check_guests_key(c, check_path(path, "memory-servers[%zu].guests", i), server);
        check_path_key(c, check_path(path, "memory-servers[%zu].psk", i), server->psk, SIZE_MAX);
        check_path_key(c, check_path(path, "memory-servers[%zu].certificates", i), server->certificates, SIZE_MAX);
        if (server->psk && server->certificates)
                check_error(c, check_path(path, "memory-servers[%zu]", i),
                            "has both psk and certificates; keep one of them");
}

int check_server_name(struct check *c, const char (*names)[NAME_LEN], size_t i, const char *path) {
        int found;

        if (!*names[i] || !check_usable(c, path))
                return -ENOENT;
        for (size_t k = 0; k < i; k++)
                if (strcmp(names[k], names[i]) == 0) {
                        check_broken(c, path, "\"%s\" stands here twice; leave one out", names[i]);
                        return -ENOENT;
                }
        found = policy_find_server(c->policy, names[i]);
        if (found < 0)
                check_broken(c, path, "no memory server is called \"%s\"; add it to memory-servers, or name one of "
                             "those", names[i]);
        return found;
}

/* The servers of one overflow: known, each once, enough of them, and with one kind of keys, since a pager has one. */
static void check_names_of(struct check *c, const struct overflow_keys *overflow, const char *at) {
        const struct policy *policy = c->policy;
        const struct memory_server *keyed = NULL, *server;
        char path[NODE_PATH_LEN];
        int found;

        for (size_t i = 0; i < overflow->n_servers; i++) {
                found = check_server_name(c, overflow->servers, i, check_path(path, "%s.servers[%zu]", at, i));
                if (found < 0)
                        continue;
                server = &policy->servers[found];
                if (!server->psk && !server->certificates)
                        continue;
                if (keyed && ((!keyed->psk) != (!server->psk) ||
                              strcmp(keyed->psk ? keyed->psk : keyed->certificates,
                                     server->psk ? server->psk : server->certificates) != 0))
                        check_error(c, path, "\"%s\" has other keys than \"%s\"; the servers of one overflow have the "
                                    "same", server->name, keyed->name);
                keyed = server;
        }
        check_path(path, "%s.mirror", at);
        if (overflow->mirror == SAID_YES && overflow->n_servers == 1 && check_usable(c, path))
                check_broken(c, path, "a mirror is at a second server; name two in servers, or write mirror: no");
}

static void check_overflow(struct check *c, const struct overflow_keys *overflow, const char *at) {
        char path[NODE_PATH_LEN], text[UNITS_TEXT_MAX];

        if (overflow->n_servers == 0 || !check_usable(c, at))
                return;
        check_names_of(c, overflow, at);
        check_path(path, "%s.size", at);
        if (overflow->size_bytes % (4 * KIB) != 0 && check_usable(c, path))
                check_broken(c, path, "%s is not a multiple of 4KiB, a page; round it up",
                             size_format(text, overflow->size_bytes));
}

static void check_application_overflow(struct check *c, size_t pair, size_t application) {
        const struct application *a = &c->policy->pairs[pair].applications[application];
        char path[NODE_PATH_LEN], when[NODE_PATH_LEN];

        check_path(path, "pairs[%zu].applications[%zu].overflow", pair, application);
        check_overflow(c, &a->overflow, path);
        if (a->overflow.n_servers == 0 || !check_usable(c, path))
                return;
        if (a->kind == APPLICATION_MEMORY)
                check_broken(c, path, "no application is there that could need it; give it to the VM, as "
                             "pairs[%zu].active.overflow", pair);
        else if (a->overflow.when == OVERFLOW_SHORT && a->kind == APPLICATION_PLAIN &&
                 check_usable(c, check_path(when, "%s.when", path)))
                check_broken(c, when, "a plain application's region never moves; write always, or make it hot-standby");
}

/* A server that guests have to reach. */
static void check_server_of(struct check *c, const char *name, const char *path) {
        int found = policy_find_server(c->policy, name);

        if (found < 0)
                check_broken(c, path, "no memory server is called \"%s\"; add it to memory-servers, or name one of "
                             "those", name);
        else if (!c->policy->servers[found].guests)
                check_broken(c, path, "\"%s\" does not say how guests reach it; add guests: to that memory server, say "
                             "nbds://192.0.2.1/", name);
}

static void check_holder(struct check *c, const struct state_region *region, const char *at) {
        char path[NODE_PATH_LEN];

        check_path(path, "%s.holder", at);
        if (check_usable(c, path) && *region->holder)
                check_server_of(c, region->holder, path);
        else if (check_usable(c, path))
                check_broken(c, at, c->policy->n_servers == 0
                                            ? "has no memory server to hold it; add memory-servers"
                                            : "does not say which memory server holds it; add holder: NAME");
        check_path(path, "%s.mirror", at);
        if (!*region->mirror || !check_usable(c, path))
                return;
        if (strcmp(region->mirror, region->holder) == 0)
                check_broken(c, path, "\"%s\" holds it already; name another memory server, or leave mirror out",
                             region->mirror);
        else
                check_server_of(c, region->mirror, path);
}

static void check_region(struct check *c, const struct application *a, const struct state_region *region,
                         const char *at) {
        char path[NODE_PATH_LEN], size[UNITS_TEXT_MAX], memory[UNITS_TEXT_MAX];

        if (region->write_back_usec > 0 && region->kind < REGION_KIND_RESIDENT &&
            check_usable(c, check_path(path, "%s.write-back", at)))
                check_error(c, path, "kind %u writes through as it happens; leave write-back out, or write kind: 3",
                            region->kind);
        if (!check_usable(c, check_path(path, "%s.size", at)))
                return;
        if (region->size_bytes % (4 * KIB) != 0)
                check_broken(c, path, "%s is not a multiple of 4KiB, a page; round it up",
                             size_format(size, region->size_bytes));
        else if (region->kind >= REGION_KIND_RESIDENT && region->size_bytes > 1024 * GIB)
                check_broken(c, path, "%s is too much to be written back as a whole; at most 1TiB is possible with "
                             "kind %u", size_format(size, region->size_bytes), region->kind);
        else if (region->kind >= REGION_KIND_RESIDENT && region->size_bytes > a->memory_bytes)
                check_error(c, path, "%s stay resident in the application, which has %s; make its memory larger, or "
                            "write kind: 1", size_format(size, region->size_bytes),
                            size_format(memory, a->memory_bytes));
}

/* What its regions of kinds 3 and 4 keep locked, together, or UINT64_MAX. */
static uint64_t resident_bytes(const struct application *a) {
        uint64_t sum = 0;

        for (size_t i = 0; i < a->n_regions; i++)
                if (a->regions[i].kind >= REGION_KIND_RESIDENT &&
                    __builtin_add_overflow(sum, a->regions[i].size_bytes, &sum))
                        return UINT64_MAX;
        return sum;
}

/* The agent raises the lock limit of a command by what its regions need. A unit's is systemd's. */
static void check_lock_limit(struct check *c, const struct application *a, uint64_t bytes, const char *path) {
        char size[UNITS_TEXT_MAX], limit[UNITS_TEXT_MAX];

        for (enum side side = SIDE_A; side < SIDE_MAX && bytes > UNIT_LOCK_BYTES; side++)
                if (a->sides[side].unit) {
                        check_warning(c, path, "%s locks %s of it in memory, and systemd lets a unit that is not "
                                      "root's lock %s: write LimitMEMLOCK=infinity in the unit, if it is not there "
                                      "(it cannot be seen from here)", a->sides[side].unit, size_format(size, bytes),
                                      size_format(limit, UNIT_LOCK_BYTES));
                        return;
                }
}

/* All regions of an application against its memory, where each by itself fits. It is no error: the VM has its base
 * besides, and a policy that has worked so is to work after an upgrade. */
static void check_resident(struct check *c, const struct application *a, const char *path) {
        char size[UNITS_TEXT_MAX], memory[UNITS_TEXT_MAX];
        uint64_t bytes = resident_bytes(a);

        for (size_t i = 0; i < a->n_regions; i++)
                if (a->regions[i].kind >= REGION_KIND_RESIDENT && a->regions[i].size_bytes > a->memory_bytes)
                        return;
        if (!check_usable(c, path) || bytes == 0)
                return;
        if (bytes > a->memory_bytes)
                check_warning(c, path, "%s stay resident in the application together, which has %s; make its memory "
                              "larger, or write kind: 1 for some", size_format(size, bytes),
                              size_format(memory, a->memory_bytes));
        else if (bytes > a->memory_bytes / 2)
                check_warning(c, path, "of the %s that stay resident there is a second copy, by which stores are seen, "
                              "and the application has %s for both and for itself; make its memory larger, or write "
                              "kind: 1", size_format(size, bytes), size_format(memory, a->memory_bytes));
        check_lock_limit(c, a, bytes, path);
}

static void check_state(struct check *c, size_t pair, size_t application) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        const struct application *a = &p->applications[application];
        char path[NODE_PATH_LEN];

        check_path(path, "pairs[%zu].applications[%zu].state", pair, application);
        if (a->n_regions > 0 && (a->kind == APPLICATION_MEMORY || a->kind == APPLICATION_PLAIN) &&
            check_usable(c, path))
                check_broken(c, path, "only a hot-standby application has a standby that could find its state");
        for (size_t i = 0; i < a->n_regions; i++) {
                check_path(path, "pairs[%zu].applications[%zu].state[%zu]", pair, application, i);
                check_holder(c, &a->regions[i], path);
                check_region(c, a, &a->regions[i], path);
        }
        check_resident(c, a, check_path(path, "pairs[%zu].applications[%zu].state", pair, application));
}

/* A name stands for one region of the pair: it names the space at the holder. */
static void check_region_names(struct check *c, size_t pair) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        const char *seen[POLICY_APPLICATIONS_MAX * POLICY_REGIONS_MAX];
        char path[NODE_PATH_LEN];
        size_t n = 0;

        for (size_t j = 0; j < p->n_applications; j++)
                for (size_t k = 0; k < p->applications[j].n_regions; k++) {
                        const char *name = p->applications[j].regions[k].name;

                        check_path(path, "pairs[%zu].applications[%zu].state[%zu].region", pair, j, k);
                        for (size_t i = 0; i < n && *name; i++)
                                if (strcmp(seen[i], name) == 0 && check_usable(c, path))
                                        check_broken(c, path, "\"%s\" is a region of this pair already; choose another "
                                                     "name", name);
                        seen[n++] = name;
                }
}

/* True where `overflow` names the server. */
static bool names_server(const struct overflow_keys *overflow, const char *name) {
        for (size_t i = 0; i < overflow->n_servers; i++)
                if (strcmp(overflow->servers[i], name) == 0)
                        return true;
        return false;
}

/* What all who may overflow to a server could save there. */
static uint64_t server_demand(const struct policy *policy, const char *name) {
        uint64_t sum = 0;

        for (size_t i = 0; i < policy->n_pairs; i++) {
                const struct pair_policy *pair = &policy->pairs[i];

                for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                        if (names_server(&pair->members[side].overflow, name))
                                sum += pair->members[side].overflow.size_bytes;
                for (size_t j = 0; j < pair->n_applications; j++) {
                        const struct application *a = &pair->applications[j];

                        if (names_server(&a->overflow, name))
                                sum += a->overflow.size_bytes;
                        for (size_t k = 0; k < a->n_regions; k++)
                                if (strcmp(a->regions[k].holder, name) == 0 ||
                                    strcmp(a->regions[k].mirror, name) == 0)
                                        sum += a->regions[k].size_bytes;
                }
        }
        return sum;
}

/* It is no error: not all of them outgrow their memory at once, and a server that is full loses nothing. */
static void check_demand(struct check *c, size_t i) {
        const struct memory_server *server = &c->policy->servers[i];
        char path[NODE_PATH_LEN], held[UNITS_TEXT_MAX], wanted[UNITS_TEXT_MAX];
        uint64_t demand;

        if (server->memory_bytes == 0 || !check_usable(c, check_path(path, "memory-servers[%zu].memory", i)))
                return;
        demand = server_demand(c->policy, server->name);
        if (demand > server->memory_bytes)
                check_warning(c, path, "%s is less than the %s that VMs and applications may send there; a server that "
                              "is full refuses what they save", size_format(held, server->memory_bytes),
                              size_format(wanted, demand));
}

void check_servers(struct check *c) {
        char path[NODE_PATH_LEN];

        for (size_t i = 0; i < c->policy->n_servers; i++) {
                check_server(c, i);
                check_demand(c, i);
        }
        for (size_t i = 0; i < c->policy->n_pairs; i++) {
                const struct pair_policy *pair = &c->policy->pairs[i];

                for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                        check_overflow(c, &pair->members[side].overflow,
                                       check_path(path, "pairs[%zu].%s.overflow", i,
                                                  side == SIDE_A ? "active" : "standby"));
                for (size_t j = 0; j < pair->n_applications; j++) {
                        check_application_overflow(c, i, j);
                        check_state(c, i, j);
                }
                check_region_names(c, i);
        }
}
