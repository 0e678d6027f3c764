/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory by hand, as the engine keeps it: a plan that changes nothing, records that do not fit each other, and what a
 * request does to the table and the records. The forms of requests are tested with the planner, what comes of them in
 * time by the scenarios. */

#include <errno.h>

#include "daemon/core/engine.h"
#include "policy/text.h"
#include "tests/unit/test.h"

struct world {
        struct engine *engine;
        struct update update;
        usec_t now_usec;
};

static const char two_pairs[] =
        "version: 1\n"
        "pool: {memory: 4GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n"
        "pairs:\n"
        "  - name: p\n"
        "    active: {domain: a, base: 256MiB}\n"
        "    standby: {domain: b, base: 256MiB}\n"
        "    applications:\n"
        "      - {name: db, kind: hot-standby, memory: 256MiB, start: {unit: db.service}}\n"
        "      - {name: extra, kind: memory, memory: 1GiB}\n"
        "  - name: q\n"
        "    active: {domain: c, base: 256MiB}\n"
        "    standby: {domain: d, base: 256MiB}\n"
        "    applications:\n"
        "      - {name: web, kind: hot-standby, memory: 256MiB, start: {unit: web.service}}\n"
        "      - {name: more, kind: memory, memory: 512MiB}\n";

static void step(struct world *w, struct event event) {
        event.time_usec = w->now_usec += USEC_PER_MSEC;
        event.real_usec = event.time_usec;
        engine_step(w->engine, &event, &w->update);
        table_check(&w->engine->table);
}

static struct world begin(void) {
        struct world w = { .engine = engine_new(), .now_usec = USEC_PER_SEC };
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;

        REQUIRE(policy_parse(two_pairs, strlen(two_pairs), "policy", &policy, &diagnostics) == 0);
        diagnostics_deinit(&diagnostics);
        step(&w, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        policy_free(policy);
        return w;
}

static struct world begin_ready(void) {
        struct world w = begin();

        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        return w;
}

static void end(struct world *w) {
        update_deinit(&w->update);
        engine_free(w->engine);
}

/* The answer to a command; -EINPROGRESS where there is none. */
static int ask(struct world *w, enum command_verb verb, const char *request, const char **ret_text) {
        struct operator_command command = { .verb = verb, .id = 7, .who = "root" };

        snprintf(command.request, sizeof(command.request), "%s", request);
        step(w, (struct event) { .kind = EVENT_COMMAND, .pair = NO_PAIR, .command = &command });
        for (size_t i = 0; i < w->update.n_actions; i++)
                if (w->update.actions[i].kind == ACTION_REPLY) {
                        *ret_text = w->update.actions[i].text;
                        return w->update.actions[i].result;
                }
        return -EINPROGRESS;
}

static struct record record_of(const char *name, const char *app, const char *region) {
        struct record record = { .seq = 1, .known = true, .n_apps = 2 };

        snprintf(record.pair, sizeof(record.pair), "%s", name);
        snprintf(record.apps[0].name, NAME_LEN, "%s", app);
        snprintf(record.apps[1].name, NAME_LEN, "%s", region);
        record.apps[0].token = record.apps[1].token = 1;
        return record;
}

static void management_moves_in_the_step_that_asks_for_it(void) {
        struct world w = begin_ready();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB 2GiB-2304MiB=d", &text) == 0);
        CHECK_TEXT(text, "granted: a=+256MiB 2GiB-2304MiB=d; usage follows");
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 256 * MIB);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_B].n_spans == 1);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_B].spans[0].start == 2 * GIB);
        /* neither VM runs, so that nothing is given to them yet */
        CHECK(w.engine->pairs[0]->record.apps[1].granted_bytes[SIDE_A] == 0);
        CHECK(w.engine->assigning.plan.running);
        end(&w);
}

static void a_plan_changes_nothing(void) {
        struct world w = begin_ready();
        struct assignment *plan = calloc(1, sizeof(*plan));
        struct rights map;
        char why[EVENT_TEXT_LEN];

        REQUIRE(plan != NULL);
        REQUIRE(assigned_plan(w.engine, "a=+256MiB", plan, &map, why, sizeof(why)) == 0);
        CHECK(plan->running && plan->n_parts == 1);
        CHECK(rights_sum(&map, (struct holder) { 0, SIDE_A }).managed_bytes == 256 * MIB);
        CHECK(!w.engine->assigning.plan.running && assigned_bytes(w.engine->pairs[0], SIDE_A) == 0);
        rights_deinit(&map);
        free(plan);
        end(&w);
}

