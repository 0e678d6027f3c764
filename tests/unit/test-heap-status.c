/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Out of memory anywhere in what failoverd shows: a document comes whole, or not at all. */

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"
#include "daemon/bus/check-json.h"
#include "daemon/bus/explain-json.h"
#include "daemon/bus/history-json.h"
#include "daemon/bus/status.h"
#include "tests/unit/fake-manager.h"
#include "tests/unit/faulty-heap.h"
#include "tests/unit/test.h"

/* json-c 0.16 loses what it had got when it cannot get the rest. */
int __real_json_object_object_add(struct json_object *object, const char *key, struct json_object *value);
int __wrap_json_object_object_add(struct json_object *object, const char *key, struct json_object *value);
int __wrap_json_object_object_add(struct json_object *object, const char *key, struct json_object *value) {
        int r;

        if (heap_meet())
                return -1;
        heap_spare(HEAP_SPARE_ALL);
        r = __real_json_object_object_add(object, key, value);
        heap_spare(HEAP_SPARE_NONE);
        return r;
}

static struct fake *fake;
static struct json_object *(*make)(void);
static char *expected;

static struct json_object *make_status(void) {
        return status_json(&fake->engine, &fake->facts, FAKE_NOW);
}

static struct json_object *make_pair(void) {
        return status_pair_json(&fake->engine, 0, &fake->facts, FAKE_NOW);
}

static struct json_object *make_flow(void) {
        return flow_json(fake->engine.pairs[2]->policy, &fake->engine.pairs[2]->record.flow, &fake->facts, FAKE_NOW);
}

static struct json_object *make_table(void) {
        return table_json(&fake->engine, &fake->facts, FAKE_NOW);
}

static struct json_object *make_regions(void) {
        return regions_json(&fake->engine, &fake->facts, FAKE_NOW);
}

static struct json_object *make_plan(void) {
        const struct operator_command command = { .verb = COMMAND_SWITCH };

        return plan_json(&fake->engine, 0, &command);
}

static struct json_object *make_history(void) {
        const struct history_query query = { .id = "web", .policy = fake->engine.policy, .realtime_usec = FAKE_WALL };
        struct history_flow flow = { .id = "web-1", .pair = "web", .number = 1, .kind = FLOW_OS_FAILURE, .from = SIDE_A,
                                     .to = SIDE_B, .begun_usec = FAKE_WALL - 9, .ended_usec = FAKE_WALL,
                                     .cause = "kernel panic" };
        struct history_event event = { .pair = "web", .kind = RECORD_DECIDED,
                                       .text = "a line that is somewhat longer than a short buffer" };
        struct history_drill drill = { .pair = "web", .result = { .level = DRILL_LEVEL_FULL, .at_usec = FAKE_WALL,
                                                                  .text = "healthy" } };
        const struct history_rows rows = {
                .flows = &flow, .drills = &drill, .events = &event, .n_flows = 1, .n_drills = 1, .n_events = 1,
        };
        struct json_object *json = NULL;

        return history_json(&query, &rows, &json) < 0 ? NULL : json;
}

static struct json_object *make_check(void) {
        return check_json(&fake->engine, NO_PAIR, NULL, &fake->facts, FAKE_NOW);
}

static struct json_object *make_explain(void) {
        return explain_json(&fake->engine, 0, &fake->facts, FAKE_NOW);
}

static void document(void) {
        const char *text;
        struct json_object *json;
        bool failed;

        heap_begin(false);
        json = make();
        text = json ? json_text_print(json, JSON_C_TO_STRING_PLAIN, NULL) : NULL;
        failed = heap_end();
        CHECK(text || failed);
        if (text)
                CHECK_TEXT(text, expected);
        json_object_put(json);
}

static void every_document_comes_whole_or_not_at_all(void) {
        static struct json_object *(*const makers[])(void) = { make_status, make_pair,    make_flow,  make_table,
                                                               make_plan,   make_history, make_check, make_explain,
                                                               make_regions };

        fake = fake_new();
        for (size_t i = 0; i < ELEMENTSOF(makers); i++) {
                struct json_object *json;

                make = makers[i];
                json = make();
                REQUIRE(json != NULL);
                expected = strdup(json_text_print(json, JSON_C_TO_STRING_PLAIN, NULL));
                json_object_put(json);
                CHECK(heap_fail_each(document, HEAP_LACK_LARGE) > 20);
                free(expected);
        }
        fake_free(fake);
}

static void metrics(void) {
        _cleanup_free_ char *text = NULL;
        bool failed;
        int r;

        heap_begin(false);
        r = metrics_text(&fake->engine, &fake->facts, FAKE_NOW, &text);
        failed = heap_end();
        CHECK(r == 0 || failed);
        CHECK((r == 0) == (text != NULL));
        if (text)
                CHECK_TEXT(text, expected);
}

static void metrics_come_whole_or_not_at_all(void) {
        fake = fake_new();
        REQUIRE(metrics_text(&fake->engine, &fake->facts, FAKE_NOW, &expected) == 0);
        CHECK(heap_fail_each(metrics, HEAP_LACK_LARGE) > 2);
        free(expected);
        fake_free(fake);
}

TEST_MAIN("heap-status",
          TEST(every_document_comes_whole_or_not_at_all),
          TEST(metrics_come_whole_or_not_at_all))
