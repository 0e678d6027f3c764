/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What failoverd looks at where a thousand pairs have overflow disks: counted, as a look costs files that are opened,
 * on the loop that decides. In the place of the hypervisor, of the manager and of pagers' starts are functions of this
 * file. */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/manager/manager-internal.h"
#include "policy/text.h"
#include "tests/unit/test.h"

#define PAIRS 1000
#define PAIR_TEXT_LEN 512

static struct {
        unsigned looks, lists;
        usec_t now;
        struct event told; /* the last one */
        unsigned n_told;
        const char *alive; /* the one pager that is */
} world;

void __real_pagers_look(struct pagers *pagers, const char *name, const char *parameters, struct pager_status *ret);
void __wrap_pagers_look(struct pagers *pagers, const char *name, const char *parameters, struct pager_status *ret);
int __real_pagers_list(struct pagers *pagers, void (*found)(void *userdata, const char *name), void *userdata);
int __wrap_pagers_list(struct pagers *pagers, void (*found)(void *userdata, const char *name), void *userdata);
int __wrap_pagers_start(struct pagers *pagers, const char *name);
const struct overflow_disks *__wrap_hypervisor_overflow(const struct hypervisor *hypervisor, int pair, enum side side);
bool __wrap_hypervisor_up(const struct hypervisor *hypervisor);
usec_t __wrap_manager_now(void);
void __wrap_manager_event(struct manager *manager, struct event *event);
void __wrap_manager_act(struct manager *manager, const struct action *action);

void __wrap_pagers_look(struct pagers *pagers, const char *name, const char *parameters, struct pager_status *ret) {
        world.looks++;
        __real_pagers_look(pagers, name, parameters, ret);
        ret->alive |= world.alive && strcmp(name, world.alive) == 0;
}

int __wrap_pagers_list(struct pagers *pagers, void (*found)(void *userdata, const char *name), void *userdata) {
        world.lists++;
        return __real_pagers_list(pagers, found, userdata);
}

int __wrap_pagers_start(struct pagers *pagers, const char *name) {
        return 0;
}

/* Each active VM has the disk of its application. */
const struct overflow_disks *__wrap_hypervisor_overflow(const struct hypervisor *hypervisor, int pair, enum side side) {
        static struct overflow_disks one = { .n = 1, .disks = { { .serial = "failover-overflow-0" } } };

        snprintf(one.disks[0].app, sizeof(one.disks[0].app), "db%d", pair);
        return side == SIDE_A ? &one : NULL;
}

bool __wrap_hypervisor_up(const struct hypervisor *hypervisor) {
        return true;
}

usec_t __wrap_manager_now(void) {
        return world.now;
}

/* As the engine would. */
void __wrap_manager_event(struct manager *manager, struct event *event) {
        world.told = *event;
        world.n_told++;
        if (event->kind == EVENT_OVERFLOW)
                manager->engine->pairs[event->pair]->apps[event->app].overflow[event->side] = event->up;
}

void __wrap_manager_act(struct manager *manager, const struct action *action) {
}

static struct policy *make_policy(void) {
        _cleanup_free_ char *text = malloc((PAIRS + 1) * PAIR_TEXT_LEN);
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        size_t used;

        REQUIRE(text != NULL);
        used = (size_t) sprintf(text, "version: 1\npool: {memory: %uGiB, reserve: 128MiB}\nmemory-servers:\n"
                                      "  - {name: one, control: /one, uri: \"nbd+unix:///?socket=/1\"}\npairs:\n",
                               PAIRS);
        for (unsigned i = 0; i < PAIRS; i++)
                used += (size_t) sprintf(text + used,
                        "  - name: p%u\n    active: {domain: a%u, base: 192MiB, overflow: {servers: [one], mirror: no, "
                        "size: 64MiB}}\n    standby: {domain: b%u, base: 192MiB}\n    applications:\n"
                        "      - {name: db%u, kind: hot-standby, memory: 128MiB, start: {command: [/bin/db]}}\n",
                        i, i, i, i);
        if (policy_parse(text, used, "policy", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        REQUIRE(policy != NULL);
        return policy;
}

static void look(struct manager *manager) {
        world.looks = world.lists = world.n_told = 0;
        REQUIRE(sd_event_run(manager->loop, 5 * USEC_PER_SEC) > 0);
}

static void begin(struct manager *manager, char *directory) {
        struct pagers_options options = { .user = true, .runtime_dir = directory, .service_dir = directory,
                                          .nbdkit = "/bin/false", .plugin = "none" };
        struct policy *policy = make_policy();
        struct event event = { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy, .time_usec = 1 };

        world.now = 1000 * USEC_PER_SEC;
        REQUIRE(mkdtemp(directory) != NULL && sd_event_new(&manager->loop) >= 0);
        manager->engine = engine_new();
        REQUIRE(manager->engine != NULL);
        engine_step(manager->engine, &event, &manager->update);
        policy_free(policy);
        REQUIRE(!manager->update.failed && manager->engine->n_pairs == PAIRS);
        for (int i = 0; i < PAIRS; i++)
                manager->engine->pairs[i]->members[SIDE_A].domain = DOMAIN_RUNNING;
        REQUIRE(overflow_new(manager, &options, &manager->overflow, NULL) == 0);
}

static void end(struct manager *manager, const char *directory) {
        char command[64];

        overflow_free(manager->overflow);
        update_deinit(&manager->update);
        engine_free(manager->engine);
        sd_event_unref(manager->loop);
        snprintf(command, sizeof(command), "rm -rf %s", directory);
        CHECK(system(command) == 0);
}

static void in_a_hurry_only_places_of_pairs_that_wait_are_looked_at(void) {
        static struct manager_pair no_links, *pairs[PAIRS]; /* nobody speaks to a guest */
        struct manager manager = { .pairs = pairs };
        char directory[] = "/tmp/test-overflow-XXXXXX";
        struct pair *waits;

        for (int i = 0; i < PAIRS; i++)
                pairs[i] = &no_links;
        begin(&manager, directory);
        look(&manager); /* all: the VM's own disk, and the application's of an earlier policy */
        CHECK(manager.overflow->n_places == 2 * PAIRS && world.looks == 2 * PAIRS && world.lists == 1);
        CHECK(world.n_told == 0);

        waits = manager.engine->pairs[700];
        waits->apps[0].overflow_usec = 1; /* its start waits */
        world.now += 50 * USEC_PER_MSEC;
        world.alive = "a700@db700";
        overflow_follow(manager.overflow, waits->slot);
        look(&manager);
        CHECK(world.looks == 2 && world.lists == 0);
        CHECK(world.n_told == 1 && world.told.kind == EVENT_OVERFLOW && world.told.pair == 700 &&
              world.told.side == SIDE_A && world.told.app == 0 && world.told.up);
        look(&manager); /* nobody else has asked for it */
        CHECK(world.looks == 2 && world.n_told == 0);

        world.now += 500 * USEC_PER_MSEC; /* the others' turn has come */
        look(&manager);
        CHECK(world.looks == 2 * PAIRS && world.lists == 1 && world.n_told == 0);
        end(&manager, directory);
}

TEST_MAIN("manager-overflow", TEST(in_a_hurry_only_places_of_pairs_that_wait_are_looked_at))
