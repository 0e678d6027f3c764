/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>

#include "agents/protocol/json-text.h"
#include "agents/protocol/message.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"
#include "daemon/memserver/control-message.h"
#include "daemon/memserver/event.h"
#include "daemon/memserver/gate.h"
#include "daemon/memserver/meter.h"
#include "tests/unit/catalog.h"
#include "tests/unit/test.h"

#define MINUTE (60 * USEC_PER_SEC)
#define HOUR (60 * MINUTE)

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < CONTROL_CALL_MAX; i++)
                CHECK((int) control_call_from_string(control_call_to_string((enum control_call) i)) == i);
        for (int i = 0; i < SPACE_ROLE_MAX; i++)
                CHECK((int) space_role_from_string(space_role_to_string((enum space_role) i)) == i);
        for (int i = 0; i < EVENT_KIND_MAX; i++)
                CHECK((int) space_event_kind_from_string(space_event_kind_to_string((enum space_event_kind) i)) == i);
        for (int i = 0; i < COPY_STATE_MAX; i++)
                CHECK((int) copy_state_from_string(copy_state_to_string((enum copy_state) i)) == i);
        CHECK(!control_call_to_string(CONTROL_CALL_MAX) && (int) control_call_from_string("?") == -EINVAL);
        CHECK(!space_role_to_string(SPACE_ROLE_MAX) && !space_event_kind_to_string(EVENT_KIND_MAX));
}

static const char *message_id(int event) {
        return event_message_id((enum space_event_kind) event);
}

static void every_message_id_has_its_catalog_entry(void) {
        check_catalog("failover-memserver", message_id, EVENT_KIND_MAX);
}

/* Pages saved in the last `span`, and the span that this covers. */
static uint64_t saved(struct meter *meter, usec_t span, usec_t now, usec_t *ret_span) {
        struct meter_counts counts;

        *ret_span = meter_read(meter, span, now, &counts);
        CHECK(counts.saved_bytes == counts.saved_pages * PAGE_BYTES);
        return counts.saved_pages;
}

/* One page a minute for ten days. */
static void a_meter_knows_the_last_hour_by_minutes_and_the_last_week_by_hours(void) {
        static struct meter meter;
        usec_t begin = 1000 * HOUR + 17 * MINUTE, now = begin, span;

        meter_init(&meter, begin);
        for (uint64_t i = 0; i < UINT64_C(10) * 24 * 60; i++, now += MINUTE)
                meter_saved(&meter, PAGE_BYTES, 0, now);
        now -= MINUTE;
        CHECK(saved(&meter, 0, now, &span) == 1 && span == 0);
        CHECK(saved(&meter, 10 * MINUTE, now, &span) == 11 && span == 10 * MINUTE);
        CHECK(saved(&meter, 59 * MINUTE + 30 * USEC_PER_SEC, now, &span) >= 60 && span >= 59 * MINUTE);
        CHECK(saved(&meter, 3 * HOUR, now, &span) >= 3 * 60 && span >= 3 * HOUR && span < 4 * HOUR);
        CHECK(saved(&meter, 3 * HOUR, now, &span) == span / MINUTE + 1);
        CHECK(saved(&meter, 166 * HOUR, now, &span) == span / MINUTE + 1 && span < 168 * HOUR);
        CHECK(saved(&meter, 200 * HOUR, now, &span) == UINT64_C(10) * 24 * 60 && span == now - begin);
        CHECK(saved(&meter, USEC_INFINITY, now, &span) == UINT64_C(10) * 24 * 60);
        /* A day without anything: what lies further back does not come round again. */
        now += 24 * HOUR;
        CHECK(saved(&meter, 59 * MINUTE, now, &span) == 0 && saved(&meter, 20 * HOUR, now, &span) == 0);
        CHECK(saved(&meter, 25 * HOUR, now, &span) > 0);
}

static void pages_count_where_a_request_touches_them(void) {
        static struct meter meter;
        struct meter_counts counts;

        meter_init(&meter, 0);
        meter_returned(&meter, 1, PAGE_BYTES - 1, 1);
        meter_returned(&meter, 2, PAGE_BYTES - 1, 1);
        meter_returned(&meter, 0, 0, 1);
        meter_returned(&meter, 3 * PAGE_BYTES, 0, 1);
        (void) meter_read(&meter, USEC_INFINITY, 1, &counts);
        CHECK(counts.returned_pages == 1 + 2 + 0 + 3 && counts.returned_bytes == 3 + 3 * PAGE_BYTES);
        CHECK(counts.saved_pages == 0 && counts.saved_bytes == 0);
}

