/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A VM goes on from its own checkpoint, never beside itself, and never from a run before its own. */

#include <stdio.h>
#include <string.h>

#include "daemon/core/standby-readiness.h"
#include "tests/random.h"
#include "tests/unit/test.h"

#define SEC USEC_PER_SEC
#define LOOK_USEC (SEC / 2)
#define SAVED 77 /* as the servers know it */

static const struct vm_policy policy = { .domain = "a", .checkpoint_usec = 30 * SEC, .flap_limit = 3,
                                         .flap_window_usec = 3600 * SEC };

static enum standby_work next(const struct standby_record *record, struct standby_sight sight, usec_t now) {
        return standby_next(&policy, record, &sight, now);
}

static void every_enum_table_round_trips(void) {
        for (int i = 0; i < ALONE_STATE_MAX; i++)
                CHECK((int) alone_state_from_string(alone_state_to_string((enum alone_state) i)) == i);
        for (int i = 0; i < STANDBY_WORK_MAX; i++)
                CHECK((int) standby_work_from_string(standby_work_to_string((enum standby_work) i)) == i);
        for (int i = 0; i < STANDBY_STATE_MAX; i++)
                CHECK((int) standby_state_from_string(standby_state_to_string((enum standby_state) i)) == i);
        for (int i = 0; i < STANDBY_NEWS_MAX; i++)
                CHECK((int) standby_news_from_string(standby_news_to_string((enum standby_news) i)) == i);
        for (int i = 0; i < STANDBY_KEPT_MAX; i++)
                CHECK((int) standby_kept_from_string(standby_kept_to_string((enum standby_kept) i)) == i);
        for (int i = 0; i < STANDBY_FAULT_MAX; i++)
                CHECK((int) standby_fault_from_string(standby_fault_to_string((enum standby_fault) i)) == i);
        for (int i = 0; i < VM_STANDBY_MAX; i++)
                CHECK((int) vm_standby_from_string(vm_standby_to_string((enum vm_standby) i)) == i);
        CHECK((int) standby_work_from_string("x") == STANDBY_WORK_INVALID);
}

/* A server that is back and has no room: each attempt is a save of the guest, and comes to nothing. */
static void attempts_that_fail_again_and_again_are_further_and_further_apart(void) {
        static const unsigned pauses[] = { 5, 10, 20, 30, 30 };
        struct standby_record record = { 0 };
        struct standby_sight sight = { .vm = ALONE_RUNS, .run = 7, .kept = KEPT_ALONE, .kept_saved_usec = SAVED,
                                       .reachable = true, .saving_usec = 2 * SEC };
        usec_t now = 100 * SEC;

        standby_taken(&record, 7, now, SAVED);
        CHECK(next(&record, sight, now + SEC) == STANDBY_CHECKPOINT);
        for (size_t i = 0; i < sizeof(pauses) / sizeof(pauses[0]); i++) {
                sight.saved_usec = now += 40 * SEC;
                sight.failed = (unsigned) i + 1;
                CHECK(next(&record, sight, now + pauses[i] * SEC - 1) == STANDBY_REST);
                CHECK(next(&record, sight, now + pauses[i] * SEC) == STANDBY_CHECKPOINT);
        }
        sight.run = 8; /* it has none at all */
        CHECK(next(&record, sight, now + 5 * SEC) == STANDBY_CHECKPOINT);
}

/* A VM that writes faster than it can be saved is saved all the time otherwise; but its next attempt may work. */
static void attempts_at_the_first_checkpoint_are_further_apart_from_the_sixth_on(void) {
        static const struct {
                usec_t every_usec;
                unsigned pauses[8], last;
        } rows[] = {
                { 30 * SEC, { 5, 5, 5, 5, 5, 10, 20, 30 }, 30 },
                { 86400 * SEC, { 5, 5, 5, 5, 5, 10, 20, 40 }, 300 },
        };

        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
                const struct vm_policy alone = { .checkpoint_usec = rows[i].every_usec };
                const struct standby_record record = { 0 };
                struct standby_sight sight = { .vm = ALONE_RUNS, .run = 7, .saved_usec = 100 * SEC,
                                               .saving_usec = 2 * SEC };

                for (unsigned failed = 1; failed <= 60; failed++) {
                        const unsigned pause = failed <= 8 ? rows[i].pauses[failed - 1] : rows[i].last;

                        if (failed > 8 && failed < 60)
                                continue;
                        sight.failed = failed;
                        CHECK(standby_next(&alone, &record, &sight, (100 + pause) * SEC - 1) == STANDBY_REST);
                        CHECK(standby_next(&alone, &record, &sight, (100 + pause) * SEC) == STANDBY_CHECKPOINT);
                }
        }
}

