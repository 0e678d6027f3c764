/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory by hand where something is missing or too much: the engine is not ready, the pool is short or cut too fine, a
 * VM's memory would be in too many places, VMs are off while a request is ended, a guest asks for what is not its. */

#include "daemon/base/cleanup.h"
#include "tests/unit/assigned-world.h"

static void restore(struct world *w, struct record *p, struct record *q) {
        step(w, (struct event) { .kind = EVENT_RESTORED, .pair = 0, .record = p });
        step(w, (struct event) { .kind = EVENT_RESTORED, .pair = 1, .record = q });
        step(w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
}

static void nothing_is_assigned_before_the_records_are_read(void) {
        struct world w = begin();
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == -EAGAIN);
        CHECK_TEXT(text, "failoverd is still starting; try again in a moment");
        end(&w);
}

static void nothing_is_assigned_while_the_pool_is_short(void) {
        struct world w = begin();
        struct record p = record_of("p", "db", "extra"), q = record_of("q", "web", "more");
        const char *text = "";

        p.apps[0].granted_bytes[SIDE_A] = 8 * GIB;
        restore(&w, &p, &q);
        REQUIRE(w.engine->pool_short);
        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == -ENOSPC);
        CHECK_TEXT(text, "the pool in the policy is smaller than what is granted already; make pool.memory larger "
                         "first");
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 0);
        end(&w);
}

/* The policy of both pairs with another first line for its pool. */
static struct world begin_ready_with_pool(const char *pool) {
        char text[sizeof(two_pairs) + 256];
        struct world w;

        snprintf(text, sizeof(text), "version: 1\npool: %s\n%s", pool, strstr(two_pairs, "pairs:\n"));
        w = begin_with(text);
        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        return w;
}

static void a_pool_of_more_extents_than_are_kept_track_of_is_refused(void) {
        struct world w = begin_ready_with_pool("{memory: 4TiB, reserve: 0, extent: 2MiB, monitor: 64MiB, "
                                               "overhead: 64MiB}");
        const char *text = "";

        CHECK(ask(&w, COMMAND_ASSIGN, "a=+256MiB", &text) == -E2BIG);
        CHECK_TEXT(text, "the pool has too many extents for places; make pool.extent larger");
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 0);
        end(&w);
}

/* Asks for every second extent of 32 MiB, `n` of them, for one VM. */
static int ask_scattered(struct world *w, int n, const char **ret_text) {
        char request[ASSIGNMENT_TEXT_MAX] = "";
        size_t used = 0;

        for (int i = 0; i < n; i++)
                used += (size_t) snprintf(request + used, sizeof(request) - used, "%s%dMiB-%dMiB=a", i ? " " : "",
                                          64 * i, 64 * i + 32);
        return ask(w, COMMAND_ASSIGN, request, ret_text);
}

static void a_vm_is_not_given_more_places_than_its_record_holds(void) {
        struct world w = begin_ready_with_pool("{memory: 4GiB, reserve: 0, extent: 32MiB, monitor: 64MiB, "
                                               "overhead: 64MiB}");
        const struct assigned *has = &w.engine->pairs[0]->record.assigned[SIDE_A];
        const char *text = "";

        CHECK(ask_scattered(&w, ASSIGNED_SPANS_MAX + 1, &text) == -E2BIG);
        CHECK_TEXT(text, "what a manages would lie in more than 16 places; ask for an amount, or for ranges next to "
                         "its own (failoverctl memory)");
        CHECK(has->n_spans == 0 && !w.engine->assigning.plan.running);
        CHECK(ask_scattered(&w, ASSIGNED_SPANS_MAX, &text) == 0);
        CHECK(has->n_spans == ASSIGNED_SPANS_MAX);
        end(&w);
}

