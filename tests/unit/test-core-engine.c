/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The engine, fed by hand: one pair, one hot-standby application. The scenarios have the long stories; here stands
 * what each single event leads to. */

#include <errno.h>
#include <stdio.h>

#include "agents/protocol/json-text.h"
#include "daemon/core/readiness.h"
#include "tests/unit/core-world.h"

static void pair_becomes_armed_and_says_so(void) {
        struct world w;

        make_armed(&w);
        CHECK(table_find_application(&w.engine->table, (struct holder){ .pair = 0, .side = SIDE_A }, 0) != NULL);
        CHECK(w.engine->pairs[0]->n_reasons == 0);
        end(&w);
}

static void that_nothing_is_known_has_an_age(void) {
        struct world w;
        usec_t since;

        begin(&w);
        feed(&w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        since = w.engine->pairs[0]->state_usec;
        CHECK(w.engine->pairs[0]->state == PAIR_UNKNOWN && since > 0 && since <= w.now);
        feed(&w, (struct event){ .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = false });
        CHECK(w.engine->pairs[0]->state == PAIR_UNKNOWN && w.engine->pairs[0]->state_usec == since);
        feed(&w, (struct event){ .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = true });
        bring_up(&w, SIDE_A);
        bring_up(&w, SIDE_B);
        CHECK(w.engine->pairs[0]->state != PAIR_UNKNOWN && w.engine->pairs[0]->state_usec > since);
        end(&w);
}

static void panic_is_fenced_granted_and_written_at_once_and_started_only_then(void) {
        const struct action *freeze;
        struct world w;
        uint64_t attach_id;

        make_armed(&w);
        tell_domain(&w, SIDE_A, DOMAIN_CRASHED, REASON_PANICKED);
        CHECK(find(&w, ACTION_PERSIST, -1) != NULL);
        CHECK(find(&w, ACTION_FREEZE, SIDE_A) == NULL); /* persist, then act */
        attach_id = find_message(&w, MESSAGE_ATTACH, SIDE_B);
        REQUIRE(attach_id != 0);
        CHECK(w.engine->pairs[0]->record.apps[0].owner == SIDE_B && w.engine->pairs[0]->record.apps[0].token == 2);
        for (size_t i = 0; i < w.update.n_actions; i++)
                if (w.update.actions[i].kind == ACTION_PERSIST && w.update.actions[i].level == PERSIST_STEP) {
                        answer(&w, &w.update.actions[i], 0);
                        break;
                }
        freeze = find(&w, ACTION_FREEZE, SIDE_A);
        REQUIRE(freeze != NULL);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_RESULT, .id = attach_id, .app = "db" });
        CHECK(find_message(&w, MESSAGE_START, SIDE_B) == 0); /* not fenced, not on disk */
        end(&w);
}

static void vm_that_cannot_be_fenced_starts_nothing_elsewhere(void) {
        struct world w;

        make_armed(&w);
        tell_domain(&w, SIDE_A, DOMAIN_CRASHED, REASON_PANICKED);
        write_all(&w);
        for (int i = 0; i < 100; i++) {
                w.now += USEC_PER_SEC;
                feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0, .due_usec = w.now });
                CHECK(find_message(&w, MESSAGE_START, SIDE_B) == 0);
                write_all(&w);
        }
        end(&w);
}

static void another_pairs_application_name_is_ignored_and_said(void) {
        const struct action *said;
        struct world w;

        make_armed(&w);
        tell_message(&w, SIDE_A, (struct message){ .type = MESSAGE_FAILED, .app = "payroll", .token = 1,
                                                   .cause = FAILURE_EXIT, .code = 1 });
        said = find(&w, ACTION_RECORD, SIDE_A);
        CHECK(said && said->record_kind == RECORD_PROTOCOL);
        CHECK(w.engine->pairs[0]->state == PAIR_ARMED);
        end(&w);
}

static void what_a_guest_says_is_cut_between_its_characters(void) {
        struct message strange = { .type = MESSAGE_FAILED, .app = "db", .token = 1, .cause = FAILURE_EXIT, .code = 1 };
        const struct action *said = NULL;
        struct world w;

        for (size_t shift = 0; shift < 3; shift++) { /* one of them is cut at each byte of a character */
                make_armed(&w);
                memset(strange.text, 'x', shift);
                for (size_t i = shift; i + 3 < sizeof(strange.text); i += 3)
                        memcpy(strange.text + i, "\xe2\x82\xac", 4);
                tell_message(&w, SIDE_A, strange);
                said = find(&w, ACTION_RECORD, SIDE_A);
                REQUIRE(said != NULL);
                CHECK(strstr(said->text, "\xe2\x82\xac\xe2\x82\xac") != NULL && text_valid(said->text));
                end(&w);
        }
}

/* Seconds until the standby is asked whether it could start the database; `end` where it is not before. */
static int seconds_until_asked(struct world *w, int end, uint64_t *ret_id) {
        for (int i = 1; i <= end; i++) {
                w->now += USEC_PER_SEC;
                feed(w, (struct event){ .kind = EVENT_WAKE, .pair = 0, .due_usec = w->now });
                *ret_id = find_message(w, MESSAGE_CHECK, SIDE_B);
                if (*ret_id)
                        return i;
        }
        return end;
}