static void events_are_handed_out_in_order_and_the_oldest_are_dropped(void) {
        struct events *events = events_new(NULL);
        struct space_name name = { "n", "o", "s" };
        struct event event;

        CHECK(events_latest(events) == 0 && events_next(events, 0, 0, &event) == 0);
        for (int i = 1; i <= 2 * EVENTS_MAX; i++)
                events_add(events, EVENT_GRANTED, &name, "%d", i);
        CHECK(events_latest(events) == 2 * EVENTS_MAX);
        REQUIRE(events_next(events, 0, 0, &event) == 1);
        CHECK(event.number == EVENTS_MAX + 1);
        for (uint64_t n = event.number; n < 2 * EVENTS_MAX; n++) {
                char text[16];

                REQUIRE(events_next(events, n, 0, &event) == 1 && event.number == n + 1);
                snprintf(text, sizeof(text), "%d", (int) n + 1);
                CHECK_TEXT(event.text, text);
        }
        CHECK(events_next(events, 2 * EVENTS_MAX, 0, &event) == 0);
        events_free(events);
}

static int has_gone(void *userdata) {
        int *looks = userdata;

        return --*looks <= 0;
}

static void a_gate_is_not_waited_for_on_behalf_of_one_who_has_gone(void) {
        int looks = 2;
        const struct gate_asker asker = { has_gone, &looks };
        struct gate gate;

        gate_init(&gate);
        gate_enter(&gate);
        CHECK(gate_shut_for(&gate, &asker) == -ECANCELED && looks == 0);
        gate_enter(&gate); /* nobody is kept outside */
        gate_leave(&gate);
        gate_leave(&gate);
        CHECK(gate_shut_for(&gate, &asker) == 0); /* nobody is waited for, and so nobody is asked */
        CHECK(gate_shut_for(&gate, &asker) == -ECANCELED); /* another one has it shut */
        gate_reopen(&gate);
        gate_enter(&gate);
        gate_leave(&gate);
        gate_deinit(&gate);
}

struct passage {
        struct gate gate;
        _Atomic int generation, inside, wrong;
        _Atomic bool over;
};

static void *pass(void *userdata) {
        struct passage *p = userdata;

        while (!p->over) {
                int generation;

                gate_enter(&p->gate);
                p->inside++;
                generation = p->generation;
                for (int i = 0; i < 100; i++)
                        p->wrong += p->generation != generation;
                p->inside--;
                gate_leave(&p->gate);
        }
        return NULL;
}

static void nothing_is_inside_while_a_gate_is_shut(void) {
        static struct passage p;
        pthread_t threads[4];

        gate_init(&p.gate);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                REQUIRE(thread_start_joined(pass, &p, &threads[i]) == 0);
        for (int i = 0; i < 2000; i++) {
                gate_shut(&p.gate);
                p.wrong += p.inside;
                p.generation++;
                gate_reopen(&p.gate);
        }
        p.over = true;
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                pthread_join(threads[i], NULL);
        CHECK(p.wrong == 0);
        gate_deinit(&p.gate);
}

static int decode(const char *text, struct control_request *ret) {
        return control_decode(text, strlen(text), ret, NULL);
}