static void what_is_being_given_up_may_be_asked_for_already(void) {
        static const uint64_t is_to_have[] = { 512 * MIB, 256 * MIB }; /* of 512 MiB that it has */
        uint64_t available[2];

        for (int i = 0; i < 2; i++) {
                struct world w = begin();
                struct record p = record_of("p", "db", "extra"), q = record_of("q", "web", "more");

                p.apps[1].granted_bytes[SIDE_A] = 512 * MIB;
                p.assigned[SIDE_A] = (struct assigned) { .n_spans = 1, .spans = { { 0, is_to_have[i] } } };
                restore(&w, &p, &q);
                CHECK(w.engine->pairs[0]->record.apps[1].granted_bytes[SIDE_A] == 512 * MIB);
                available[i] = assigned_available(w.engine);
                end(&w);
        }
        CHECK(available[1] == available[0] + 256 * MIB);
}

static struct world begin_by(const char *keys) {
        char text[2048];

        snprintf(text, sizeof(text), "%sassign: {%s}\n", two_pairs, keys);
        return begin_with(text);
}

/* The pool has 2240 MiB beside what is promised. */
static void a_request_for_more_than_there_is_is_refused_or_cut(void) {
        struct world w = begin_by("short: refuse");
        const struct event ready = { .kind = EVENT_READY, .pair = NO_PAIR };
        char line[ASSIGNMENT_LINE_LEN], rest[ASSIGNMENT_TEXT_MAX];
        const char *text = "";

        step(&w, ready);
        CHECK(assigned_available(w.engine) == 2240 * MIB);
        CHECK(ask(&w, COMMAND_ASSIGN, "a=+1GiB b=+1GiB c=+512MiB", &text) == -ENOSPC);
        CHECK(!w.engine->assigning.plan.running);
        end(&w);

        w = begin_by("short: partly");
        step(&w, ready);
        CHECK(ask(&w, COMMAND_ASSIGN, "a=+1GiB b=+1GiB c=+512MiB", &text) == 0);
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == GIB && assigned_bytes(w.engine->pairs[0], SIDE_B) == GIB);
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 128 * MIB);
        assignment_report_format(&w.engine->assigning.plan, 2, line);
        CHECK_TEXT(line, "c=+128MiB: 0 of 512MiB done, 128MiB under way, 384MiB not: the pool has no more (policy: "
                         "assign.short)");
        CHECK(strstr(assignment_rest_format(&w.engine->assigning.plan, rest), "c=+512MiB") != NULL);
        CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0);
        end(&w);

        w = begin_by("short: partly"); /* a range is not cut, and what is left of the last is less than an extent */
        step(&w, ready);
        CHECK(ask(&w, COMMAND_ASSIGN, "0-1GiB=a 1GiB-2GiB=b 2GiB-2304MiB=c", &text) == -ENOSPC);
        CHECK(ask(&w, COMMAND_ASSIGN, "0-1GiB=a 1GiB-2GiB=b c=+256MiB d=+128MiB", &text) == -ENOSPC);
        CHECK(ask(&w, COMMAND_ASSIGN, "0-1GiB=a 1GiB-2GiB=b c=+1GiB", &text) == 0);
        CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 128 * MIB);
        end(&w);
}

/* Free are 0 to 256 MiB, 384 MiB to 512 MiB, and all from 768 MiB on. */
static void places_are_chosen_as_the_policy_says(void) {
        static const struct {
                const char *keys;
                uint64_t start, bytes;
        } cases[] = {
                { "choose: nearest", 384 * MIB, 128 * MIB },
                { "choose: closest-fit", 384 * MIB, 128 * MIB },
                { "choose: largest", 768 * MIB, 256 * MIB },
                { "choose: smallest", 384 * MIB, 128 * MIB },
                { "choose: closest-fit", 0, 256 * MIB },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct world w = begin_by(cases[i].keys);
                struct record p = record_of("p", "db", "extra"), q = record_of("q", "web", "more");
                const struct assigned *has = &w.engine->pairs[1]->record.assigned[SIDE_B];
                const char *text = "";
                char request[64];

                p.assigned[SIDE_A] = (struct assigned) { .n_spans = 2, .spans = { { 256 * MIB, 384 * MIB },
                                                                                  { 512 * MIB, 768 * MIB } } };
                restore(&w, &p, &q);
                snprintf(request, sizeof(request), "d=+%uMiB", (unsigned) (cases[i].bytes / MIB));
                CHECK(ask(&w, COMMAND_ASSIGN, request, &text) == 0);
                REQUIRE(has->n_spans == 1);
                CHECK(has->spans[0].start == cases[i].start && span_bytes(has->spans[0]) == cases[i].bytes);
                end(&w);
        }
}