static void checkpoints_are_taken_at_once_and_then_as_often_as_wanted(void) {
        struct standby_record record = { 0 };
        struct standby_sight sight = { .vm = ALONE_RUNS, .run = 7 };
        usec_t now = 100 * SEC;

        CHECK(next(&record, sight, now) == STANDBY_CHECKPOINT);
        standby_taken(&record, 7, now, SAVED);
        sight.saved_usec = now + 4 * SEC;
        sight.saving_usec = 4 * SEC;
        CHECK(next(&record, sight, now + 29 * SEC) == STANDBY_REST);
        CHECK(next(&record, sight, now + 30 * SEC) == STANDBY_CHECKPOINT);
        sight.saving_usec = 20 * SEC; /* as long again is the VM's own */
        sight.saved_usec = now + 20 * SEC;
        CHECK(next(&record, sight, now + 39 * SEC) == STANDBY_REST);
        CHECK(next(&record, sight, now + 40 * SEC) == STANDBY_CHECKPOINT);
        sight.run = 8; /* started anew */
        CHECK(next(&record, sight, now + 40 * SEC) == STANDBY_CHECKPOINT);
        sight.vm = ALONE_RESTS;
        CHECK(next(&record, sight, now + 40 * SEC) == STANDBY_REST);
}

static void a_checkpoint_that_failed_is_tried_again_a_little_later(void) {
        struct standby_record record = { 0 };
        struct standby_sight sight = { .vm = ALONE_RUNS, .run = 7, .saved_usec = 100 * SEC, .saving_usec = SEC };

        CHECK(next(&record, sight, 104 * SEC) == STANDBY_REST);
        CHECK(next(&record, sight, 105 * SEC) == STANDBY_CHECKPOINT);
}

static void a_lost_vm_is_fenced_and_goes_on(void) {
        struct standby_record record = { 0 };
        struct standby_sight sight = { .vm = ALONE_CRASHED, .run = 7 };
        usec_t now = 100 * SEC;

        standby_taken(&record, 7, now, SAVED);
        CHECK(next(&record, sight, now) == STANDBY_DECIDE);
        standby_decided(&record, now);
        CHECK(next(&record, sight, now) == STANDBY_FENCE);
        sight = (struct standby_sight) { .vm = ALONE_OFF }; /* by us, as libvirt sees it */
        CHECK(next(&record, sight, now) == STANDBY_FENCE);
        sight.gone = true;
        CHECK(next(&record, sight, now) == STANDBY_RESUME);
        sight.tries = 1;
        sight.tried_usec = now;
        CHECK(next(&record, sight, now + STANDBY_RETRY_USEC - 1) == STANDBY_REST);
        CHECK(next(&record, sight, now + STANDBY_RETRY_USEC) == STANDBY_RESUME);
        sight.vm = ALONE_UNKNOWN;
        CHECK(next(&record, sight, now + STANDBY_RETRY_USEC) == STANDBY_REST);
        sight = (struct standby_sight) { .vm = ALONE_RUNS, .run = 8 };
        standby_resumed(&record, 8, now);
        CHECK(next(&record, sight, now) == STANDBY_REST && record.failovers == 1);
        CHECK(standby_state(&policy, &record, &sight, now) == STANDBY_ARMED);
}

static void only_so_much_waiting_for_libvirt_counts_as_looking(void) {
        struct standby_record record = { 0 };
        struct standby_sight lost = { .vm = ALONE_LOST, .gone = true };
        usec_t now = 100 * SEC;

        standby_taken(&record, 7, now, SAVED);
        standby_waited(&record, STANDBY_WAIT_USEC + 1); /* it may have been ended and started anew in that time */
        CHECK(next(&record, lost, now + STANDBY_WAIT_USEC + 1) == STANDBY_HOLD);
        standby_waited(&record, STANDBY_WAIT_USEC);
        CHECK(next(&record, lost, now + STANDBY_WAIT_USEC + 1) == STANDBY_DECIDE);
}

