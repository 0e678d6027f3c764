/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "policy/check.h"
#include "policy/keys.h"

static const char *side_key(enum side side) {
        return side == SIDE_A ? "active" : "standby";
}

static bool can_start(const struct application *a, enum side side) {
        return a->sides[side].unit || a->sides[side].start.n_words > 0;
}

/* libvirt takes an alias of letters, digits, "_" and "-" only, and drops any other without a word; the device of an
 * application's region is found by the alias "ua-NAME". */
static void check_alias(struct check *c, const struct application *a, const char *at) {
        char path[NODE_PATH_LEN];

        if (check_usable(c, check_path(path, "%s.name", at)) && strchr(a->name, '.'))
                check_error(c, path, "\"%s\" has a \".\" in it, which libvirt does not take in the alias ua-%s of its "
                            "memory device; write \"-\"", a->name, a->name);
}

static void check_start(struct check *c, const struct application *a, const char *at) {
        char path[NODE_PATH_LEN];

        check_path(path, "%s.start", at);
        if (!check_usable(c, path))
                return;
        for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                if (can_start(a, side))
                        continue;
                if (a->kind == APPLICATION_PLAIN && side == SIDE_B)
                        continue;
                if (side == SIDE_A && !can_start(a, SIDE_B))
                        check_broken(c, path, "nothing to start; write {unit: NAME.service} or {command: [...]}");
                else if (a->kind == APPLICATION_PLAIN)
                        check_broken(c, path, "a plain application runs on the active side, and start.active is "
                                     "missing; add it");
                else
                        check_broken(c, path, "%s application could not be started on the %s side: start.%s is "
                                     "missing; add it%s", a->kind == APPLICATION_AUTO ? "an auto" : "a hot-standby",
                                     side_key(side), side_key(side),
                                     side == SIDE_A ? "" : ", or make the application plain");
                return;
        }
}

static void check_stop(struct check *c, const struct application *a, const char *at) {
        char path[NODE_PATH_LEN];

        for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                if (!a->sides[side].unit || a->sides[side].stop.n_words == 0)
                        continue;
                if (check_usable(c, check_path(path, "%s.stop", at)))
                        check_error(c, path, "%s is a unit, which systemd stops; leave \"stop\" out, and write "
                                    "ExecStop= in the unit where it needs one", a->sides[side].unit);
                return;
        }
}

static void check_canary(struct check *c, const struct application *a, const char *at) {
        char path[NODE_PATH_LEN];
        bool set = a->sides[SIDE_A].canary.n_words > 0 || a->sides[SIDE_B].canary.n_words > 0;

        if (!check_usable(c, check_path(path, "%s.canary", at)))
                return;
        if (!set && a->canary_timeout_usec != CANARY_TIMEOUT_USEC)
                check_error(c, path, "a timeout and nothing to run; write {command: [...]}, or leave it out: then the "
                            "start command only has to be there");
        else if (set && a->kind == APPLICATION_PLAIN)
                check_warning(c, path, "a plain application never moves, so its canary is never run; make it "
                              "hot-standby, or leave it out");
}

static void check_times(struct check *c, const struct pair_policy *pair, const struct application *a, const char *at) {
        char path[NODE_PATH_LEN], other[NODE_PATH_LEN], x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];

        if (check_usable(c, check_path(path, "%s.health.timeout", at)) &&
            check_usable(c, check_path(other, "%s.health.interval", at)) &&
            a->health_timeout_usec > a->health_interval_usec)
                check_error(c, path, "%s is longer than the interval of %s, so that checks would overtake each other; "
                            "make it shorter or the interval longer", duration_format(x, a->health_timeout_usec),
                            duration_format(y, a->health_interval_usec));

        if (check_usable(c, check_path(path, "%s.restart", at)) && a->restart_budget > 0 &&
            a->restart_expected_usec > pair->objective_usec)
                check_warning(c, check_path(path, "%s.restart.expected", at),
                              "a restart of %s takes longer than the objective of %s%s",
                              duration_format(x, a->restart_expected_usec), duration_format(y, pair->objective_usec),
                              a->kind == APPLICATION_PLAIN ? "" : "; a budget of 0 fails over at once");
}