static void a_place_of_another_divides_what_a_record_says(void) {
        struct world w = begin();
        struct record p = record_of("p", "db", "extra"), q = record_of("q", "web", "more");
        const struct assigned *has;

        p.assigned[SIDE_A] = (struct assigned) { .n_spans = 1, .spans = { { 128 * MIB, 256 * MIB } } };
        q.assigned[SIDE_A] = (struct assigned) { .n_spans = 1, .spans = { { 0, 512 * MIB } } };
        restore(&w, &p, &q);
        has = &w.engine->pairs[1]->record.assigned[SIDE_A];
        REQUIRE(has->n_spans == 2);
        CHECK(has->spans[0].start == 0 && has->spans[0].end == 128 * MIB);
        CHECK(has->spans[1].start == 256 * MIB && has->spans[1].end == 512 * MIB);
        end(&w);
}

/* A VM that is off has nothing at present; that is not all that it manages. */
static void a_vm_that_is_off_keeps_what_it_managed_before_a_request_that_is_ended(void) {
        static const char *const requests[] = { "a=+256MiB", "a=-128MiB c=+256MiB", "a=-128MiB b=+128MiB" };
        static const uint64_t left[] = { 512 * MIB, 384 * MIB, 384 * MIB };

        for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
                struct world w = begin();
                struct record p = record_of("p", "db", "extra"), q = record_of("q", "web", "more");
                const char *text = "";

                p.assigned[SIDE_A] = (struct assigned) { .n_spans = 1, .spans = { { 0, 512 * MIB } } };
                restore(&w, &p, &q);
                CHECK(ask(&w, COMMAND_ASSIGN, requests[i], &text) == 0);
                REQUIRE(w.engine->assigning.plan.running);
                CHECK(ask(&w, COMMAND_ASSIGN_CANCEL, "", &text) == 0);
                CHECK_TEXT(text, "ended: each VM of it manages what it has now");
                CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == left[i]);
                CHECK(assigned_bytes(w.engine->pairs[0], SIDE_B) == 0);
                CHECK(assigned_bytes(w.engine->pairs[1], SIDE_A) == 0);
                end(&w);
        }
}

/* What failoverd answers a guest of `a` that asks for `text`; why in `why`. */
static int ask_from_inside(struct world *w, const char *text, char why[MESSAGE_TEXT_LEN]) {
        struct message message = { .type = MESSAGE_ASK, .id = 5 };

        w->engine->pairs[0]->members[SIDE_A].configured = true;
        w->now_usec += 3600 * USEC_PER_SEC; /* it may ask again */
        snprintf(message.text, sizeof(message.text), "%s", text);
        step(w, (struct event) { .kind = EVENT_MESSAGE, .pair = 0, .side = SIDE_A, .app = NO_APP,
                                 .message = &message });
        for (size_t i = 0; i < w->update.n_actions; i++) {
                const struct message *answer = w->update.actions[i].message;

                if (w->update.actions[i].kind == ACTION_SEND && answer->type == MESSAGE_ANSWER && answer->id == 5) {
                        snprintf(why, MESSAGE_TEXT_LEN, "%s", answer->text);
                        return answer->result;
                }
        }
        return -EINPROGRESS;
}