static void a_watch_knows_of_no_other_run_while_it_looks(void) {
        const struct standby_sight same = { .run = 7 }, other = { .run = 8 }, gone = { .gone = true }, blind = { 0 };
        const usec_t seen = 100 * SEC, late = seen + STANDBY_GAP_USEC + 1;

        CHECK(standby_watched(seen, 7, &same, late) == late);
        CHECK(standby_watched(seen, 7, &gone, late - 1) == late - 1);
        CHECK(standby_watched(seen, 7, &gone, late) == seen);
        CHECK(standby_watched(seen, 7, &blind, seen + 1) == seen);
        CHECK(standby_watched(seen, 7, &other, seen + 1) == 0 && standby_watched(0, 7, &same, seen + 1) == 0);
}

static void an_end_that_nobody_explains_is_held_and_not_hidden(void) {
        struct standby_record record = { 0 };
        struct standby_sight ended = { .vm = ALONE_ENDED, .gone = true };

        CHECK(next(&record, ended, SEC) == STANDBY_REST); /* there was nothing to be resumed */
        standby_taken(&record, 7, SEC, SAVED);
        CHECK(next(&record, ended, SEC) == STANDBY_HOLD);
        CHECK(strstr(standby_reason(&policy, &record, &ended, SEC), "does not know") != NULL);
        standby_decided(&record, SEC); /* and libvirt was started anew before it was resumed */
        CHECK(next(&record, ended, SEC) == STANDBY_RESUME);
        standby_held(&record);
        CHECK(next(&record, ended, SEC) == STANDBY_REST);
}

static const char *held_for(const struct standby_record *record, struct standby_sight sight, usec_t now) {
        return next(record, sight, now) == STANDBY_HOLD ? standby_reason(&policy, record, &sight, now) : "";
}

static void what_cannot_go_on_is_held_with_its_reason(void) {
        struct standby_record record = { 0 };
        struct standby_sight lost = { .vm = ALONE_LOST, .gone = true }, later = { .vm = ALONE_CRASHED, .run = 8 };
        usec_t now = 100 * SEC;

        CHECK(strstr(held_for(&record, lost, now), "no checkpoint") != NULL);
        standby_taken(&record, 7, now, SAVED);
        CHECK(strstr(held_for(&record, lost, now + STANDBY_GAP_USEC + 1), "did not look") != NULL);
        standby_waited(&record, 20 * SEC); /* libvirt took so long to end what is left of it */
        CHECK(next(&record, lost, now + 20 * SEC + STANDBY_GAP_USEC) == STANDBY_DECIDE);
        CHECK(strstr(held_for(&record, lost, now + 20 * SEC + STANDBY_GAP_USEC + 1), "did not look") != NULL);
        CHECK(strstr(held_for(&record, later, now), "earlier run") != NULL);
        for (int i = 0; i < 3; i++)
                standby_decided(&record, now);
        record.wanted = false;
        CHECK(strstr(held_for(&record, lost, now), "as often") != NULL);
        record.n_flaps = 0;
        standby_decided(&record, now);
        lost.refused = true;
        CHECK(strstr(held_for(&record, lost, now), "cannot be resumed") != NULL);
        lost.refused = false;
        lost.tries = STANDBY_TRIES_MAX;
        CHECK(strstr(held_for(&record, lost, now), "again and again") != NULL);
        standby_held(&record);
        CHECK(next(&record, lost, now) == STANDBY_REST && standby_state(&policy, &record, &lost, now) == STANDBY_HELD);
        lost = (struct standby_sight) { .vm = ALONE_RUNS, .run = 9 };
        CHECK(next(&record, lost, now) == STANDBY_SETTLE);
        standby_settled(&record);
        CHECK(next(&record, lost, now) == STANDBY_CHECKPOINT);
}

static void an_end_that_somebody_wished_is_left_alone(void) {
        struct standby_record record = { 0 };
        struct standby_sight off = { .vm = ALONE_OFF, .gone = true };

        standby_taken(&record, 7, SEC, SAVED);
        CHECK(next(&record, off, SEC) == STANDBY_SETTLE);
        standby_settled(&record);
        CHECK(next(&record, off, SEC) == STANDBY_REST &&
              standby_state(&policy, &record, &off, SEC) == STANDBY_OFF);
}