static void standby_is_asked_again_and_not_believed_for_good(void) {
        const struct app_state *db;
        usec_t answered_usec;
        struct world w;
        uint64_t id;

        make_armed(&w);
        db = &w.engine->pairs[0]->apps[0];
        answered_usec = db->checked_usec[SIDE_B];
        CHECK(db->checked[SIDE_B] && answered_usec == w.now);
        CHECK(seconds_until_asked(&w, 100, &id) == 30);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_RESULT, .id = id, .app = "db" });
        CHECK(db->checked[SIDE_B] && db->checked_usec[SIDE_B] == w.now);
        CHECK(seconds_until_asked(&w, 100, &id) == 30);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_RESULT, .id = id, .app = "db", .result = -107,
                                                   .text = "no bus" });
        CHECK(!db->checked[SIDE_B] && strcmp(db->check_text[SIDE_B], "no bus") == 0);
        id = find_message(&w, MESSAGE_CHECK, SIDE_B);
        if (id == 0)
                CHECK(seconds_until_asked(&w, 100, &id) <= 1);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_RESULT, .id = id, .app = "db" });
        CHECK(db->checked[SIDE_B] && !db->check_text[SIDE_B][0]);

        /* It is heard, and does not answer that. */
        answered_usec = w.now;
        for (int i = 0; i < 3; i++) {
                CHECK(db->checked[SIDE_B]);
                CHECK(seconds_until_asked(&w, 100, &id) <= 30);
        }
        (void) seconds_until_asked(&w, 30, &id);
        CHECK(!db->checked[SIDE_B] && db->checked_usec[SIDE_B] == answered_usec);
        end(&w);
}

static void report_of_the_side_that_does_not_own_it_counts_for_nothing(void) {
        struct world w;

        make_armed(&w);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_FAILED, .app = "db", .token = 1,
                                                   .cause = FAILURE_MEMORY });
        tell_message(&w, SIDE_A, (struct message){ .type = MESSAGE_FAILED, .app = "db", .token = 99,
                                                   .cause = FAILURE_MEMORY });
        CHECK(w.engine->pairs[0]->record.flow.kind == FLOW_NONE);
        end(&w);
}

static void agent_cannot_ask_for_more_than_the_region(void) {
        struct world w;

        make_armed(&w);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_REQUEST, .id = 1, .app = "db", .bytes = 128 * MIB });
        CHECK(find_message(&w, MESSAGE_REFUSE, SIDE_B) != 0);
        tell_message(&w, SIDE_A, (struct message){ .type = MESSAGE_REQUEST, .id = 2, .app = "db",
                                                   .bytes = UINT64_MAX - 5 });
        CHECK(w.engine->pairs[0]->record.apps[0].granted_bytes[SIDE_A] == 512 * MIB);
        end(&w);
}

static void events_for_slots_that_do_not_exist_do_no_harm(void) {
        struct world w;

        make_armed(&w);
        feed(&w, (struct event){ .kind = EVENT_DOMAIN, .pair = 7, .side = SIDE_A, .app = NO_APP,
                                 .domain = DOMAIN_SHUTOFF });
        feed(&w, (struct event){ .kind = EVENT_DEVICE_SIZE, .pair = 0, .side = SIDE_A, .app = 15, .bytes = 1 });
        feed(&w, (struct event){ .kind = EVENT_DONE, .pair = 0, .side = SIDE_A, .app = 15, .action = ACTION_RESIZE,
                                 .action_id = 999 });
        CHECK(w.engine->pairs[0]->state == PAIR_ARMED);
        end(&w);
}

static void old_agent_is_refused_with_a_reason(void) {
        struct world w;

        make_armed(&w);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_HELLO, .version = PROTOCOL_VERSION_MIN - 1 });
        CHECK(find_message(&w, MESSAGE_REFUSE, SIDE_B) != 0);
        CHECK(find(&w, ACTION_DROP_LINK, SIDE_B) != NULL);
        feed(&w, (struct event){ .kind = EVENT_LINK, .pair = 0, .side = SIDE_B, .app = NO_APP });
        CHECK(strstr(w.engine->pairs[0]->reasons[0], "its agent is too old (protocol 0") != NULL);
        end(&w);
}

static void pool_that_is_too_small_is_refused_and_changes_nothing(void) {
        char why[EVENT_TEXT_LEN];
        struct world w;

        make_armed(&w);
        w.policy->pool_bytes = GIB;
        CHECK(engine_try_policy(w.engine, w.policy, why, sizeof(why)) < 0);
        CHECK(strstr(why, "pool") != NULL);
        feed(&w, (struct event){ .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = w.policy });
        CHECK(w.engine->policy->pool_bytes == 4 * GIB && w.engine->pairs[0]->state == PAIR_ARMED);
        end(&w);
}

static unsigned protocol_lines(const struct world *w) {
        unsigned n = 0;

        for (size_t i = 0; i < w->update.n_actions; i++)
                n += w->update.actions[i].kind == ACTION_RECORD && w->update.actions[i].record_kind == RECORD_PROTOCOL;
        return n;
}