static void requests_are_read_with_what_they_need_and_nothing_less(void) {
        struct control_request request;

        REQUIRE(decode("{\"version\":1,\"id\":7,\"call\":\"open\",\"node\":\"n1\",\"owner\":\"process:12\","
                       "\"space\":\"heap\",\"size_bytes\":8192,\"token\":18446744073709551615,\"role\":\"mirror\"}",
                       &request) == 0);
        CHECK(request.id == 7 && request.call == CONTROL_OPEN && request.size_bytes == 8192);
        CHECK(request.token == UINT64_MAX);
        CHECK(request.role == SPACE_MIRROR && request.quota_bytes == 0);
        CHECK_TEXT(request.owner, "process:12");
        for (int call = 0; call < CONTROL_CALL_MAX; call++) {
                char text[128];

                snprintf(text, sizeof(text), "{\"version\":1,\"id\":9,\"call\":\"%s\"}",
                         control_call_to_string((enum control_call) call));
                CHECK(decode(text, &request) ==
                      (call == CONTROL_SPACES || call == CONTROL_CLIENTS || call == CONTROL_LOAD ||
                       call == CONTROL_WATCH ? 0 : -EBADMSG));
                CHECK(request.id == 9);
        }
        CHECK(decode("{\"version\":2,\"id\":3,\"call\":\"load\"}", &request) == -EPROTONOSUPPORT && request.id == 3);
        CHECK(decode("{\"version\":1,\"id\":3,\"call\":\"lod\"}", &request) == -EOPNOTSUPP && request.id == 3);
        CHECK(decode("{\"version\":1,\"id\":3", &request) == -EBADMSG && request.id == 0);
}

/* Every prefix, and every byte changed to one that means something in JSON. */
static void no_mutilated_request_is_more_than_refused(void) {
        static const char good[] = "{\"version\":1,\"id\":7,\"call\":\"open\",\"node\":\"n1\",\"owner\":\"o\","
                                   "\"space\":\"s\",\"size_bytes\":8192,\"token\":5,\"role\":\"mirror\","
                                   "\"quota_bytes\":4096}";
        static const char bytes[] = "\"{}[],:\\x00a9-. \n\xff";
        struct control_request request;
        char text[sizeof(good)];

        for (size_t n = 0; n < sizeof(good) - 1; n++) {
                CHECK(control_decode(good, n, &request, NULL) < 0);
                for (size_t i = 0; i < sizeof(bytes); i++) {
                        memcpy(text, good, sizeof(good));
                        text[n] = bytes[i];
                        if (control_decode(text, sizeof(good) - 1, &request, NULL) == 0)
                                CHECK(request.call == CONTROL_OPEN && *request.node && *request.owner);
                }
        }
        CHECK(control_decode(good, sizeof(good) - 1, &request, NULL) == 0);
}

static void the_fullest_answers_fit_a_line(void) {
        struct space_status space = { .size_bytes = UINT64_MAX, .held_bytes = UINT64_MAX, .token = UINT64_MAX,
                                      .mirror_session = UINT64_MAX, .hand_over_session = UINT64_MAX,
                                      .session = UINT64_MAX, .saved_bytes = UINT64_MAX, .returned_bytes = UINT64_MAX,
                                      .report_age_usec = UINT64_MAX };
        struct event_status event = { .number = UINT64_MAX };
        _cleanup_free_ char *line = NULL, *second = NULL;

        memset(space.node, 'n', NAME_LEN - 1);
        memset(space.owner, 'o', NAME_LEN - 1);
        memset(space.space, 's', NAME_LEN - 1);
        memset(space.client, '"', REPORT_CLIENT_LEN - 1);
        memset(&space.report, 0xff, sizeof(space.report));
        memset(event.text, '"', EVENT_TEXT_LEN - 1);
        REQUIRE(control_encode_item(UINT64_MAX, "space", &space_status_fields, &space, &line) == 0);
        CHECK(strlen(line) < MESSAGE_LINE_MAX && strchr(line, '\n') == line + strlen(line) - 1);
        REQUIRE(control_encode_item(1, "event", &event_status_fields, &event, &second) == 0);
        CHECK(strlen(second) < MESSAGE_LINE_MAX && strchr(second, '\n') == second + strlen(second) - 1);
}

TEST_MAIN("memserver",
          TEST(every_enum_table_round_trips),
          TEST(every_message_id_has_its_catalog_entry),
          TEST(a_meter_knows_the_last_hour_by_minutes_and_the_last_week_by_hours),
          TEST(pages_count_where_a_request_touches_them),
          TEST(events_are_handed_out_in_order_and_the_oldest_are_dropped),
          TEST(nothing_is_inside_while_a_gate_is_shut),
          TEST(a_gate_is_not_waited_for_on_behalf_of_one_who_has_gone),
          TEST(requests_are_read_with_what_they_need_and_nothing_less),
          TEST(no_mutilated_request_is_more_than_refused),
          TEST(the_fullest_answers_fit_a_line))