static void a_guest_asks_for_one_thing_of_its_own_at_a_time(void) {
        static const struct {
                const char *text;
                int result;
                const char *why;
        } cases[] = {
                { "+128MiB b=+128MiB", -EINVAL, "one thing at a time" },
                { "+128MiB\tb=+128MiB", -EINVAL, "one thing at a time" },
                { "a=+128MiB\nb=+128MiB", -EINVAL, "write +SIZE, -SIZE, +RANGE or -RANGE" },
                { "+128MiB\nb=+128MiB", -EPERM, "of its own VM alone" },
                { "b=+128MiB", -EPERM, "of its own VM alone" },
                { "0-128MiB=a", -EPERM, "of its own VM alone" },
                { "much", -EINVAL, "" },
        };
        char text[sizeof(two_pairs) + 256], why[MESSAGE_TEXT_LEN] = "";
        struct world w;

        snprintf(text, sizeof(text), "%.*s    guest-requests: {allow: release-and-extend}\n%s",
                 (int) (strstr(two_pairs, "    applications:") - two_pairs), two_pairs,
                 strstr(two_pairs, "    applications:"));
        w = begin_with(text);
        step(&w, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                CHECK(ask_from_inside(&w, cases[i].text, why) == cases[i].result);
                CHECK(strstr(why, cases[i].why) != NULL);
        }
        for (int pair = 0; pair < 2; pair++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        CHECK(assigned_bytes(w.engine->pairs[pair], side) == 0);
        CHECK(ask_from_inside(&w, "+128MiB", why) == -EINPROGRESS); /* answered when it is written */
        CHECK(assigned_bytes(w.engine->pairs[0], SIDE_A) == 128 * MIB);
        end(&w);
}

static void a_request_has_items_and_not_too_many(void) {
        static struct assignment_item items[ASSIGNMENT_ITEMS_MAX + 1];
        const struct assignment_policy policy = { .order = ASSIGN_CYCLES };
        struct assignment *plan = calloc(1, sizeof(*plan));
        struct assignment_request request;
        struct rights map;
        char why[EVENT_TEXT_LEN];

        REQUIRE(plan != NULL && rights_init(&map, 128 * MIB, GIB) == 0);
        CHECK(assignment_begin(plan, &map, NULL, 0, items, 0, &policy, why, sizeof(why)) == -EINVAL);
        CHECK(assignment_begin(plan, &map, NULL, 0, items, ASSIGNMENT_ITEMS_MAX + 1, &policy, why, sizeof(why)) ==
              -EINVAL);
        CHECK_TEXT(why, "33 items; ask for 1 to 32 at once");
        CHECK(!plan->running && !assignment_next(plan, &request));
        rights_deinit(&map);
        free(plan);
}

static void a_span_is_two_sizes_with_a_dash_between(void) {
        static const char *const wrong[] = { "", "-", "1GiB", "1GiB-", "-1GiB", "1GiB-x", "x-1GiB", "-1-2" };
        struct span span = { 1, 2 };

        for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
                CHECK(span_parse(wrong[i], &span) == -EINVAL);
        CHECK(span.start == 1 && span.end == 2);
        CHECK(span_parse("128MiB-1GiB", &span) == 0 && span.start == 128 * MIB && span.end == GIB);
}

TEST_MAIN("core-assigned-limits", TEST(nothing_is_assigned_before_the_records_are_read),
          TEST(nothing_is_assigned_while_the_pool_is_short),
          TEST(a_pool_of_more_extents_than_are_kept_track_of_is_refused),
          TEST(a_vm_is_not_given_more_places_than_its_record_holds),
          TEST(what_is_being_given_up_may_be_asked_for_already),
          TEST(a_request_for_more_than_there_is_is_refused_or_cut),
          TEST(places_are_chosen_as_the_policy_says),
          TEST(a_place_of_another_divides_what_a_record_says),
          TEST(a_vm_that_is_off_keeps_what_it_managed_before_a_request_that_is_ended),
          TEST(a_guest_asks_for_one_thing_of_its_own_at_a_time), TEST(a_request_has_items_and_not_too_many),
          TEST(a_span_is_two_sizes_with_a_dash_between))
