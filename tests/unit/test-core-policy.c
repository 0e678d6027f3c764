/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A policy that changes under a living engine. */

#include <errno.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/engine.h"
#include "daemon/core/retired.h"
#include "policy/text.h"
#include "tests/unit/test.h"

struct world {
        struct engine *engine;
        struct update update;
        usec_t now_usec;
};

static struct policy *policy_of(const char *applications, const char *pool) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        char text[2048];

        snprintf(text, sizeof(text),
                 "version: 1\n"
                 "pool: {memory: %s, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n"
                 "memory-servers: [{name: depot, control: /run/depot, uri: \"nbds://192.0.2.1/\", guests: "
                 "\"nbds://192.0.2.1/\"}]\n"
                 "pairs:\n"
                 "  - name: p\n"
                 "    active: {domain: a, base: 128MiB}\n"
                 "    standby: {domain: b, base: 128MiB}\n"
                 "    applications: [%s]\n", pool, applications);
        if (policy_parse(text, strlen(text), "policy", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        REQUIRE(policy != NULL);
        return policy;
}

#define DB "{name: db, kind: hot-standby, memory: 256MiB, start: {unit: db.service}}"
#define LARGE_DB "{name: db, kind: hot-standby, memory: 384MiB, start: {unit: db.service}}"
#define SMALL_DB "{name: db, kind: hot-standby, memory: 128MiB, start: {unit: db.service}}"
#define WEB "{name: web, kind: plain, memory: 128MiB, start: {unit: web.service}}"

static void step(struct world *world, struct event event) {
        event.time_usec = world->now_usec += USEC_PER_MSEC;
        event.real_usec = event.time_usec;
        engine_step(world->engine, &event, &world->update);
        table_check(&world->engine->table);
}

static void apply(struct world *world, const char *applications, const char *pool) {
        struct policy *policy = policy_of(applications, pool);

        step(world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        policy_free(policy);
}

/* A pair whose database already has its region on side A. */
static struct world begin(void) {
        struct world world = { .engine = engine_new(), .now_usec = USEC_PER_SEC };
        struct pair *pair;

        apply(&world, DB ", " WEB, "1GiB");
        step(&world, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        pair = world.engine->pairs[0];
        REQUIRE(table_grant(&world.engine->table, (struct holder) { 0, SIDE_A }, 256 * MIB) == 0);
        pair->record.apps[0].granted_bytes[SIDE_A] = 256 * MIB;
        REQUIRE(table_carve(&world.engine->table, (struct holder) { 0, SIDE_A }, 128 * MIB, 0, "db", 256 * MIB,
                            (struct holder) { 0, SIDE_B }) == 0);
        pair->apps[0].state[SIDE_A] = APPLICATION_RUNNING;
        return world;
}

static void end(struct world *world) {
        update_deinit(&world->update);
        engine_free(world->engine);
}

static uint64_t usage(const struct world *world, int app) {
        const struct region *region = table_find_application(&world->engine->table, (struct holder) { 0, SIDE_A }, app);

        return region ? region->usage_bytes : 0;
}

static void a_larger_pool_is_held_by_the_monitor_first(void) {
        struct world world = begin();
        uint64_t before = table_unused(&world.engine->table);

        apply(&world, DB ", " WEB, "2GiB");
        CHECK(table_unused(&world.engine->table) == before + GIB);
        CHECK(usage(&world, 0) == 256 * MIB);
        CHECK(world.engine->pairs[0]->apps[0].state[SIDE_A] == APPLICATION_RUNNING);
        end(&world);
}

static void a_pool_below_what_is_granted_is_refused_and_nothing_changes(void) {
        struct world world = begin();
        /* Fits by its own sums, since the database is gone from it; its memory is not. */
        struct policy *policy = policy_of(WEB, "640MiB");
        char why[EVENT_TEXT_LEN];

        CHECK(engine_try_policy(world.engine, policy, why, sizeof(why)) == -ENOSPC);
        CHECK(strstr(why, "pool of 640 MiB") != NULL);
        step(&world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        CHECK(world.engine->policy->pool_bytes == GIB && usage(&world, 0) == 256 * MIB);
        policy_free(policy);
        end(&world);
}

static void a_full_region_grows_at_once(void) {
        struct world world = begin();

        apply(&world, LARGE_DB ", " WEB, "1GiB");
        CHECK(usage(&world, 0) == 384 * MIB);
        CHECK(world.engine->pairs[0]->record.apps[0].granted_bytes[SIDE_A] == 384 * MIB);
        end(&world);
}

static void a_region_in_use_does_not_shrink(void) {
        struct world world = begin();
        struct policy *policy = policy_of(SMALL_DB, "1GiB");
        char why[EVENT_TEXT_LEN];

        CHECK(engine_try_policy(world.engine, policy, why, sizeof(why)) == -EBUSY);
        CHECK(strstr(why, "cannot shrink") != NULL);
        policy_free(policy);
        end(&world);
}

static void an_application_taken_out_keeps_its_row_until_its_memory_is_back(void) {
        struct world world = begin();
        struct pair *pair;
        int app;

        apply(&world, WEB, "1GiB");
        pair = world.engine->pairs[0];
        app = pair_policy_find_application(pair->policy, "db");
        REQUIRE(app == 1);
        CHECK(pair->policy->applications[app].retired && pair->record.apps[app].ended);
        CHECK(usage(&world, app) == 256 * MIB);
        CHECK(pair->apps[app].state[SIDE_A] == APPLICATION_RUNNING); /* its agent is asked to stop it */

        /* Its memory has left, and nobody has confirmed that it has stopped. */
        table_give_back(&world.engine->table,
                        table_find_application(&world.engine->table, (struct holder) { 0, SIDE_A }, app));
        pair->record.apps[app].granted_bytes[SIDE_A] = 0;
        pair->apps[app].state[SIDE_A] = APPLICATION_STOPPED;
        apply(&world, WEB, "1GiB");
        pair = world.engine->pairs[0];
        REQUIRE(pair_policy_find_application(pair->policy, "db") == app);
        /* That is confirmed too: forgotten by the next policy. */
        pair->record.apps[app].stopped = true;
        apply(&world, WEB, "1GiB");
        CHECK(pair_policy_find_application(world.engine->pairs[0]->policy, "db") == -ENOENT);
        end(&world);
}

static void an_application_that_comes_back_is_itself_again(void) {
        struct world world = begin();
        struct pair *pair;

        apply(&world, WEB, "1GiB");
        apply(&world, WEB ", " DB, "1GiB");
        pair = world.engine->pairs[0];
        CHECK(pair->policy->n_applications == 2);
        CHECK(!pair->record.apps[1].ended && pair_application_kind(pair, 1) == APPLICATION_HOT_STANDBY);
        CHECK(usage(&world, 1) == 256 * MIB);
        end(&world);
}

static void apply_none(struct world *world) {
        static const char text[] = "version: 1\npool: {memory: 1GiB, monitor: 64MiB, overhead: 64MiB}\npairs: []\n";
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;

        REQUIRE(policy_parse(text, sizeof(text) - 1, "policy", &policy, &diagnostics) == 0);
        diagnostics_deinit(&diagnostics);
        step(world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        policy_free(policy);
}

static void a_pair_taken_out_stays_until_its_memory_is_back_and_then_gives_all_back(void) {
        struct world world = begin();
        struct pair *pair;

        apply_none(&world);
        pair = world.engine->pairs[0];
        REQUIRE(pair && pair->policy->retired);
        CHECK(usage(&world, 0) == 256 * MIB && pair->record.apps[0].ended);

        pair->apps[0].state[SIDE_A] = APPLICATION_STOPPED;
        table_give_back(&world.engine->table,
                        table_find_application(&world.engine->table, (struct holder) { 0, SIDE_A }, 0));
        pair->record.apps[0].granted_bytes[SIDE_A] = 0;
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                pair->record.apps[i].stopped = true;
        apply_none(&world);
        CHECK(engine_find_pair(world.engine, "p") == -ENOENT);
        CHECK(table_unused(&world.engine->table) == GIB - 64 * MIB);
        end(&world);
}

static void what_needs_something_of_one_that_is_taken_out_waits_for_it(void) {
        static const struct {
                const char *old, *next;
                bool waits;
        } cases[] = {
                { "resources: {disks: [vdb]}", "resources: {disks: [vdc, vdb]}", true },
                { "resources: {disks: [vdb]}", "resources: {disks: [vdc]}", false },
                { "resources: {addresses: [{address: 192.0.2.1/24, link: eth0}]}",
                  "resources: {addresses: [{address: 192.0.2.1/28, link: eth1}]}", true },
                { "resources: {addresses: [{address: 192.0.2.1/24, link: eth0}]}",
                  "resources: {addresses: [{address: 192.0.2.10/24, link: eth0}]}", false },
                { "state: [{region: orders, size: 1MiB}]", "state: [{region: orders, size: 1MiB}]", true },
                { "state: [{region: orders, size: 1MiB}]", "state: [{region: parcels, size: 1MiB}]", false },
        };
        static const char application[] =
                "{name: %s, kind: hot-standby, memory: 256MiB, start: {unit: db.service}, %s}";

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct world world = begin();
                char text[512], why[EVENT_TEXT_LEN] = "";
                int app;

                snprintf(text, sizeof(text), application, "db", cases[i].old);
                apply(&world, text, "1GiB");
                snprintf(text, sizeof(text), application, "other", cases[i].next);
                apply(&world, text, "1GiB");
                app = pair_policy_find_application(world.engine->pairs[0]->policy, "other");
                REQUIRE(app == 0);
                CHECK(retired_reason(world.engine, world.engine->pairs[0], app, why) == cases[i].waits);
                if (cases[i].waits)
                        CHECK_TEXT(why, "other: not started before db, which was taken out of p, has stopped on a and "
                                        "let go of its disks");
                end(&world);
        }
}

static int try_text(struct world *world, const char *vms_and_pairs, char why[static EVENT_TEXT_LEN]) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        char text[2048];
        int r;

        snprintf(text, sizeof(text),
                 "version: 1\npool: {memory: 1GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n"
                 "memory-servers: [{name: depot, control: /run/depot, uri: \"nbds://192.0.2.1/\"}]\n%s",
                 vms_and_pairs);
        if (policy_parse(text, strlen(text), "policy", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stderr);
        diagnostics_deinit(&diagnostics);
        REQUIRE(policy != NULL);
        r = engine_try_policy(world->engine, policy, why, EVENT_TEXT_LEN);
        if (r == 0)
                step(world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        policy_free(policy);
        return r;
}

#define NEITHER "pairs: []\n"
#define ALONE NEITHER "vms: [{domain: a, memory: 128MiB, standby: context, servers: [depot]}]\n"
#define PAIR \
        "pairs: [{name: p, active: {domain: a, base: 128MiB}, standby: {domain: b, base: 128MiB}, " \
        "applications: [" DB "]}]\n"

/* Its standby and failoverd would both act on it, and each might start it where the other has fenced it. */
static void a_vm_goes_from_alone_to_a_pair_and_back_by_being_neither_first(void) {
        struct world world = begin();
        char why[EVENT_TEXT_LEN] = "";

        CHECK(try_text(&world, ALONE, why) == -EBUSY); /* its database is not out of it */
        CHECK(strstr(why, "a: its applications under pair p are still being stopped") == why);
        end(&world);

        world = (struct world) { .engine = engine_new(), .now_usec = USEC_PER_SEC };
        CHECK(try_text(&world, ALONE, why) == 0);
        CHECK(try_text(&world, PAIR, why) == -EBUSY && strstr(why, "a: it stands alone") == why);
        CHECK(try_text(&world, NEITHER, why) == 0);
        CHECK(try_text(&world, PAIR, why) == 0);
        end(&world);
}

/* What a new policy would be refused for, and one in force is not. */
static void a_policy_that_is_no_longer_fit_is_in_force_again(void) {
        static const char *const pairs[] = {
                /* a base below the floor */
                "{name: p, active: {domain: a, base: 64MiB}, standby: {domain: b, base: 64MiB}, "
                "applications: [" DB "]}",
                /* detection longer than its objective, and a name that libvirt takes no alias of */
                "{name: p, objective: 1s, active: {domain: a, base: 128MiB}, standby: {domain: b, base: 128MiB}, "
                "applications: [{name: d.b, kind: hot-standby, memory: 256MiB, start: {unit: db.service}}]}",
                /* more than its applications' devices take, and hot-standby regions that the pool does not cover */
                "{name: p, active: {domain: a, base: 128MiB, memory: 512MiB}, standby: {domain: b, base: 128MiB}, "
                "applications: [" DB "]}, {name: q, active: {domain: c, base: 128MiB}, "
                "standby: {domain: d, base: 128MiB}, "
                "applications: [{name: web, kind: hot-standby, memory: 640MiB, start: {unit: web.service}}]}",
        };

        for (size_t i = 0; i < ELEMENTSOF(pairs); i++) {
                struct world world = { .engine = engine_new(), .now_usec = USEC_PER_SEC };
                struct diagnostics refused = { 0 }, told = { 0 };
                struct policy *policy = NULL;
                char text[2048];

                snprintf(text, sizeof(text),
                         "version: 1\npool: {memory: 1536MiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: "
                         "64MiB}\npairs: [%s]\n", pairs[i]);
                CHECK(policy_parse(text, strlen(text), "policy", &policy, &refused) == -EINVAL);
                CHECK(policy_parse_in_force(text, strlen(text), "policy", &policy, &told) == 0);
                CHECK(told.n_tolerated >= refused.n_errors && told.n_errors == 0);
                REQUIRE(policy != NULL);
                step(&world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
                CHECK(world.engine->policy != NULL);
                step(&world, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
                CHECK(!world.engine->pool_short && !world.engine->pairs[0]->record.held);
                policy_free(policy);
                diagnostics_deinit(&refused);
                diagnostics_deinit(&told);
                end(&world);
        }
}

#define SHORT_PAIR(memory) \
        "pairs: [{name: p, active: {domain: a, base: 128MiB" memory "}, standby: {domain: b, base: 128MiB}, " \
        "applications: [{name: db, kind: hot-standby, memory: 512MiB, start: {unit: db.service}}, " WEB "]}]\n"
#define NEAR(memory) \
        "memory-servers: [{name: near, control: /run/n, memory: " memory ", uri: \"nbd+unix:///?socket=/run/s\"}]\n"

static bool said(const struct update *update, const char *text) {
        for (size_t i = 0; i < update->n_actions; i++)
                if (update->actions[i].kind == ACTION_RECORD && strstr(update->actions[i].text, text))
                        return true;
        return false;
}

/* Whatever its plans are short of, a pair that worked is not held for it, and its promises are kept. */
static void a_pool_that_is_too_small_for_the_plans_of_a_policy_in_force_holds_no_pair(void) {
        static const struct {
                const char *text;
                uint64_t monitor_bytes, unused_bytes; /* of them, with the active VM's memory given */
                const char *says;
        } cases[] = {
                /* a memory server that was not counted before */
                { "pool: {memory: 1GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n" NEAR("256MiB")
                  SHORT_PAIR(", memory: 640MiB"), 128 * MIB, 0, "the pool of 1024 MiB is 192 MiB too small" },
                /* the same, with a region that is not given out yet: it can be */
                { "pool: {memory: 1GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n" NEAR("256MiB")
                  SHORT_PAIR(""), 128 * MIB, 512 * MIB, "is 192 MiB too small" },
                /* less than the monitor's own: all that is planned for gives way, in its order */
                { "pool: {memory: 256MiB, reserve: 128MiB, extent: 128MiB, monitor: 512MiB, overhead: 64MiB}\n"
                  SHORT_PAIR(""), 0, 0, "the pool of 256 MiB is 768 MiB too small" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct world world = { .engine = engine_new(), .now_usec = USEC_PER_SEC };
                struct diagnostics refused = { 0 }, told = { 0 };
                struct policy *policy = NULL;
                char text[2048];

                snprintf(text, sizeof(text), "version: 1\n%s", cases[i].text);
                CHECK(policy_parse(text, strlen(text), "policy", &policy, &refused) == -EINVAL);
                REQUIRE(policy_parse_in_force(text, strlen(text), "policy", &policy, &told) == 0);
                step(&world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
                REQUIRE(world.engine->policy != NULL);
                step(&world, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
                CHECK(said(&world.update, cases[i].says));
                CHECK(!world.engine->pool_short && !world.engine->pairs[0]->record.held);
                CHECK(table_monitor(&world.engine->table) == cases[i].monitor_bytes);
                CHECK(table_unused(&world.engine->table) == cases[i].unused_bytes);
                policy_free(policy);
                diagnostics_deinit(&refused);
                diagnostics_deinit(&told);
                end(&world);
        }
}

/* A policy that has passed its check promises nothing of what plain applications were given; that is still theirs. */
static void what_vms_were_given_comes_before_what_is_planned_for(void) {
        static const char text[] = "version: 1\npool: {memory: 1GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, "
                                   "overhead: 64MiB}\n" SHORT_PAIR(", memory: 640MiB");
        struct world world = { .engine = engine_new(), .now_usec = USEC_PER_SEC };
        struct record record = { .seq = 5, .known = true, .n_apps = 2, .pair = "p" };
        struct diagnostics told = { 0 };
        struct policy *policy = NULL;

        for (int i = 0; i < 2; i++)
                record.apps[i] = (struct record_app) { .owner = SIDE_A, .token = 1,
                                                       .kind = i ? APPLICATION_PLAIN : APPLICATION_HOT_STANDBY };
        snprintf(record.apps[0].name, NAME_LEN, "db");
        snprintf(record.apps[1].name, NAME_LEN, "web");
        record.apps[0].granted_bytes[SIDE_A] = 512 * MIB;
        record.apps[1].granted_bytes[SIDE_A] = 128 * MIB;
        REQUIRE(policy_parse(text, strlen(text), "policy", &policy, &told) == 0);
        CHECK(told.n_errors == 0);
        step(&world, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        step(&world, (struct event) { .kind = EVENT_RESTORED, .pair = 0, .record = &record });
        step(&world, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        CHECK(!world.engine->pool_short && !world.engine->pairs[0]->record.held);
        CHECK(table_monitor(&world.engine->table) == 0 && usage(&world, 1) == 128 * MIB);
        CHECK(said(&world.update, "the pool of 1024 MiB is 64 MiB too small"));
        policy_free(policy);
        diagnostics_deinit(&told);
        end(&world);
}

TEST_MAIN("core-policy",
          TEST(a_pool_that_is_too_small_for_the_plans_of_a_policy_in_force_holds_no_pair),
          TEST(what_vms_were_given_comes_before_what_is_planned_for),
          TEST(a_policy_that_is_no_longer_fit_is_in_force_again),
          TEST(a_vm_goes_from_alone_to_a_pair_and_back_by_being_neither_first),
          TEST(a_larger_pool_is_held_by_the_monitor_first),
          TEST(a_pool_below_what_is_granted_is_refused_and_nothing_changes),
          TEST(a_full_region_grows_at_once),
          TEST(a_region_in_use_does_not_shrink),
          TEST(an_application_taken_out_keeps_its_row_until_its_memory_is_back),
          TEST(an_application_that_comes_back_is_itself_again),
          TEST(what_needs_something_of_one_that_is_taken_out_waits_for_it),
          TEST(a_pair_taken_out_stays_until_its_memory_is_back_and_then_gives_all_back))