static void only_the_latest_failovers_are_remembered(void) {
        struct standby_record record = { 0 };

        for (usec_t i = 1; i <= POLICY_FLAPS_MAX + 3; i++)
                standby_decided(&record, i);
        CHECK(record.n_flaps == POLICY_FLAPS_MAX && record.flaps_usec[0] == 4 &&
              record.flaps_usec[POLICY_FLAPS_MAX - 1] == POLICY_FLAPS_MAX + 3);
}

static void a_vm_that_is_lost_again_goes_on_from_the_one_before(void) {
        struct standby_record record = { 0 };
        struct standby_sight runs = { .vm = ALONE_RUNS, .run = 8 };
        usec_t now = 100 * SEC;

        standby_taken(&record, 7, now, 1);
        standby_taken(&record, 7, now + 30 * SEC, 2);
        standby_decided(&record, now + 31 * SEC);
        CHECK(record.saved_usec == 2 && record.taken_usec == now + 30 * SEC); /* the newest first */
        standby_resumed(&record, 8, now + 32 * SEC);
        CHECK(next(&record, runs, now + 61 * SEC) == STANDBY_REST); /* it has to show that it stays */
        CHECK(next(&record, runs, now + 62 * SEC) == STANDBY_CHECKPOINT);
        standby_decided(&record, now + 40 * SEC);
        CHECK(record.saved_usec == 1 && record.taken_usec == now && record.slot == 1);
        standby_resumed(&record, 9, now + 41 * SEC);
        standby_taken(&record, 9, now + 80 * SEC, 3);
        CHECK(record.slot == 0 && record.other_saved_usec == 1); /* in the place of the bad one */
        standby_decided(&record, now + 90 * SEC);
        CHECK(record.saved_usec == 3);
        standby_settled(&record);
        CHECK(record.other_taken_usec == 0);
        standby_taken(&record, 10, now + 99 * SEC, 4); /* nothing of an earlier run counts beside it */
        CHECK(record.other_taken_usec == 0);
}

static void one_that_is_no_good_gives_way_to_the_one_before(void) {
        struct standby_record record = { 0 };
        struct standby_sight lost = { .vm = ALONE_LOST, .gone = true, .tried_usec = 40 * SEC };

        standby_taken(&record, 7, 10 * SEC, 1);
        standby_taken(&record, 7, 20 * SEC, 2);
        standby_decided(&record, 30 * SEC);
        CHECK(!standby_failed(&record, &lost, false) && lost.tries == 1 && record.saved_usec == 2);
        CHECK(standby_failed(&record, &lost, true) && lost.tries == 0 && !lost.refused && record.saved_usec == 1);
        CHECK(next(&record, lost, 40 * SEC) == STANDBY_RESUME);
        for (unsigned i = 0; i < STANDBY_TRIES_MAX; i++)
                CHECK(!standby_failed(&record, &lost, false)); /* there is no third */
        CHECK(next(&record, lost, 40 * SEC) == STANDBY_HOLD);
}

/* Silent servers: both stay, whichever is whole when they answer goes on, and the newest is asked for first. */
static void what_may_pass_gives_no_checkpoint_up(void) {
        struct standby_record record = { 0 };
        struct standby_sight lost = { .vm = ALONE_LOST, .gone = true };
        unsigned newest = 0, older = 0;
        usec_t now = 21 * SEC;

        standby_taken(&record, 7, 10 * SEC, 1);
        standby_taken(&record, 7, 20 * SEC, 2);
        standby_decided(&record, now);
        for (; next(&record, lost, now) != STANDBY_HOLD; now += LOOK_USEC) {
                if (next(&record, lost, now) == STANDBY_REST)
                        continue;
                REQUIRE(next(&record, lost, now) == STANDBY_RESUME && newest < 100);
                newest += record.saved_usec == 2;
                older += record.saved_usec == 1;
                CHECK(record.saved_usec == 2 || newest - older == STANDBY_TRIES_MAX - 1); /* just after the newest */
                lost.tried_usec = now;
                CHECK(!standby_failed(&record, &lost, false));
        }
        CHECK(newest == 2 * STANDBY_TRIES_MAX && older == STANDBY_TRIES_MAX + 1);
        CHECK(now >= 21 * SEC + (2 * STANDBY_TRIES_MAX - 1) * STANDBY_RETRY_USEC);
        CHECK(record.saved_usec == 2 && record.other_saved_usec == 1 && !record.aside);
        lost.tries = STANDBY_TRIES_MAX - 1;
        CHECK(!standby_failed(&record, &lost, false) && record.aside && record.saved_usec == 1);
        CHECK(standby_failed(&record, &lost, true)); /* the other one is damaged: the newest alone */
        CHECK(record.saved_usec == 2 && record.other_taken_usec == 0 && !record.aside && !lost.refused);
}

