/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory by hand, as the engine keeps it: a plan that changes nothing, records that do not fit each other, and what a
 * request does to the table and the records. The forms of requests are tested with the planner, what comes of them in
 * time by the scenarios. */

#include <errno.h>

#include "daemon/bus/assignment-json.h"
#include "tests/unit/assigned-world.h"

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

static void a_plan_is_told_step_by_step(void) {
        struct world w = begin_ready();
        char why[EVENT_TEXT_LEN];
        struct json_object *plan, *steps;
        const char *text = "";
        int r = -1;

        CHECK(ask(&w, COMMAND_ASSIGN, "0-256MiB=a", &text) == 0);
        CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0);
        plan = assignment_plan_json(w.engine, "a=+256MiB 1GiB-1280MiB=c", &r, why, sizeof(why));
        REQUIRE(plan != NULL && r == 0);
        steps = json_object_object_get(plan, "steps");
        REQUIRE(json_object_array_length(steps) == 2);
        CHECK_TEXT(json_object_get_string(json_object_array_get_idx(steps, 0)), "a gets 256MiB out of unused");
        CHECK_TEXT(json_object_get_string(json_object_array_get_idx(steps, 1)),
                   "c gets 256MiB (1GiB-1280MiB) out of unused");
        json_object_put(plan);
        plan = assignment_plan_json(w.engine, "x=+256MiB", &r, why, sizeof(why));
        CHECK(plan != NULL && r == -ENOENT && strstr(why, "no VM is called x") != NULL);
        json_object_put(plan);
        end(&w);
}

static void what_is_assigned_is_told_place_by_place(void) {
        struct world w = begin_ready();
        struct json_builder builder = { .now_usec = w.now_usec };
        struct json_object *root = json_object_new_object();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "128MiB-256MiB=a", &text) == 0);
        json_put_assigned(&builder, root, w.engine);
        root = json_finish(&builder, root);
        REQUIRE(root != NULL);
        CHECK_TEXT(json_object_to_json_string_ext(json_object_object_get(json_object_object_get(root, "assigned"),
                                                                         "ranges"), JSON_C_TO_STRING_PLAIN),
                   "[{\"start_bytes\":134217728,\"end_bytes\":268435456,\"manager\":\"a\",\"used_bytes\":0}]");
        CHECK(json_object_get_boolean(json_object_object_get(json_object_object_get(root, "assignment"), "running")));
        json_object_put(root);
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

static void only_vms_of_the_request_that_is_ended_are_concerned(void) {
        struct world w = begin_ready();
        const char *text = "";

        /* c is off, and has nothing of what it manages */
        CHECK(ask(&w, COMMAND_ASSIGN, "c=+256MiB", &text) == 0);
        w.engine->assigning.plan.running = false;
        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == 0);
        CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0);
        CHECK_TEXT(text, "ended: each VM of it manages what it has now");
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 0);
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 256 * MIB);
        end(&w);
}

static void what_is_called_back_is_not_lost_to_the_end_of_a_request(void) {
        struct world w = begin_ready();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == 0);
        w.engine->assigned_short_usec = w.now_usec;
        CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0);
        CHECK(strstr(text, "has what it was granted when that is over") != NULL);
        CHECK(!w.engine->assigning.plan.running);
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 256 * MIB);
        end(&w);
}

static void the_end_of_a_request_is_told_once_it_is_written(void) {
        struct world w = begin_ready();
        struct operator_command command = { .verb = COMMAND_ASSIGN_CANCEL, .id = 8, .who = "root" };
        char reply[EVENT_TEXT_LEN] = "";
        const char *text = "";
        const struct pair *pair = w.engine->pairs[0];

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == 0);
        step(&w, (struct event) { .kind = EVENT_COMMAND, .pair = NO_PAIR, .command = &command });
        CHECK(find_reply(&w.update, reply) == -EINPROGRESS);
        while (pair->persist_seq[PERSIST_STEP] < pair->record.seq) {
                REQUIRE(pair->persist[PERSIST_STEP].id != 0);
                step(&w, (struct event) { .kind = EVENT_DONE, .pair = 0, .side = SIDE_INVALID, .app = NO_APP,
                                          .action = ACTION_PERSIST,
                                          .action_id = pair->persist[PERSIST_STEP].id });
        }
        CHECK(find_reply(&w.update, reply) == 0);
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
        /* the place that is both's stays with the first, the other keeps what is its alone beside it */
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 384 * MIB);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_A].n_spans == 2);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_A].spans[0].start == 512 * MIB);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_A].spans[1].start == GIB);
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