static void guest_that_misbehaves_over_and_over_does_not_fill_the_history(void) {
        struct message strange = { .type = MESSAGE_FAILED, .app = "shop", .token = 1 };
        unsigned n = 0;
        struct world w;

        make_armed(&w);
        for (int i = 0; i < 100; i++) {
                tell_message(&w, SIDE_B, strange);
                n += protocol_lines(&w);
        }
        CHECK(n == 5);
        tell_message(&w, SIDE_A, strange); /* another guest has lines of its own */
        CHECK(protocol_lines(&w) == 1);
        w.now += 10 * USEC_PER_SEC;
        tell_message(&w, SIDE_B, strange);
        CHECK(protocol_lines(&w) == 1);
        end(&w);
}

/* The same events give the same updates: sizes and kinds of two engines side by side. */
static void same_events_give_the_same_updates(void) {
        struct world a, b;

        make_armed(&a);
        make_armed(&b);
        tell_domain(&a, SIDE_A, DOMAIN_CRASHED, REASON_PANICKED);
        tell_domain(&b, SIDE_A, DOMAIN_CRASHED, REASON_PANICKED);
        REQUIRE(a.update.n_actions == b.update.n_actions);
        for (size_t i = 0; i < a.update.n_actions; i++) {
                struct action x = a.update.actions[i], y = b.update.actions[i];

                x.message = y.message = NULL;
                x.record = y.record = NULL;
                CHECK(memcmp(&x, &y, sizeof(x)) == 0);
        }
        end(&a);
        end(&b);
}

/* Who listens on the bus is told when the answer changes, and the answer names what is in the way. */
static void readiness_follows_what_is_known(void) {
        struct readiness readiness;
        struct world w;
        struct pair *pair;

        make_armed(&w);
        pair = w.engine->pairs[0];
        CHECK(pair->readiness == READINESS_UNCOVERED); /* a hang could not be told: its kernel has not been heard */
        feed(&w, (struct event){ .kind = EVENT_SECOND_PATH, .pair = 0, .side = SIDE_A, .app = NO_APP,
                                 .path = PATH_ECHO });
        tell_domain(&w, SIDE_A, DOMAIN_RUNNING, REASON_USER);
        CHECK(pair->readiness == READINESS_COVERED);
        feed(&w, (struct event){ .kind = EVENT_LINK, .pair = 0, .side = SIDE_B, .app = NO_APP, .text = "" });
        CHECK(pair->readiness == READINESS_UNCOVERED);
        CHECK(pair->readiness_usec == w.now);
        CHECK(find(&w, ACTION_CHANGED, -1) != NULL);
        readiness_list(w.engine, pair, &readiness);
        REQUIRE(readiness.n_cases == 5);
        CHECK(readiness.cases[0].fault == READINESS_SYSTEM && readiness.cases[0].level == READINESS_UNCOVERED);
        CHECK(!readiness.cases[0].begins && strstr(readiness.cases[0].why, "vm-b: no agent answers"));
        end(&w);
}

/* Plugging 512 MiB needs some 8 MiB for page structures; what the standby's agent tells of its guest counts. */
static void a_standby_without_headroom_is_seen(void) {
        struct message pong = { .type = MESSAGE_PONG, .bytes = 8 * MIB };
        struct readiness readiness;
        struct world w;

        make_armed(&w);
        tell_message(&w, SIDE_B, pong);
        readiness_list(w.engine, w.engine->pairs[0], &readiness);
        CHECK(readiness.cases[0].level == READINESS_UNCOVERED && readiness.cases[0].begins);
        CHECK(strstr(readiness.cases[0].why, "vm-b has 8MiB available in its guest, and plugging 512MiB needs 9MiB") !=
              NULL);
        pong.bytes = 64 * MIB;
        tell_message(&w, SIDE_B, pong);
        readiness_list(w.engine, w.engine->pairs[0], &readiness);
        CHECK(readiness.cases[0].level == READINESS_COVERED);
        end(&w);
}

TEST_MAIN("core-engine",
          TEST(a_standby_without_headroom_is_seen),
          TEST(readiness_follows_what_is_known), TEST(pair_becomes_armed_and_says_so),
          TEST(that_nothing_is_known_has_an_age),
          TEST(panic_is_fenced_granted_and_written_at_once_and_started_only_then),
          TEST(vm_that_cannot_be_fenced_starts_nothing_elsewhere),
          TEST(another_pairs_application_name_is_ignored_and_said),
          TEST(what_a_guest_says_is_cut_between_its_characters),
          TEST(standby_is_asked_again_and_not_believed_for_good),
          TEST(report_of_the_side_that_does_not_own_it_counts_for_nothing),
          TEST(agent_cannot_ask_for_more_than_the_region),
          TEST(events_for_slots_that_do_not_exist_do_no_harm), TEST(old_agent_is_refused_with_a_reason),
          TEST(pool_that_is_too_small_is_refused_and_changes_nothing),
          TEST(guest_that_misbehaves_over_and_over_does_not_fill_the_history), TEST(same_events_give_the_same_updates))