static void what_servers_do_not_have_is_not_armed(void) {
        struct standby_record record = { 0 };
        struct standby_sight sight = { .vm = ALONE_RUNS, .run = 7, .kept_saved_usec = SAVED, .reachable = true };
        usec_t now = 100 * SEC;

        standby_taken(&record, 7, now, SAVED);
        CHECK(standby_state(&policy, &record, &sight, now) == STANDBY_ARMED);
        CHECK(standby_state(&policy, &record, &sight, now + 91 * SEC) == STANDBY_DEGRADED);
        CHECK(strstr(standby_weakness(&policy, &record, &sight, now + 91 * SEC), "older") != NULL);
        sight.saving_usec = 20 * SEC; /* it cannot be taken more often than that allows */
        CHECK(standby_state(&policy, &record, &sight, now + 91 * SEC) == STANDBY_ARMED);
        CHECK(standby_state(&policy, &record, &sight, now + 121 * SEC) == STANDBY_DEGRADED);
        sight.saving_usec = 0;
        sight.kept = KEPT_GONE;
        CHECK(standby_state(&policy, &record, &sight, now) == STANDBY_UNARMED);
        CHECK(next(&record, sight, now) == STANDBY_CHECKPOINT); /* at once */
        sight.kept_saved_usec = SAVED - 1;                      /* that was said of an earlier one */
        CHECK(standby_state(&policy, &record, &sight, now) == STANDBY_ARMED);
        sight.kept_saved_usec = SAVED;
        sight.kept = KEPT_ALONE;
        CHECK(standby_state(&policy, &record, &sight, now) == STANDBY_DEGRADED);
        CHECK(next(&record, sight, now) == STANDBY_CHECKPOINT);
        sight.reachable = false; /* nothing would be gained, and the one before be lost */
        CHECK(next(&record, sight, now) == STANDBY_REST);
        sight.kept = KEPT_SILENT;
        CHECK(standby_state(&policy, &record, &sight, now + STANDBY_KEPT_USEC) == STANDBY_ARMED);
        CHECK(standby_state(&policy, &record, &sight, now + STANDBY_KEPT_USEC + 1) == STANDBY_DEGRADED);
        sight.kept = KEPT_WHOLE;
        CHECK(standby_state(&policy, &record, &sight, now + STANDBY_KEPT_USEC + 1) == STANDBY_ARMED);
}

static void it_is_told_when_it_begins_and_ends_to_be_armed(void) {
        const enum standby_news none = STANDBY_NEWS_INVALID;
        const usec_t since = 100 * SEC, late = since + STANDBY_WEAK_USEC;

        CHECK(standby_protection_news(STANDBY_ARMED, none, 0, late) == NEWS_ARMED);
        CHECK(standby_protection_news(STANDBY_ARMED, NEWS_ARMED, 0, late) == none);
        CHECK(standby_protection_news(STANDBY_ARMED, NEWS_STARTED, 0, late) == none); /* from that checkpoint */
        CHECK(standby_protection_news(STANDBY_ARMED, NEWS_RESUMED, 0, late) == NEWS_ARMED);
        CHECK(standby_protection_news(STANDBY_UNARMED, NEWS_ARMED, since, late - 1) == none);
        CHECK(standby_protection_news(STANDBY_UNARMED, NEWS_ARMED, since, late) == NEWS_UNPROTECTED);
        CHECK(standby_protection_news(STANDBY_DEGRADED, NEWS_STARTED, since, late) == NEWS_UNPROTECTED);
        CHECK(standby_protection_news(STANDBY_UNARMED, NEWS_UNPROTECTED, since, late) == none);
        CHECK(standby_protection_news(STANDBY_OFF, NEWS_ARMED, since, late) == none);
        CHECK(standby_protection_news(STANDBY_HELD, NEWS_HELD, since, late) == none);
}

static enum readiness_level level_of(struct standby_report report, enum standby_fault fault, const char *why) {
        struct standby_readiness readiness;

        standby_readiness(&report, &readiness);
        CHECK(!why ? !readiness.cases[fault].why : strstr(readiness.cases[fault].why, why) != NULL);
        return readiness.level;
}