/* Both pairs with all that their regions hold, which is 3 GiB; the pool has 2752 MiB for that. */
static void restore_full(struct world *w, uint64_t db_bytes, uint64_t a_is_to_have) {
        struct record records[] = { record_of("p", "db", "extra"), record_of("q", "web", "more") };

        records[0].apps[0].granted_bytes[SIDE_A] = db_bytes;
        for (int i = 0; i < 2; i++)
                for (enum side side = 0; side < SIDE_MAX; side++) {
                        uint64_t bytes = i == 0 ? GIB : 512 * MIB, start = (uint64_t) i * 2 * GIB + side * bytes;
                        uint64_t is_to_have = i == 0 && side == SIDE_A ? a_is_to_have : bytes;

                        records[i].apps[1].granted_bytes[side] = bytes;
                        records[i].assigned[side] = (struct assigned) { .n_spans = is_to_have ? 1 : 0,
                                                                        .spans = { { start, start + is_to_have } } };
                }
        for (int i = 0; i < 2; i++)
                step(w, (struct event) { .kind = EVENT_RESTORED, .pair = i, .record = &records[i] });
        step(w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
}

static uint64_t has(const struct world *w, int pair, enum side side) {
        return w->engine->pairs[pair]->record.apps[1].granted_bytes[side];
}

static void what_is_recorded_for_two_vms_is_only_whose_it_is_now(void) {
        struct world w = begin();

        restore_full(&w, 0, 512 * MIB);
        CHECK(!w.engine->pool_short && !w.engine->pairs[0]->record.held);
        CHECK(has(&w, 0, SIDE_A) == 512 * MIB && has(&w, 0, SIDE_B) == GIB);
        CHECK(has(&w, 1, SIDE_A) == 512 * MIB && has(&w, 1, SIDE_B) == 512 * MIB);
        CHECK(table_unused(&w.engine->table) == 192 * MIB);
        CHECK(w.engine->pairs[0]->owner_seq == w.engine->pairs[0]->record.seq);
        end(&w);
}

static void hand_memory_that_the_pool_does_not_cover_is_taken_from_nothing_on(void) {
        struct world w = begin();

        restore_full(&w, 0, GIB);
        CHECK(!w.engine->pool_short && !w.engine->pairs[0]->record.held && !w.engine->pairs[1]->record.held);
        for (enum side side = 0; side < SIDE_MAX; side++) {
                CHECK(has(&w, 0, side) == 0 && has(&w, 1, side) == 0);
                CHECK(assigned_bytes(w.engine->pairs[0], side) == GIB); /* it still manages that */
        }
        CHECK(table_unused(&w.engine->table) == 2752 * MIB);
        end(&w);
}

static void a_pool_that_is_short_without_hand_memory_too_leaves_it_as_it_is(void) {
        struct world w = begin();

        restore_full(&w, 4 * GIB, 512 * MIB);
        CHECK(w.engine->pool_short && w.engine->pairs[0]->record.held && w.engine->pairs[1]->record.held);
        CHECK(has(&w, 0, SIDE_A) == GIB && has(&w, 0, SIDE_B) == GIB && has(&w, 1, SIDE_A) == 512 * MIB);
        CHECK(!w.engine->pairs[0]->record.apps[1].releasing[SIDE_A]);
        end(&w);
}

/* A guest that tells so of its device, each half minute. */
static int half_minutes_until_the_end(struct world *w, const uint64_t *told, int n_told, uint64_t more) {
        struct pair *pair = w->engine->pairs[0];
        uint64_t plugged = 0;
        const char *text = "";
        int n = 0;

        CHECK(ask(w, COMMAND_ASSIGN, "a=+256MiB", &text) == 0);
        pair->record.apps[1].granted_bytes[SIDE_A] = 256 * MIB;
        for (; n < 100 && w->engine->assigning.plan.running; n++) {
                plugged = n_told ? told[n % n_told] : plugged + more;
                pair->members[SIDE_A].plugged_bytes[1] = plugged;
                w->now_usec += 30 * USEC_PER_SEC;
                step(w, (struct event) { .kind = EVENT_WAKE, .pair = NO_PAIR });
        }
        return n;
}

static void a_guest_that_goes_up_and_down_does_not_hold_a_request_up(void) {
        const uint64_t told[] = { 128 * MIB, 64 * MIB };
        struct world w = begin_ready();

        CHECK(half_minutes_until_the_end(&w, told, 2, 0) == 3);
        end(&w);
}

static void a_guest_that_takes_hours_does_not_hold_a_request_up(void) {
        struct world w = begin_ready();

        CHECK(half_minutes_until_the_end(&w, NULL, 0, 2 * MIB) == 20);
        CHECK(strstr(w.engine->assigning.plan.why[0], "a has not taken all of it in 10min") != NULL);
        end(&w);
}

static void a_record_of_more_than_the_region_is_cut_to_it(void) {
        struct world w = begin();
        struct record q = record_of("q", "web", "more");

        q.assigned[SIDE_A] = (struct assigned) { .n_spans = 2, .spans = { { 0, 384 * MIB }, { GIB, 2 * GIB } } };
        step(&w, (struct event) { .kind = EVENT_RESTORED, .pair = 1, .record = &q });
        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 512 * MIB);
        CHECK(w.engine->pairs[1]->record.assigned[SIDE_A].spans[1].end == GIB + 128 * MIB);
        end(&w);
}

static int try_policy(struct world *w, const char *text, char why[EVENT_TEXT_LEN]) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;
        int r;

        REQUIRE(policy_parse(text, strlen(text), "policy", &policy, &diagnostics) == 0);
        diagnostics_deinit(&diagnostics);
        r = engine_try_policy(w->engine, policy, why, EVENT_TEXT_LEN);
        if (r >= 0)
                step(w, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = policy });
        policy_free(policy);
        return r;
}

