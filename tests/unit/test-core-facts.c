/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What hardly ever happens, and what single events lead to then: what the scenarios, which run a world that behaves, do
 * not bring about. */

#include <errno.h>
#include <string.h>

#include "daemon/core/explain.h"
#include "daemon/core/findings.h"
#include "daemon/core/pair-internal.h"
#include "daemon/core/readiness.h"
#include "tests/unit/core-world.h"

static const struct member_state *member(const struct world *w, enum side side) {
        return &w->engine->pairs[0]->members[side];
}

static bool said(const struct world *w, enum record_kind kind, const char *text) {
        for (size_t i = 0; i < w->update.n_actions; i++)
                if (w->update.actions[i].kind == ACTION_RECORD && w->update.actions[i].record_kind == kind &&
                    strstr(w->update.actions[i].text, text))
                        return true;
        return false;
}

static const struct action *command(struct world *w, struct operator_command command) {
        command.id = 77;
        feed(w, (struct event){
                        .kind = EVENT_COMMAND, .pair = 0, .side = SIDE_INVALID, .app = NO_APP, .command = &command });
        return find(w, ACTION_REPLY, -1);
}

#define WALK(type, MAX)                                                                 \
        do {                                                                            \
                for (int i = 0; i < (int) (MAX); i++) {                                 \
                        REQUIRE(type##_to_string((enum type) i) != NULL);               \
                        CHECK((int) type##_from_string(type##_to_string((enum type) i)) == i); \
                }                                                                       \
                CHECK(type##_to_string((enum type) (MAX)) == NULL);                     \
                CHECK((int) type##_from_string("no such word") < 0);                    \
        } while (0)

static void every_enum_table_of_the_core_round_trips(void) {
        WALK(event_kind, EVENT_KIND_MAX);
        WALK(domain_state, DOMAIN_STATE_MAX);
        WALK(domain_reason, DOMAIN_REASON_MAX);
        WALK(second_path, SECOND_PATH_MAX);
        WALK(command_verb, COMMAND_VERB_MAX);
        WALK(drill_fault, DRILL_FAULT_MAX);
        WALK(action_kind, ACTION_KIND_MAX);
        WALK(persist_level, PERSIST_LEVEL_MAX);
        WALK(record_kind, RECORD_KIND_MAX);
        WALK(region_kind, REGION_KIND_MAX);
        WALK(verdict, VERDICT_MAX);
        WALK(pair_state, PAIR_STATE_MAX);
        WALK(fence_state, FENCE_STATE_MAX);
        WALK(flow_kind, FLOW_KIND_MAX);
        WALK(phase, PHASE_MAX);
}

static void pause_by_a_watchdog_or_a_panic_is_a_failure(void) {
        static const enum domain_reason reasons[] = { REASON_WATCHDOG, REASON_PANICKED, REASON_IO_ERROR };

        for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
                struct world w;

                make_armed(&w);
                tell_domain(&w, SIDE_A, DOMAIN_PAUSED, reasons[i]);
                CHECK(member(&w, SIDE_A)->failure[0] != 0);
                CHECK(w.engine->pairs[0]->record.flow.kind == FLOW_OS_FAILURE);
                end(&w);
        }
}

/* It goes on by itself: nobody is told to resume it. */
static void vm_that_a_snapshot_suspends_is_let_alone(void) {
        struct world w;

        make_armed(&w);
        tell_domain(&w, SIDE_A, DOMAIN_PAUSED, REASON_SNAPSHOT);
        w.now += USEC_PER_SEC;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        CHECK(member(&w, SIDE_A)->operator_hold);
        CHECK(said(&w, RECORD_IGNORED, "vm-a was suspended (snapshot), not by failoverd: nothing is done"));
        tell_domain(&w, SIDE_A, DOMAIN_RUNNING, REASON_SNAPSHOT);
        CHECK(!member(&w, SIDE_A)->operator_hold && !member(&w, SIDE_A)->failure[0]);
        end(&w);
}

/* vm-a's QEMU ends, the kernel tells how (0: it does not), and libvirt says nothing: looked at after that time. */
static bool has_failed_after(int how, usec_t usec) {
        struct event gone = { .kind = EVENT_PROCESS, .pair = 0, .side = SIDE_A, .app = NO_APP };
        struct world w;
        bool failed;

        make_armed(&w);
        feed(&w, gone);
        gone.result = how;
        if (how)
                feed(&w, gone);
        w.now += usec;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        failed = member(&w, SIDE_A)->failure[0] != 0;
        end(&w);
        return failed;
}

static void end_that_was_asked_for_leaves_libvirt_longer_to_say_why(void) {
        CHECK(has_failed_after(9, 0));
        CHECK(!has_failed_after(0, 299 * USEC_PER_MSEC) && has_failed_after(0, 300 * USEC_PER_MSEC));
        CHECK(!has_failed_after(PROCESS_ENDED_AS_ASKED, 2999 * USEC_PER_MSEC));
        CHECK(has_failed_after(PROCESS_ENDED_AS_ASKED, 3 * USEC_PER_SEC));
}

/* vm-a's QEMU ends, and the kernel tells how after that time; libvirt says nothing: looked at after `usec`. */
static bool has_failed_once_told(int how, usec_t told_usec, usec_t usec) {
        struct event gone = { .kind = EVENT_PROCESS, .pair = 0, .side = SIDE_A, .app = NO_APP,
                              .result = PROCESS_END_TO_BE_TOLD };
        struct world w;
        usec_t begun;
        bool failed;

        make_armed(&w);
        begun = w.now;
        feed(&w, gone);
        gone.result = how;
        if (told_usec <= usec) {
                w.now = begun + told_usec;
                feed(&w, gone);
        }
        w.now = begun + usec;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        failed = member(&w, SIDE_A)->failure[0] != 0;
        end(&w);
        return failed;
}

static void end_of_which_the_kernel_is_to_tell_leaves_it_as_long_to_do_so(void) {
        usec_t early = 100 * USEC_PER_MSEC, late = 2 * USEC_PER_SEC, never = USEC_INFINITY;

        CHECK(has_failed_once_told(9, early, early));
        CHECK(!has_failed_once_told(9, late, late - USEC_PER_MSEC) && has_failed_once_told(9, late, late));
        CHECK(!has_failed_once_told(9, never, 2990 * USEC_PER_MSEC)); /* its parent takes no notice */
        CHECK(has_failed_once_told(9, never, 3010 * USEC_PER_MSEC));
        CHECK(!has_failed_once_told(PROCESS_ENDED_AS_ASKED, early, 2990 * USEC_PER_MSEC));
        CHECK(has_failed_once_told(PROCESS_ENDED_AS_ASKED, early, 3010 * USEC_PER_MSEC));
        CHECK(!has_failed_once_told(0, early, 290 * USEC_PER_MSEC)); /* it told of an error */
        CHECK(has_failed_once_told(0, early, 310 * USEC_PER_MSEC));
        CHECK(has_failed_once_told(0, late, late));
}

/* As where pid 1 of a loaded host is late. */
static void destroy_is_no_failure_though_libvirt_and_the_parent_of_qemu_are_late(void) {
        struct world w;

        make_armed(&w);
        feed(&w, (struct event){ .kind = EVENT_PROCESS, .pair = 0, .side = SIDE_A, .app = NO_APP,
                                 .result = PROCESS_END_TO_BE_TOLD });
        w.now += 2 * USEC_PER_SEC;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        tell_domain(&w, SIDE_A, DOMAIN_SHUTOFF, REASON_DESTROYED);
        w.now += 5 * USEC_PER_SEC;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        CHECK(!member(&w, SIDE_A)->failure[0] && member(&w, SIDE_A)->operator_hold);
        end(&w);
}

static void vm_that_begins_paused_was_not_suspended(void) {
        struct world w;

        begin(&w);
        feed(&w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        write_all(&w);
        feed(&w, (struct event){ .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = true });
        tell_domain(&w, SIDE_B, DOMAIN_SHUTOFF, REASON_UNKNOWN);
        feed(&w, (struct event){ .kind = EVENT_PROCESS, .pair = 0, .side = SIDE_B, .app = NO_APP });
        REQUIRE(find(&w, ACTION_START_DOMAIN, SIDE_B) != NULL);
        tell_domain(&w, SIDE_B, DOMAIN_PAUSED, REASON_USER);
        w.now += USEC_PER_SEC;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        CHECK(!member(&w, SIDE_B)->operator_hold);
        end(&w);
}

static void agent_that_breaks_the_protocol_is_named(void) {
        struct world w;

        make_armed(&w);
        feed(&w, (struct event){
                         .kind = EVENT_LINK, .pair = 0, .side = SIDE_B, .app = NO_APP, .text = "it sends nonsense" });
        CHECK(said(&w, RECORD_PROTOCOL, "vm-b: it sends nonsense"));
        CHECK(!member(&w, SIDE_B)->greeted);
        bring_up(&w, SIDE_B);
        tell_message(&w, SIDE_B, (struct message){ .type = MESSAGE_PING }); /* the host's to say: nothing follows */
        CHECK(find(&w, ACTION_SEND, SIDE_B) == NULL);
        end(&w);
}

static void undefined_domain_is_a_reason(void) {
        struct world w;

        make_armed(&w);
        tell_domain(&w, SIDE_B, DOMAIN_UNDEFINED, REASON_UNKNOWN);
        CHECK(strstr(w.engine->pairs[0]->reasons[0], "libvirt knows no such domain") != NULL);
        end(&w);
}

static void commands_that_cannot_be_are_refused(void) {
        const struct action *reply;
        struct world w;

        begin(&w);
        reply = command(&w, (struct operator_command){ .verb = COMMAND_SWITCH });
        CHECK(reply && reply->result == -EAGAIN);
        end(&w);
        make_armed(&w);
        reply = command(&w, (struct operator_command){ .verb = COMMAND_VERB_MAX });
        CHECK(reply && reply->result == -EINVAL);
        reply = command(&w, (struct operator_command){ .verb = COMMAND_ADOPT, .side = SIDE_B });
        CHECK(reply && reply->result == -EBUSY);
        end(&w);
}

static void make_plain(struct policy *policy) {
        policy->pairs[0].applications[0].kind = APPLICATION_PLAIN;
        policy->pairs[0].applications[0].restart_budget = 100;
}

static void drill_needs_an_application_that_moves(void) {
        const struct action *reply;
        struct world w;

        begin_up_with(&w, make_plain);
        write_all(&w);
        REQUIRE(w.engine->pairs[0]->state == PAIR_ARMED);
        reply = command(&w, (struct operator_command){ .verb = COMMAND_DRILL, .fault = DRILL_APP_KILL });
        CHECK(reply && reply->result == -ENOENT);
        end(&w);
}

static void start_that_finds_it_being_stopped_is_tried_again_and_is_no_failure(void) {
        struct world w;
        uint64_t id;

        make_armed(&w);
        tell_message(&w, SIDE_A,
                     (struct message){
                             .type = MESSAGE_FAILED, .app = "db", .token = 1, .cause = FAILURE_EXIT, .code = 1 });
        write_all(&w);
        id = w.engine->pairs[0]->apps[0].start[SIDE_A].id;
        REQUIRE(id != 0);
        tell_message(&w, SIDE_A, (struct message){ .type = MESSAGE_RESULT, .id = id, .app = "db", .result = -EBUSY });
        CHECK(w.engine->pairs[0]->apps[0].start[SIDE_A].failures == 0);
        w.now += USEC_PER_SEC;
        feed(&w, (struct event){ .kind = EVENT_WAKE, .pair = 0 });
        CHECK(find_message(&w, MESSAGE_RESTART, SIDE_A) != 0);
        end(&w);
}

static void more_restarts_than_are_remembered_still_count(void) {
        struct world w;

        make_armed(&w);
        w.engine->policy->pairs[0].applications[0].restart_budget = 1000;
        for (int i = 0; i < 40; i++) {
                tell_message(&w, SIDE_A,
                             (struct message){ .type = MESSAGE_FAILED,
                                               .app = "db",
                                               .token = 1,
                                               .cause = FAILURE_EXIT,
                                               .code = 1 });
                write_all(&w);
                tell_message(&w, SIDE_A,
                             (struct message){ .type = MESSAGE_RESULT,
                                               .app = "db",
                                               .id = w.engine->pairs[0]->apps[0].start[SIDE_A].id });
        }
        CHECK(w.engine->pairs[0]->apps[0].n_restarts == 32);
        CHECK(w.engine->pairs[0]->state == PAIR_ARMED);
        end(&w);
}

static void make_auto(struct policy *policy) {
        policy->pairs[0].applications[0].kind = APPLICATION_AUTO;
}

static void agent_tells_the_kind_where_the_policy_leaves_it_open(void) {
        struct message uses = {
                .type = MESSAGE_USES, .app = "db", .bytes = 512 * MIB, .kind = APPLICATION_HOT_STANDBY
        };
        struct world w;

        begin_up_with(&w, make_auto);
        CHECK(pair_application_kind(w.engine->pairs[0], 0) == APPLICATION_PLAIN);
        tell_message(&w, SIDE_A, uses);
        CHECK(pair_application_kind(w.engine->pairs[0], 0) == APPLICATION_HOT_STANDBY);
        CHECK(w.engine->pairs[0]->persist[PERSIST_OWNER].id != 0);
        end(&w);
}

static void add_sides(struct policy *policy) {
        struct application *app = &policy->pairs[0].applications[0];

        app->sides[SIDE_A].unit = strdup("db.service");
        app->n_addresses = 1;
        app->addresses[0] = (struct address) { strdup("192.0.2.1/24"), strdup("eth0") };
        app->vcpus = 1;
}

static void configure_tells_what_each_side_runs(void) {
        struct application_spec specs[POLICY_APPLICATIONS_MAX];
        struct world w;

        begin_with(&w, add_sides);
        feed(&w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        bring_up(&w, SIDE_A);
        REQUIRE(pair_fill_configure(w.engine->pairs[0], SIDE_A, specs) == 1);
        CHECK_TEXT(specs[0].app, "db");
        CHECK_TEXT(specs[0].run.unit, "db.service");
        CHECK(specs[0].memory_bytes == 512 * MIB && specs[0].node == 1 && specs[0].n_addresses == 1);
        CHECK(pair_fill_configure(w.engine->pairs[0], SIDE_B, specs) == 0); /* it has no way to start it there */
        end(&w);
}

static void what_fits_nothing_is_ignored(void) {
        struct record record = { .pair = "another", .known = true };
        struct world w;

        CHECK(engine_free(NULL) == NULL);
        begin(&w);
        feed(&w, (struct event){ .kind = EVENT_RESTORED, .pair = 0, .record = &record });
        CHECK(!w.engine->pairs[0]->restored);
        end(&w);
        make_armed(&w);
        for (int action = 0; action < 2 * ACTION_KIND_MAX; action++) /* answers to what was not asked */
                feed(&w, (struct event){ .kind = EVENT_DONE,
                                         .pair = 0,
                                         .side = action % ACTION_KIND_MAX == ACTION_FREEZE ? SIDE_INVALID : SIDE_A,
                                         .app = action < ACTION_KIND_MAX ? POLICY_APPLICATIONS_MAX - 1 : 0,
                                         .action = action % ACTION_KIND_MAX,
                                         .action_id = 12345 });
        feed(&w, (struct event){ .kind = EVENT_DEVICE_SIZE,
                                 .pair = 0,
                                 .side = SIDE_A,
                                 .app = POLICY_APPLICATIONS_MAX - 1,
                                 .bytes = MIB });
        for (int app = NO_APP; app <= POLICY_APPLICATIONS_MAX; app += POLICY_APPLICATIONS_MAX)
                feed(&w, (struct event){ .kind = EVENT_OVERFLOW, .pair = 0, .side = SIDE_A, .app = app, .up = true });
        CHECK(!w.engine->pairs[0]->apps[0].overflow[SIDE_A]);
        CHECK(w.engine->pairs[0]->state == PAIR_ARMED);
        end(&w);
}

static void engine_without_a_policy_waits_for_one(void) {
        struct world w = { .now = 100 * USEC_PER_SEC, .engine = engine_new() };

        REQUIRE(w.engine != NULL);
        feed(&w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        CHECK(w.engine->ready && w.engine->n_pairs == 0);
        end(&w);
}

static void devices_that_do_not_fit_are_found(void) {
        static const struct {
                uint64_t size_bytes, block_bytes;
                const char *text;
        } cases[] = {
                { 256 * MIB, 2 * MIB, "holds at most 256MiB" },
                { 576 * MIB, 2 * MIB, "no multiple of the 128MiB" },
                { 640 * MIB, 3 * MIB, "has blocks of 3MiB" },
                { 640 * MIB, 2 * MIB, NULL },
        };
        struct preflight found = { .defined = true,
                                   .persistent = true,
                                   .channel = true,
                                   .requested_zero = true,
                                   .panic_device = true,
                                   .crash_preserved = true,
                                   .balloon_stats = true,
                                   .echo_port = true,
                                   .console_log = true,
                                   .base_bytes = 512 * MIB,
                                   .vcpus = 1,
                                   .vcpus_max = 1,
                                   .free_ports = 8 };
        struct finding findings[FINDINGS_MAX];
        struct world w;

        begin(&w);
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                bool any = false;
                size_t n;

                found.apps[0].present = true;
                found.apps[0].size_bytes = cases[i].size_bytes;
                found.apps[0].block_bytes = cases[i].block_bytes;
                n = findings_list(w.policy, &w.policy->pairs[0], SIDE_A, &found, findings);
                for (size_t k = 0; k < n; k++)
                        any |= cases[i].text && strstr(findings[k].text, cases[i].text) != NULL;
                CHECK(any == (cases[i].text != NULL));
        }
        found.apps[0].huge_pages = true;
        REQUIRE(findings_list(w.policy, &w.policy->pairs[0], SIDE_A, &found, findings) == 1);
        CHECK(findings[0].advice && strstr(findings[0].text, "cannot be paged out") != NULL);
        w.policy->pairs[0].handover = HANDOVER_EAGER;
        CHECK(findings_list(w.policy, &w.policy->pairs[0], SIDE_A, &found, findings) == 0);
        w.policy->pairs[0].applications[0].memory_bytes = 0; /* needs no device */
        found.apps[0].present = false;
        CHECK(findings_list(w.policy, &w.policy->pairs[0], SIDE_A, &found, findings) == 0);
        strcpy(found.text, "no connection");
        CHECK(findings_list(w.policy, &w.policy->pairs[0], SIDE_A, &found, findings) == 1);
        CHECK(strstr(findings[0].text, "could not be looked at: no connection") != NULL);
        end(&w);
}

static void explain_says_who_paused_a_pair_and_why(void) {
        struct explanation explanation;
        struct world w;

        make_armed(&w);
        command(&w, (struct operator_command){
                            .verb = COMMAND_PAUSE, .until_usec = USEC_INFINITY, .text = "new disks" });
        explain_pair(w.engine, w.engine->pairs[0], w.now, &explanation);
        CHECK(explanation.blocker[SIDE_B] == FLOW_BLOCKED_BY_PAUSE);
        CHECK_TEXT(explanation.blocked[SIDE_B], "the pair is paused: new disks");
        end(&w);
}

static void tell_balloon(struct world *w, enum side side, usec_t age_usec) {
        feed(w, (struct event){ .kind = EVENT_SECOND_PATH, .pair = 0, .side = side, .app = NO_APP, .path = PATH_BALLOON,
                                .age_usec = age_usec });
}

/* Its balloon was heard once, before failoverd looked, and not since. */
static void kernel_that_was_heard_long_ago_takes_a_long_silence(void) {
        struct explanation explanation;
        struct world w;

        make_armed(&w);
        explain_pair(w.engine, w.engine->pairs[0], w.now, &explanation);
        CHECK(strstr(explanation.members[SIDE_A].tip, "so it cannot be called hung") != NULL);
        tell_balloon(&w, SIDE_A, 60 * USEC_PER_SEC);
        explain_pair(w.engine, w.engine->pairs[0], w.now, &explanation);
        CHECK(strstr(explanation.members[SIDE_A].tip, "its kernel silent for 10s -> hung -> failover to vm-b") != NULL);
        end(&w);
}

/* vm-b is off and started anew, and no agent greets. What its balloon tells is of its last life, learned late, or of
 * its present one. True if it counts as failed within a minute. */
static bool fails_after_a_start(bool heard_since) {
        struct world w;
        usec_t heard, until;
        bool failed;

        make_armed(&w);
        heard = w.now;
        tell_domain(&w, SIDE_B, DOMAIN_SHUTOFF, REASON_UNKNOWN);
        tell_balloon(&w, SIDE_B, w.now + 100 - heard);
        feed(&w, (struct event){
                         .kind = EVENT_PROCESS, .pair = 0, .side = SIDE_B, .app = NO_APP, .up = true, .pid = 99 });
        tell_domain(&w, SIDE_B, DOMAIN_RUNNING, REASON_BOOTED);
        CHECK(member(&w, SIDE_B)->failure[0] == 0);
        if (heard_since)
                heard = w.now;
        for (until = w.now + 60 * USEC_PER_SEC; w.now < until; w.now += 100 * USEC_PER_MSEC)
                tell_balloon(&w, SIDE_B, w.now + 100 - heard);
        failed = member(&w, SIDE_B)->failure[0] != 0;
        end(&w);
        return failed;
}

static void guest_that_was_heard_in_its_last_life_only_is_booting(void) {
        CHECK(!fails_after_a_start(false));
        CHECK(fails_after_a_start(true));
}

static void add_second_region(struct policy *policy) {
        struct pair_policy *pair = &policy->pairs[0];

        pair->applications = realloc(pair->applications, 2 * sizeof(*pair->applications));
        REQUIRE(pair->applications != NULL);
        pair->n_applications = 2;
        application_init(&pair->applications[1]);
        strcpy(pair->applications[1].name, "web");
        pair->applications[1].kind = APPLICATION_HOT_STANDBY;
        pair->applications[1].memory_bytes = 128 * MIB;
}

/* The old user of a region of 512 MiB, of which other things in its guest need 100. */
static void old_user_is_asked_for_what_its_guest_can_spare(void) {
        struct member_state *from;
        struct update update = { 0 };
        struct app_state *app;
        struct step step;
        struct world w;
        uint64_t bytes = 1;

        begin_up_with(&w, add_second_region);
        step = step_begin(w.engine, w.engine->pairs[0], &update);
        from = &step.pair->members[SIDE_A];
        app = &step.pair->apps[0];
        for (int i = 0; i < 2; i++) {
                from->preflight.apps[i].present = true;
                from->preflight.apps[i].node = 1 + i;
        }
        app->release_usec = step.now - 10 * USEC_PER_SEC;
        app->needed_usec[SIDE_A] = step.now;
        app->needed_bytes[SIDE_A] = 100 * MIB;
        step.pair->record.apps[0].using_bytes[SIDE_A] = 256 * MIB;
        from->plugged_usec[0] = 0; /* QEMU has not told yet */
        CHECK(handover_wanted(&step, 0, SIDE_A, &bytes) && bytes == 0); /* nothing could be taken back later */
        w.engine->reclaim_able = true;
        from->resize[0].sent_usec = 0;
        CHECK(!handover_wanted(&step, 0, SIDE_A, &bytes));
        from->plugged_usec[0] = step.now;
        from->plugged_bytes[0] = 512 * MIB;
        from->requested_bytes[0] = 512 * MIB;
        from->requested_known[0] = true;
        CHECK(handover_wanted(&step, 0, SIDE_A, &bytes) && bytes > 100 * MIB && bytes < 128 * MIB);
        app->needed_bytes[SIDE_A] = 400 * MIB; /* more than is its own any more, whatever is plugged */
        CHECK(handover_wanted(&step, 0, SIDE_A, &bytes) && bytes == 256 * MIB);
        from->preflight.apps[1].node = 1; /* whose pages they are cannot be told */
        CHECK(handover_wanted(&step, 0, SIDE_A, &bytes) && bytes == 0);
        update_deinit(&update);
        end(&w);
}

static void device_that_a_failover_would_stop_at_is_told_by_check(void) {
        struct preflight found = { .defined = true, .persistent = true, .channel = true, .requested_zero = true,
                                   .base_bytes = 512 * MIB, .vcpus = 1, .vcpus_max = 2 };
        struct readiness readiness;
        struct world w;

        make_armed(&w);
        found.apps[0].present = true;
        found.apps[0].node = 1;
        found.apps[0].size_bytes = 512 * MIB;
        found.apps[0].block_bytes = 3 * MIB;
        feed(&w, (struct event){
                         .kind = EVENT_PREFLIGHT, .pair = 0, .side = SIDE_B, .app = NO_APP, .preflight = &found });
        readiness_list(w.engine, w.engine->pairs[0], &readiness);
        CHECK(readiness.cases[0].side == SIDE_A && readiness.cases[0].level == READINESS_UNCOVERED);
        CHECK(strstr(readiness.cases[0].why, "device ua-db has blocks of 3MiB") != NULL);
        end(&w);
}

/* Overflow of the VM and of its application: two disks to plug. */
static void overflow_needs_root_ports_too(void) {
        struct preflight found = { .defined = true, .persistent = true, .channel = true, .requested_zero = true,
                                   .base_bytes = 512 * MIB, .vcpus = 1, .vcpus_max = 2, .free_ports = 1 };
        struct finding findings[FINDINGS_MAX];
        struct pair_policy *pair;
        bool told = false;
        struct world w;
        size_t n;

        make_armed(&w);
        pair = &w.engine->policy->pairs[0];
        pair->members[SIDE_B].overflow.n_servers = pair->applications[0].overflow.n_servers = 1;
        n = findings_list(w.engine->policy, pair, SIDE_B, &found, findings);
        for (size_t i = 0; i < n; i++)
                told |= strcmp(findings[i].text, "2 disks may be plugged, 1 PCIe root ports are free") == 0;
        CHECK(told);
        end(&w);
}

static void memory_beyond_the_pool_is_not_adopted(void) {
        struct update update = { 0 };
        struct step step;
        struct world w;

        begin_up_with(&w, NULL);
        step = step_begin(w.engine, w.engine->pairs[0], &update);
        step.pair->members[SIDE_B].plugged_bytes[0] = 64 * GIB;
        pair_adopt(&step, 0, SIDE_B);
        CHECK(step.pair->record.apps[0].owner == SIDE_B && step.pair->record.apps[0].granted_bytes[SIDE_B] == 0);
        REQUIRE(update.n_actions == 1);
        CHECK(strstr(update.actions[0].text, "db has memory on vm-b that the pool does not cover") != NULL);
        table_check(&w.engine->table);
        update_deinit(&update);
        end(&w);
}

/* The token of an application that an agent tells of as `state` when failoverd comes up without a record of it. */
static uint64_t first_token(enum application_state state) {
        struct world w;
        uint64_t token;

        begin(&w);
        feed(&w, (struct event){ .kind = EVENT_READY, .pair = NO_PAIR });
        write_all(&w);
        feed(&w, (struct event){ .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = true });
        bring_up(&w, SIDE_A);
        w.engine->pairs[0]->apps[0].state[SIDE_A] = state;
        bring_up(&w, SIDE_B);
        token = w.engine->pairs[0]->record.apps[0].token;
        end(&w);
        return token;
}

static void application_found_failed_has_no_grant_that_is_not_known(void) {
        CHECK(first_token(APPLICATION_STOPPED) == 1);
        CHECK(first_token(APPLICATION_FAILED) == 1);
}

TEST_MAIN("core-facts", TEST(every_enum_table_of_the_core_round_trips),
          TEST(pause_by_a_watchdog_or_a_panic_is_a_failure), TEST(vm_that_begins_paused_was_not_suspended),
          TEST(vm_that_a_snapshot_suspends_is_let_alone),
          TEST(agent_that_breaks_the_protocol_is_named), TEST(undefined_domain_is_a_reason),
          TEST(commands_that_cannot_be_are_refused), TEST(drill_needs_an_application_that_moves),
          TEST(start_that_finds_it_being_stopped_is_tried_again_and_is_no_failure),
          TEST(more_restarts_than_are_remembered_still_count),
          TEST(agent_tells_the_kind_where_the_policy_leaves_it_open), TEST(configure_tells_what_each_side_runs),
          TEST(end_that_was_asked_for_leaves_libvirt_longer_to_say_why),
          TEST(end_of_which_the_kernel_is_to_tell_leaves_it_as_long_to_do_so),
          TEST(destroy_is_no_failure_though_libvirt_and_the_parent_of_qemu_are_late),
          TEST(what_fits_nothing_is_ignored), TEST(engine_without_a_policy_waits_for_one),
          TEST(devices_that_do_not_fit_are_found), TEST(explain_says_who_paused_a_pair_and_why),
          TEST(kernel_that_was_heard_long_ago_takes_a_long_silence),
          TEST(guest_that_was_heard_in_its_last_life_only_is_booting),
          TEST(old_user_is_asked_for_what_its_guest_can_spare),
          TEST(device_that_a_failover_would_stop_at_is_told_by_check), TEST(memory_beyond_the_pool_is_not_adopted),
          TEST(overflow_needs_root_ports_too),
          TEST(application_found_failed_has_no_grant_that_is_not_known))
