/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Memory by hand where something is missing: the engine is not ready, the pool is short or cut too fine, a VM's memory
 * would be in too many places, and VMs are off while a request is ended. */

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
          TEST(a_place_of_another_divides_what_a_record_says),
          TEST(a_vm_that_is_off_keeps_what_it_managed_before_a_request_that_is_ended),
          TEST(a_span_is_two_sizes_with_a_dash_between))