/* The pair p has a place, and no memory there; so has q. */
static struct world begin_assigned(void) {
        struct world w = begin();
        struct record records[] = { record_of("p", "db", "extra"), record_of("q", "web", "more") };

        for (int i = 0; i < 2; i++) {
                uint64_t start = (uint64_t) i * GIB;

                records[i].assigned[SIDE_A] = (struct assigned) { .n_spans = 1,
                                                                  .spans = { { start, start + 512 * MIB } } };
                step(&w, (struct event) { .kind = EVENT_RESTORED, .pair = i, .record = &records[i] });
        }
        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        return w;
}

static void a_region_of_another_name_holds_what_is_assigned(void) {
        struct world w = begin_assigned();
        char text[sizeof(two_pairs)], why[EVENT_TEXT_LEN] = "";
        char *region;

        strcpy(text, two_pairs);
        region = strstr(text, "{name: more, kind: memory, memory: 512MiB}");
        REQUIRE(region != NULL);
        memcpy(region, "{name: less, kind: memory, memory: 256MiB}", strlen(region) - 1); /* it is the last */
        CHECK(try_policy(&w, text, why) == -EBUSY);
        CHECK_TEXT(why, "q: up to 512 MiB of more are assigned by hand, and less would hold less; release some first "
                        "(failoverctl memory release)");
        end(&w);
}

static void what_a_removed_pair_was_assigned_is_forgotten_by_the_store_too(void) {
        struct world w = begin_assigned();
        char text[sizeof(two_pairs)], why[EVENT_TEXT_LEN] = "";

        for (int app = 0; app < 2; app++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        w.engine->pairs[1]->apps[app].state[side] = APPLICATION_STOPPED;
        strcpy(text, two_pairs);
        *strstr(text, "  - name: q") = 0;
        CHECK(try_policy(&w, text, why) == 0);
        REQUIRE(w.engine->pairs[1] != NULL);
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 0);
        CHECK(w.engine->pairs[1]->persist[PERSIST_OWNER].id != 0);
        for (int app = 0; app < 2; app++)
                w.engine->pairs[1]->record.apps[app].stopped = true;
        CHECK(try_policy(&w, text, why) == 0);
        CHECK(w.engine->pairs[1] == NULL);
        end(&w);
}

static void what_a_look_saw_before_the_guest_was_asked_ends_no_release(void) {
        struct world w = begin();
        struct event told = { .kind = EVENT_DEVICE_SIZE, .pair = 0, .side = SIDE_A, .app = 1, .bytes = 128 * MIB };
        struct member_state *member;

        restore_full(&w, 0, 512 * MIB);
        REQUIRE(has(&w, 0, SIDE_A) == 512 * MIB);
        member = &w.engine->pairs[0]->members[SIDE_A];
        w.engine->pairs[0]->record.assigned[SIDE_A].spans[0].end = 256 * MIB;
        member->requested_known[1] = true;
        member->requested_bytes[1] = 256 * MIB;
        member->inspect.sent_usec = w.now_usec;
        member->inspect.id = 1000;
        member->resize[1].sent_usec = w.now_usec + 1;
        step(&w, told);
        CHECK(has(&w, 0, SIDE_A) == 512 * MIB);
        member->inspect.id = 0;
        step(&w, told);
        CHECK(has(&w, 0, SIDE_A) == 256 * MIB);
        end(&w);
}

TEST_MAIN("core-assigned", TEST(management_moves_in_the_step_that_asks_for_it), TEST(a_plan_changes_nothing),
          TEST(a_plan_is_told_step_by_step), TEST(what_is_assigned_is_told_place_by_place),
          TEST(a_vm_is_not_extended_beyond_its_region),
          TEST(what_is_promised_to_hot_standby_applications_is_not_assigned),
          TEST(a_second_request_is_refused_and_names_the_first), TEST(ended_by_hand_each_vm_manages_what_it_has),
          TEST(only_vms_of_the_request_that_is_ended_are_concerned),
          TEST(what_is_called_back_is_not_lost_to_the_end_of_a_request),
          TEST(the_end_of_a_request_is_told_once_it_is_written),
          TEST(records_of_different_times_are_made_to_fit),
          TEST(a_store_that_says_more_than_the_pool_has_is_no_crash),
          TEST(a_guest_that_goes_up_and_down_does_not_hold_a_request_up),
          TEST(a_guest_that_takes_hours_does_not_hold_a_request_up),
          TEST(a_record_of_more_than_the_region_is_cut_to_it), TEST(a_region_of_another_name_holds_what_is_assigned),
          TEST(what_a_removed_pair_was_assigned_is_forgotten_by_the_store_too),
          TEST(what_is_recorded_for_two_vms_is_only_whose_it_is_now),
          TEST(hand_memory_that_the_pool_does_not_cover_is_taken_from_nothing_on),
          TEST(what_a_look_saw_before_the_guest_was_asked_ends_no_release),
          TEST(a_pool_that_is_short_without_hand_memory_too_leaves_it_as_it_is))