static bool address_is_valid(const char *cidr, bool *ret_no_prefix) {
        char text[INET6_ADDRSTRLEN];
        unsigned char bytes[16];
        size_t n = strcspn(cidr, "/");
        const char *prefix = cidr + n;
        int family, length;

        *ret_no_prefix = false;
        if (n >= sizeof(text))
                return false;
        memcpy(text, cidr, n);
        text[n] = 0;
        family = strchr(text, ':') ? AF_INET6 : AF_INET;
        if (inet_pton(family, text, bytes) != 1)
                return false;
        if (*prefix == 0) {
                *ret_no_prefix = true;
                return false;
        }
        prefix++;
        if (!isdigit((unsigned char) *prefix) || strlen(prefix) > 3 || prefix[strspn(prefix, "0123456789")] != 0)
                return false;
        length = atoi(prefix);
        return length >= 1 && length <= (family == AF_INET ? 32 : 128);
}

static void check_address(struct check *c, const struct address *address, const char *at) {
        char path[NODE_PATH_LEN], quoted[QUOTE_LEN];
        bool no_prefix;

        if (address->cidr && check_usable(c, check_path(path, "%s.address", at)) &&
            !address_is_valid(address->cidr, &no_prefix)) {
                text_quote(address->cidr, strlen(address->cidr), quoted);
                if (no_prefix)
                        check_error(c, path, "\"%s\" has no prefix length; write %s/%s", quoted, quoted,
                                    strchr(quoted, ':') ? "64" : "24");
                else
                        check_error(c, path, "\"%s\" is no address; write one such as 192.0.2.10/24 or "
                                    "2001:db8::10/64", quoted);
        }
        if (address->link && check_usable(c, check_path(path, "%s.link", at))) {
                text_quote(address->link, strlen(address->link), quoted);
                if (strlen(address->link) >= IFNAMSIZ || strpbrk(address->link, "/: \t\n"))
                        check_error(c, path, "\"%s\" is no link's name; write one of at most %d characters, such as "
                                    "eth0", quoted, IFNAMSIZ - 1);
        }
}

static void check_exclusive(struct check *c, const struct application *a, const char *at) {
        char path[NODE_PATH_LEN];

        if (a->kind != APPLICATION_PLAIN || a->n_disks + a->n_addresses == 0)
                return;
        check_warning(c, check_path(path, "%s.resources", at),
                      "a plain application never moves, so its disks and addresses stay with its VM; make it "
                      "hot-standby where they are to follow");
}

/* A region for memory that is assigned by hand: nothing runs in it, and each VM has one. */
static void check_hand_memory(struct check *c, const struct pair_policy *p, size_t application, const char *at) {
        const struct application *a = &p->applications[application];
        int first = pair_policy_find_memory(p);
        char path[NODE_PATH_LEN];

        if (first >= 0 && (size_t) first != application)
                check_broken(c, check_path(path, "%s.kind", at), "%s is of kind memory already, and a VM has one such "
                             "region; make that one larger", p->applications[first].name);
        for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                if (can_start(a, side) || a->sides[side].stop.n_words || a->sides[side].health.n_words ||
                    a->sides[side].canary.n_words) {
                        check_broken(c, check_path(path, "%s.kind", at), "nothing runs in a region of kind memory; "
                                     "leave start, stop, health and canary out, or name another kind");
                        break;
                }
        if (a->vcpus || a->n_disks || a->n_addresses)
                check_broken(c, check_path(path, "%s.resources", at), "a region of kind memory has no resources; leave "
                             "them out");
}