static void check_says_what_would_go_on(void) {
        struct standby_report report = { .fresh = true, .state = STANDBY_ARMED, .failovers_left = 3,
                                         .hears_panic = true, .hears_hang = true };

        CHECK(level_of(report, STANDBY_HANG, NULL) == READINESS_COVERED);
        report.hears_hang = false;
        CHECK(level_of(report, STANDBY_HANG, "hangs") == READINESS_LIMITED);
        CHECK(level_of(report, STANDBY_PANIC, NULL) == READINESS_LIMITED);
        report.hears_panic = false;
        CHECK(level_of(report, STANDBY_PANIC, "crashed") == READINESS_UNCOVERED);
        report.hears_panic = report.hears_hang = true;
        report.state = STANDBY_DEGRADED;
        report.problem = "one server";
        CHECK(level_of(report, STANDBY_QEMU_GONE, "one server") == READINESS_LIMITED);
        report.failovers_left = 0;
        CHECK(level_of(report, STANDBY_QEMU_GONE, "as often") == READINESS_UNCOVERED);
        report.failovers_left = 1;
        report.state = STANDBY_HELD;
        CHECK(level_of(report, STANDBY_QEMU_GONE, "one server") == READINESS_UNCOVERED);
        report.state = STANDBY_OFF;
        CHECK(level_of(report, STANDBY_QEMU_GONE, NULL) == READINESS_NONE);
        report.fresh = false;
        CHECK(level_of(report, STANDBY_QEMU_GONE, "does not tell") == READINESS_UNCOVERED);
}

static void what_is_seen_is_told_in_a_word(void) {
        static const struct {
                struct standby_record record;
                struct standby_sight sight;
                enum standby_state state;
        } cases[] = {
                { { .held = true, .wanted = true }, { .vm = ALONE_RUNS }, STANDBY_HELD },
                { { .wanted = true }, { .vm = ALONE_OFF }, STANDBY_FAILOVER },
                { { .run = 7 }, { .vm = ALONE_RUNS, .run = 7 }, STANDBY_ARMED },
                { { .run = 7 }, { .vm = ALONE_RUNS, .run = 8 }, STANDBY_UNARMED },
                { { .run = 0 }, { .vm = ALONE_RUNS, .run = 0 }, STANDBY_UNARMED },
                { { .run = 7 }, { .vm = ALONE_RESTS }, STANDBY_ARMED },
                { { .run = 0 }, { .vm = ALONE_RESTS }, STANDBY_UNARMED },
                { { .run = 7 }, { .vm = ALONE_OFF }, STANDBY_OFF },
                { { .run = 7 }, { .vm = ALONE_CRASHED }, STANDBY_FAILOVER },
                { { .run = 7 }, { .vm = ALONE_LOST }, STANDBY_FAILOVER },
                { { .run = 7 }, { .vm = ALONE_UNKNOWN }, STANDBY_UNKNOWN },
        };

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                CHECK(standby_state(&policy, &cases[i].record, &cases[i].sight, SEC) == cases[i].state);
}

TEST_MAIN("core-context-standby", TEST(every_enum_table_round_trips),
          TEST(attempts_that_fail_again_and_again_are_further_and_further_apart),
          TEST(attempts_at_the_first_checkpoint_are_further_apart_from_the_sixth_on),
          TEST(checkpoints_are_taken_at_once_and_then_as_often_as_wanted),
          TEST(a_checkpoint_that_failed_is_tried_again_a_little_later), TEST(a_lost_vm_is_fenced_and_goes_on),
          TEST(a_watch_knows_of_no_other_run_while_it_looks), TEST(an_end_that_nobody_explains_is_held_and_not_hidden),
          TEST(only_so_much_waiting_for_libvirt_counts_as_looking),
          TEST(what_cannot_go_on_is_held_with_its_reason), TEST(an_end_that_somebody_wished_is_left_alone),
          TEST(only_the_latest_failovers_are_remembered),
          TEST(a_vm_that_is_lost_again_goes_on_from_the_one_before),
          TEST(one_that_is_no_good_gives_way_to_the_one_before), TEST(what_may_pass_gives_no_checkpoint_up),
          TEST(what_servers_do_not_have_is_not_armed),
          TEST(it_is_told_when_it_begins_and_ends_to_be_armed), TEST(check_says_what_would_go_on),
          TEST(what_is_seen_is_told_in_a_word))