static void a_vm_is_not_extended_beyond_its_region(void) {
        struct world w = begin_ready();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "c=+640MiB", &text) == -ENOSPC);
        CHECK(strstr(text, "its region more holds 512MiB; extend it by at most 512MiB") != NULL);
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 0 && !w.engine->assigning.plan.running);
        end(&w);
}

static void what_is_promised_to_hot_standby_applications_is_not_assigned(void) {
        struct world w = begin_ready(); /* 4096 less 64, 4 x 64, 4 x 256; 512 promised: 2240 */
        const char *text = "";

        CHECK(assigned_available(w.engine) == 2240 * MIB);
        CHECK(ask(&w, COMMAND_ASSIGN, "a=+1GiB b=+1GiB c=+256MiB", &text) == -ENOSPC);
        CHECK(strstr(text, "2304MiB more than it gives back, and the pool has 2240MiB unused") != NULL);
        CHECK(ask(&w, COMMAND_ASSIGN, "a=+1GiB b=+1GiB c=+128MiB", &text) == 0);
        end(&w);
}

static void a_second_request_is_refused_and_names_the_first(void) {
        struct world w = begin_ready();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == 0);
        CHECK(ask(&w, COMMAND_ASSIGN, "c=+256MiB", &text) == -EBUSY);
        CHECK(strstr(text, "a request of root is under way, from \"a=+256MiB\" on") != NULL);
        end(&w);
}

static void ended_by_hand_each_vm_manages_what_it_has(void) {
        struct world w = begin_ready();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == 0);
        CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0);
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 0);
        CHECK(!w.engine->assigning.plan.running);
        CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0 && strstr(text, "nothing to do") != NULL);
        CHECK(ask(&w, COMMAND_ASSIGN, "c=+256MiB", &text) == 0);
        end(&w);
}

static void records_of_different_times_are_made_to_fit(void) {
        struct world w = begin();
        struct record p = record_of("p", "db", "extra"), q = record_of("q", "web", "more");

        p.assigned[SIDE_A] = (struct assigned) { .n_spans = 1, .spans = { { 0, 512 * MIB } } };
        q.assigned[SIDE_A] = (struct assigned) { .n_spans = 2,
                                                 .spans = { { 256 * MIB, 768 * MIB }, { GIB, GIB + 128 * MIB } } };
        q.assigned[SIDE_B] = (struct assigned) { .n_spans = 1, .spans = { { 8 * GIB, 9 * GIB } } };
        step(&w, (struct event) { .kind = EVENT_RESTORED, .pair = 0, .record = &p });
        step(&w, (struct event) { .kind = EVENT_RESTORED, .pair = 1, .record = &q });
        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 512 * MIB);
        /* the place that is both's stays with the first, the other keeps what is its alone above and below */
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 128 * MIB);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_A].spans[0].start == GIB);
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_B) == 0);
        end(&w);
}

static void a_store_that_says_more_than_the_pool_has_is_no_crash(void) {
        struct world w = begin();
        struct record p = record_of("p", "db", "extra");

        p.apps[1].granted_bytes[SIDE_B] = 512 * MIB;
        p.assigned[SIDE_B] = (struct assigned) { .n_spans = 1, .spans = { { 100, 300 * MIB } } };
        step(&w, (struct event) { .kind = EVENT_RESTORED, .pair = 0, .record = &p });
        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_B) == 128 * MIB); /* whole extents */
        CHECK(table_find_application(&w.engine->table, (struct holder) { 0, SIDE_B }, 1)->usage_bytes == 512 * MIB);
        end(&w);
}

TEST_MAIN("core-assigned", TEST(management_moves_in_the_step_that_asks_for_it), TEST(a_plan_changes_nothing),
          TEST(a_vm_is_not_extended_beyond_its_region),
          TEST(what_is_promised_to_hot_standby_applications_is_not_assigned),
          TEST(a_second_request_is_refused_and_names_the_first), TEST(ended_by_hand_each_vm_manages_what_it_has),
          TEST(records_of_different_times_are_made_to_fit),
          TEST(a_store_that_says_more_than_the_pool_has_is_no_crash))