/* What one application says about itself. */
void check_application(struct check *c, size_t pair, size_t application) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        const struct application *a = &p->applications[application];
        char at[NODE_PATH_LEN / 4], path[NODE_PATH_LEN];

        snprintf(at, sizeof(at), "pairs[%zu].applications[%zu]", pair, application);
        check_alias(c, a, at);
        if (a->kind == APPLICATION_MEMORY) {
                check_hand_memory(c, p, application, at);
                return;
        }
        if (check_usable(c, check_path(path, "%s.kind", at)))
                check_start(c, a, at);
        check_stop(c, a, at);
        check_canary(c, a, at);
        check_times(c, p, a, at);
        check_exclusive(c, a, at);
        for (size_t i = 0; i < a->n_addresses; i++)
                check_address(c, &a->addresses[i], check_path(path, "%s.resources.addresses[%zu]", at, i));
}

/* Contradictions between the times of a pair. */
void check_pair_times(struct check *c, size_t pair) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        char path[NODE_PATH_LEN], objective[NODE_PATH_LEN], x[UNITS_TEXT_MAX], y[UNITS_TEXT_MAX];
        usec_t silence = p->beat_usec * p->beats_missed + p->confirm_usec;
        bool known = check_usable(c, check_path(objective, "pairs[%zu].objective", pair));

        if (known && check_usable(c, check_path(path, "pairs[%zu].detect", pair)) && silence > p->objective_usec)
                check_error(c, path, "beat x missed + confirm is %s, longer than the objective of %s; detect faster or "
                            "make the objective longer", duration_format(x, silence),
                            duration_format(y, p->objective_usec));
        if (known && check_usable(c, check_path(path, "pairs[%zu].failover-expected", pair)) &&
            p->failover_expected_usec > p->objective_usec)
                check_warning(c, path, "a failover of %s misses the objective of %s",
                              duration_format(x, p->failover_expected_usec), duration_format(y, p->objective_usec));
        else if (known && check_usable(c, check_path(path, "pairs[%zu].core-dump.within", pair)) &&
                 p->core_dump_within_usec > 0 &&
                 p->failover_expected_usec + p->core_dump_within_usec > p->objective_usec)
                check_warning(c, path, "a failover with a core dump of %s misses the objective of %s",
                              duration_format(x, p->core_dump_within_usec), duration_format(y, p->objective_usec));
        if (check_usable(c, check_path(path, "pairs[%zu].detect.beat", pair)) &&
            check_usable(c, check_path(path, "pairs[%zu].guest-stop-timeout", pair)) &&
            p->guest_stop_timeout_usec < p->beat_usec)
                check_error(c, path, "%s is shorter than one beat of %s, so that it could not be told from silence; "
                            "make it longer", duration_format(x, p->guest_stop_timeout_usec),
                            duration_format(y, p->beat_usec));
}

static void check_side_commands(struct check *c, size_t pair, enum side side) {
        const struct pair_policy *p = &c->policy->pairs[pair];
        char path[NODE_PATH_LEN];
        size_t n = 0;

        for (size_t i = 0; i < p->n_applications; i++) {
                const struct application_side *run = &p->applications[i].sides[side];
                const struct command *commands[] = { &run->start, &run->stop, &run->health, &run->canary };

                for (size_t j = 0; j < ELEMENTSOF(commands); j++)
                        for (size_t k = 0; k < commands[j]->n_words; k++)
                                n += strlen(commands[j]->words[k]) + 3;
        }
        if (n > POLICY_COMMAND_BYTES)
                check_broken(c, check_path(path, "pairs[%zu].applications", pair),
                             "the commands of the %s side take %zu bytes together, more than %zu; put the longest "
                             "into scripts in the guest", side_key(side), n, (size_t) POLICY_COMMAND_BYTES);
}

/* All commands of one side travel in one message to its agent. */
void check_commands(struct check *c, size_t pair) {
        for (enum side side = SIDE_A; side < SIDE_MAX; side++)
                check_side_commands(c, pair, side);
}
