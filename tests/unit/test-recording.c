/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Recordings: what is told of damaged and differing ones. That sound ones decide the same again tests/sim/replay.c
 * proves with random worlds. */

#include <stdio.h>

#include "daemon/base/cleanup.h"
#include "daemon/replay/policy-block.h"
#include "daemon/replay/recording-cut.h"
#include "daemon/replay/recording-reader.h"
#include "daemon/replay/replay.h"
#include "policy/text.h"
#include "tests/unit/test.h"

#define NOW_USEC (100 * USEC_PER_SEC)

static const char policy_yaml[] =
        "version: 1\n"
        "pool: {memory: 8GiB, reserve: 256MiB, monitor: 64MiB, overhead: 128MiB}\n"
        "pairs:\n"
        "  - name: orders\n"
        "    active: {domain: vm-a, base: 512MiB, memory: 768MiB}\n"
        "    standby: {domain: vm-b, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: db, kind: hot-standby, memory: 512MiB, start: {command: [/bin/db, \"a \\\"word\\\"\"]},\n"
        "         resources: {disks: [vdb]}}\n"
        "      - {name: web, kind: plain, memory: 256MiB, start: {active: {command: [/bin/web]}}}\n"
        "  - name: stock\n"
        "    active: {domain: vm-c, base: 512MiB, memory: 768MiB}\n"
        "    standby: {domain: vm-d, base: 512MiB}\n"
        "    applications:\n"
        "      - {name: stockdb, kind: hot-standby, memory: 512MiB, start: {unit: stock.service}}\n";

static struct policy *parse_policy(const char *yaml) {
        struct diagnostics diagnostics = { 0 };
        struct policy *policy = NULL;

        if (policy_parse(yaml, strlen(yaml), "policy", &policy, &diagnostics) < 0)
                diagnostics_print(&diagnostics, stdout);
        diagnostics_deinit(&diagnostics);
        return policy;
}

/* An engine that is told things, and recorded. */
struct life {
        struct engine *engine;
        struct update update;
        struct recorder recorder;
        struct policy *policy;
        usec_t now_usec;
};

static void tell(struct life *life, struct event event) {
        event.time_usec = life->now_usec += 1000;
        event.real_usec = event.time_usec + UINT64_C(1700000000) * USEC_PER_SEC;
        CHECK(recorder_event(&life->recorder, &event) >= 0);
        engine_step(life->engine, &event, &life->update);
        CHECK(recorder_update(&life->recorder, life->engine, &life->update) >= 0);
}

static void begin_segment(struct life *life, uint64_t number, uint64_t segment) {
        struct segment_head head = { .life = number, .segment = segment };

        CHECK(recorder_segment(&life->recorder, life->engine, &head) >= 0);
}

static void life_begin(struct life *life) {
        *life = (struct life){ .engine = engine_new(),
                               .recorder = RECORDER_INIT,
                               .policy = parse_policy(policy_yaml),
                               .now_usec = NOW_USEC };
        REQUIRE(life->engine && life->policy);
        begin_segment(life, 1, 1);
        tell(life, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = life->policy });
        tell(life, (struct event) { .kind = EVENT_READY, .pair = NO_PAIR });
        tell(life, (struct event) { .kind = EVENT_HYPERVISOR, .pair = NO_PAIR, .up = true });
        for (enum side side = 0; side < SIDE_MAX; side++) {
                tell(life, (struct event) { .kind = EVENT_DOMAIN, .side = side, .domain = DOMAIN_SHUTOFF });
                tell(life, (struct event) { .kind = EVENT_PROCESS, .side = side });
        }
}

static void life_end(struct life *life) {
        engine_free(life->engine);
        update_deinit(&life->update);
        recorder_deinit(&life->recorder);
        policy_free(life->policy);
}

/* Ends the life and gives its recording, which the caller frees. */
static char *life_text(struct life *life) {
        char *text;

        buffer_add_char(&life->recorder.out, 0);
        REQUIRE(!life->recorder.out.failed);
        text = steal_ptr(life->recorder.out.bytes);
        life_end(life);
        return text;
}

/* A recording of two segments. */
static char *make_recording(void) {
        struct life life;

        life_begin(&life);
        begin_segment(&life, 1, 2);
        tell(&life, (struct event) { .kind = EVENT_PRESSURE, .pair = NO_PAIR, .bytes = 900000 });
        tell(&life, (struct event) { .kind = EVENT_WAKE, .pair = 0, .due_usec = life.now_usec });
        return life_text(&life);
}

#define MESSAGE_LEN 2100

static int run(const char *text, struct replay_result *result, char message[static MESSAGE_LEN]) {
        struct replay_options options = { 0 };
        struct error error = ERROR_INIT;
        int r = replay_run(text, strlen(text), &options, result, &error);

        snprintf(message, MESSAGE_LEN, "%s", r < 0 ? error_text(&error) : result->difference);
        error_deinit(&error);
        return r;
}

/* `text` with the first `from` (the last, where it is to be another) put in place by `to`. */
static char *replaced(const char *text, const char *from, const char *to) {
        const char *at = strstr(text, from);
        char *changed;

        if (!at)
                printf("\nnot in the recording: %s\n", from);
        REQUIRE(at != NULL);
        REQUIRE(asprintf(&changed, "%.*s%s%s", (int) (at - text), text, to, at + strlen(from)) >= 0);
        return changed;
}

static void what_was_recorded_is_decided_again(void) {
        _cleanup_free_ char *text = make_recording();
        struct replay_result result;
        char message[MESSAGE_LEN];

        CHECK(run(text, &result, message) == 0);
        CHECK(!result.differs && !result.torn && result.digests > 0 && result.decisions > 0 && result.events == 9);
        CHECK(result.version[0] && strstr(text, result.version) == text + strlen("failoverd-recording 1 version=\""));
        CHECK(result.engine && result.engine->n_pairs == 2);
        replay_result_deinit(&result);
}

static void check_differs(const char *from, const char *to, const char *expected) {
        _cleanup_free_ char *text = make_recording(), *changed = replaced(text, from, to);
        struct replay_result result;
        char message[MESSAGE_LEN];

        CHECK(run(changed, &result, message) == 0);
        if (!result.differs || !strstr(message, expected)) {
                printf("\n%s -> %s: %s\n", from, to, message);
                CHECK(false);
        }
        replay_result_deinit(&result);
}

static void another_decision_is_named(void) {
        check_differs("> orders     write the owners to disk", "> orders     write nothing",
                      "decision 1 differs: recorded \"orders     write nothing\", now \"orders     write the owners to "
                      "disk\"");
        check_differs("> -          [doubt]", "> stock      kill\n> -          [doubt]",
                      "decision 5 differs: recorded \"stock      kill\", now \"-          [doubt]");
        check_differs("> -          [doubt] the host is starved (tasks stalled 90 % of the last second); silence in "
                      "that time does not count\n",
                      "", "decision 5 was not taken when this was recorded");
        check_differs("bytes=900000", "bytes=0", "now nothing");
        check_differs("+1000 hypervisor -a up=1", "+1001 hypervisor -a up=1", "is not shown in words");
}

static void another_state_is_named(void) {
        check_differs("pair 0 record.apps[1] name=\"web\" token=1 kind=plain\n",
                      "pair 0 record.apps[1] name=\"web\" token=2 kind=plain\n",
                      "the state at segment 2 differs: recorded \"pair 0 record.apps[1] name=");
}

static void check_refused_in(const char *text, const char *from, const char *to, const char *expected) {
        _cleanup_free_ char *changed = replaced(text, from, to);
        struct replay_result result;
        char message[MESSAGE_LEN];

        if (run(changed, &result, message) != -EBADMSG || strncmp(message, "line ", 5) != 0 ||
            !strstr(message, expected)) {
                printf("\n%s -> %s: %s\n", from, to, message);
                CHECK(false);
        }
        replay_result_deinit(&result);
}

static void check_refused(const char *from, const char *to, const char *expected) {
        _cleanup_free_ char *text = make_recording();

        check_refused_in(text, from, to, expected);
}

static void a_damaged_line_is_named(void) {
        check_refused("failoverd-recording 1", "failoverd-recording 2", "format 2 is not known here");
        check_refused("failoverd-recording 1", "failoverd-recording", "no number of a format");
        check_refused("failoverd-recording 1", "a-recording 1", "this is no recording");
        check_refused("+1000 hypervisor -a up=1", "+1000 hypervisor", "begins with its time, kind and place");
        check_refused("+1000 hypervisor -a", "1000 hypervisor -", "is no line of a recording");
        check_refused("+1000 hypervisor -a", "+-1000 hypervisor -", "no time of an event");
        check_refused("+1000 hypervisor -a", "+1000~ hypervisor -", "no time of an event");
        check_refused("+1000 hypervisor -a", "+18446744073709551615 hypervisor -", "no time of an event");
        check_refused("+1000 hypervisor -a", "+1000 hyper -", "no kind of event");
        check_refused("+1000 hypervisor -a", "+1000 hypervisor c", "no pair's slot and side");
        check_refused("+1000 hypervisor -a", "+1000 hypervisor 4096", "past the slots");
        check_refused("+1000 hypervisor -a up=1", "+1000 hypervisor -a up=1 up", "without a value");
        check_refused("+1000 domain 0a", "+1000 domain -", "has to name a pair's slot and side");
        check_refused("+1000 domain 0a", "+1000 domain 0", "has to name a pair's slot and side");
        check_refused("+1000 domain 0a", "+1000 second-path 0a path=smell", "an unknown word");
        check_refused("+1000 domain 0a", "+1000 done 0a action=page-out app=-1",
                      "what was paged out is an application's");
        check_refused("+1000 domain 0a", "+1000 done 0a app=16", "out of its range");
        check_refused("+1000 domain 0a", "+1000 message 0a message.n_apps=17", "out of its range");
        check_refused("+1000 domain 0a", "+1000 command 0 command.verb=adopt command.side=-",
                      "adopt has to name a side");
        check_refused("+1000 domain 0a", "+1000 restored - record.n_apps=1", "restored has to name");
        check_refused("+1000 wake 0", "+1000 wake 0 x", "by how much it is late");
        check_refused("\n= ", "\n= 12", "no digest");
        check_refused("|version: 1", "|version: 7", "policy:1:");
}

static void an_unsound_snapshot_is_refused(void) {
        check_refused(" n_pairs=2", " n_pairs=5000", "more than there can be");
        check_refused(" n_pairs=2", " n_pairs=1", "there is no slot 1");
        check_refused(" n_pairs=2", "", "there is no slot 0");
        check_refused("\nrow 0 ", "\nrow 1 ", "does not follow");
        check_refused("kind=unused", "kind=reserve", "is the place of unused");
        check_refused("name=\"vm-a\" usage_bytes=805306368", "name=\"vm-a\" usage_bytes=805306369",
                      "the rows add up to");
        check_refused("name=\"vm-a\" usage_bytes=805306368", "name=\"vm-a\" usage_bytes=18446744073709551615",
                      "add up to more than there can be");
        check_refused("name=\"vm-b\" usage_bytes=536870912 user.side=b", "name=\"vm-b\" usage_bytes=536870912",
                      "has a row already");
        check_refused("name=\"vm-b\" usage_bytes=536870912", "name=\"vm-b\" kind=application usage_bytes=536870912",
                      "names an application");
        check_refused("pair 0 record pair=\"orders\"", "pair 0 record pair=\"stock\"", "is in slot 0 already");
        check_refused("pair 0 record pair=\"orders\"", "pair 0 record pair=\"ord\"", "the policy has no pair \"ord\"");
        check_refused("pair 0 record.apps[0] name=\"db\"", "pair 0 record.apps[0] name=\"dc\"",
                      "is \"dc\" in the record and db in the policy");
        check_refused("pair 0 record pair=\"orders\"", "pair 0 apps[3] healthy=1\npair 0 record pair=\"orders\"",
                      "it has no application 3");
        check_refused("pair 1 slot=1", "pair 1 slot=0", "says that it is in slot 0");
        check_refused(" n_apps=2", " n_apps=1", "its record has 1 applications, its policy 2");
        check_refused("pair 1 slot=1", "pair 1 record.flow kind=switch\npair 1 slot=1",
                      "its switch goes from no side to another");
        check_refused("pair 1 slot=1", "handover 1 0 from=a\npair 1 slot=1",
                      "there is no application 0 of a pair in slot 1");
        check_refused("pair 1 slot=1", "handover 0 0 from=a\npair 1 slot=1", "is of another size than its region");
        check_refused("pair 1 slot=1",
                      "handover 0 0 rights.extent_bytes=2097152 rights.size_bytes=536870912\npair 1 slot=1",
                      "its ranges do not cover the region");
        check_refused("pair 1 slot=1",
                      "handover 0 0 rights.extent_bytes=2097152 rights.size_bytes=536870912\n"
                      "range 0 0 span.end=536870912 releasing=1\npair 1 slot=1",
                      "range 0 contradicts");
        check_refused("pair 1 slot=1", "range 0 1 span.end=1\npair 1 slot=1", "application 1 has no handover");
        check_refused("pair 1 slot=1", "pair 0 members[0] counted_suspect=1\npair 1 slot=1",
                      "0 watched and 0 suspected, the VMs say 0 and 1");
        check_refused("pair 1 slot=1", "pair 0 members[0] greeted_usec=999999999\npair 1 slot=1",
                      "which is later than now");
        check_refused("pair 1 slot=1", "colour 1\npair 1 slot=1", "is no line of a snapshot");
}

static void a_torn_end_is_left_out(void) {
        _cleanup_free_ char *text = make_recording();
        struct replay_result result;
        char message[MESSAGE_LEN], *wake = strstr(text, " wake 0");

        REQUIRE(wake != NULL);
        wake[4] = 0;
        CHECK(run(text, &result, message) == 0 && result.torn && !result.differs && result.events == 8);
        replay_result_deinit(&result);
        *strstr(strstr(text, "segment=2"), "members") = 0;
        CHECK(run(text, &result, message) == -EBADMSG && strstr(message, "ends in the middle of a snapshot"));
        replay_result_deinit(&result);
        CHECK(run("", &result, message) == -EBADMSG && strstr(message, "there is nothing in it"));
        replay_result_deinit(&result);
}

static void fields_of_another_version_do_not_stop_it(void) {
        _cleanup_free_ char *text = make_recording(),
                            *strict = replaced(text, "pair 1 slot=1", "pair 1 slot=1 colour=2"),
                            *other = replaced(strict, "segment=2", "segment=2 planet=3"), *older = NULL;
        struct replay_result result;
        char message[MESSAGE_LEN], version[32] = "", ours[64];

        CHECK(sscanf(text, "failoverd-recording 1 version=\"%31[^\"]\"", version) == 1);
        snprintf(ours, sizeof(ours), "version=\"%s\"", version);

        CHECK(run(strict, &result, message) == -EBADMSG && strstr(message, "has no field \"colour\""));
        replay_result_deinit(&result);
        /* both segments are of that version */
        older = replaced(other, ours, "version=\"9.9\"");
        free(steal_ptr(other));
        other = replaced(older, ours, "version=\"9.9\"");
        CHECK(run(other, &result, message) == 0 && result.n_unknown == 1 && strstr(result.unknown, "colour"));
        CHECK_TEXT(result.version, "9.9");
        replay_result_deinit(&result);
}

struct notes {
        char text[512];
};

static void take_note(void *userdata, usec_t since_usec, enum replay_line kind, const char *text) {
        struct notes *notes = userdata;

        (void) since_usec;
        if (kind == REPLAY_NOTE)
                snprintf(notes->text + strlen(notes->text), sizeof(notes->text) - strlen(notes->text), "%s\n", text);
}

static void gaps_and_new_lives_are_told(void) {
        _cleanup_free_ char *text = make_recording(), *gap = replaced(text, "segment=2", "segment=5"),
                            *life = replaced(text, "life=1 segment=2", "life=7 segment=2");
        struct notes notes = { 0 };
        struct replay_options options = { .line = take_note, .userdata = &notes };
        struct replay_result result;

        CHECK(replay_run(gap, strlen(gap), &options, &result, NULL) == 0 && !result.differs);
        replay_result_deinit(&result);
        CHECK(replay_run(life, strlen(life), &options, &result, NULL) == 0 && !result.differs);
        replay_result_deinit(&result);
        CHECK_TEXT(notes.text, "a part of the recording is missing here\nfailoverd was started anew\n");
}

/* A part begins with the state that had been come to, has no decisions, and its policy beside it. */
static void a_part_is_a_recording_of_its_own(void) {
        _cleanup_free_ char *text = make_recording();
        struct buffer part = { 0 };
        struct policy *policy = NULL;
        struct replay_options options = { 0 };
        struct replay_result result;
        struct error error = ERROR_INIT;

        CHECK(recording_cut(text, strlen(text), 3000, 7000, NULL, &part, &policy, &error) == 0);
        buffer_add_char(&part, 0);
        CHECK(strstr(part.bytes, "policy beside\n") && !strstr(part.bytes, "|version") && !strstr(part.bytes, "\n> ") &&
              !strstr(part.bytes, "\n= "));
        CHECK(replay_run(part.bytes, strlen(part.bytes), &options, &result, &error) == -EBADMSG &&
              strstr(error_text(&error), "there is no policy beside this file"));
        replay_result_deinit(&result);
        options.policy = policy;
        CHECK(replay_run(part.bytes, strlen(part.bytes), &options, &result, NULL) == 0 && result.events == 5 &&
              result.digests == 0);
        replay_result_deinit(&result);
        CHECK(recording_cut(text, strlen(text), 60 * USEC_PER_SEC, 0, NULL, &part, &policy, &error) == -ENODATA);
        policy_free(policy);
        buffer_deinit(&part);
        error_deinit(&error);
}

/* While they hold memory: no policy's text has them. */
static void whole(const struct policy *policy, char **ret) {
        size_t size;
        FILE *f = open_memstream(ret, &size);

        REQUIRE(f != NULL);
        CHECK(policy_block_write_whole(f, policy) == 0);
        fclose(f);
}

/* The copy that failoverd keeps of the policy in force is read back as it is; a policy's own text is one too. */
static void check_whole(const struct policy *policy) {
        _cleanup_free_ char *text = NULL, *again = NULL;
        struct error error = ERROR_INIT;
        struct policy *read = NULL;

        whole(policy, &text);
        CHECK(policy_block_parse_whole(text, strlen(text), &read, &error) == 0);
        REQUIRE(read != NULL);
        whole(read, &again);
        CHECK_TEXT(again, text);
        CHECK(read->pairs[1].retired && read->pairs[0].applications[1].retired);
        policy_drop_retired(read);
        CHECK(read->n_pairs == 1 && read->pairs[0].n_applications == 1);
        policy_free(read);
        *strstr(text, "\n|version") = 0; /* torn behind "retired applications" */
        CHECK(policy_block_parse_whole(text, strlen(text), &read, &error) == -EBADMSG);
        error_deinit(&error);
}

static void what_was_taken_out_of_a_policy_is_kept(void) {
        static const char smaller_yaml[] =
                "version: 1\n"
                "pool: {memory: 8GiB, reserve: 256MiB, monitor: 64MiB, overhead: 128MiB}\n"
                "pairs:\n"
                "  - name: orders\n"
                "    active: {domain: vm-a, base: 512MiB}\n"
                "    standby: {domain: vm-b, base: 512MiB}\n"
                "    applications:\n"
                "      - {name: web, kind: plain, memory: 256MiB, start: {active: {command: [/bin/web]}}}\n";
        struct policy *smaller = parse_policy(smaller_yaml);
        _cleanup_free_ char *text = NULL;
        struct replay_result result;
        struct life life;
        char message[MESSAGE_LEN];

        REQUIRE(smaller != NULL);
        life_begin(&life);
        life.recorder.digest_every = 1;
        tell(&life, (struct event) { .kind = EVENT_POLICY, .pair = NO_PAIR, .policy = smaller });
        begin_segment(&life, 1, 2);
        for (enum side side = 0; side < SIDE_MAX; side++)
                tell(&life, (struct event) { .kind = EVENT_PROCESS, .side = side, .up = true, .pid = 7 });
        CHECK(life.engine->policy->n_pairs == 2 && life.engine->policy->pairs[1].retired);
        CHECK(life.engine->policy->pairs[0].n_applications == 2 &&
              life.engine->policy->pairs[0].applications[1].retired);
        check_whole(life.engine->policy);
        policy_free(smaller);
        text = life_text(&life);
        CHECK(strstr(text, "\nretired applications\n") && strstr(text, "\nretired pair\n"));
        CHECK(run(text, &result, message) == 0 && !result.differs && result.digests > 0);
        replay_result_deinit(&result);
        CHECK(run(strstr(text, "\nfailoverd-recording") + 1, &result, message) == 0 &&  !result.differs &&
              result.digests > 0);
        CHECK(result.engine && result.engine->policy->pairs[1].retired &&
              result.engine->policy->pairs[0].applications[1].retired);
        replay_result_deinit(&result);
        check_refused_in(text, "retired pair", "retired applications", "stock is not in the policy");
        check_refused_in(text, "retired applications", "retired pair",
                         "orders is in the policy and was taken out of it");
}

TEST_MAIN("recording", TEST(what_was_recorded_is_decided_again), TEST(another_decision_is_named),
          TEST(another_state_is_named), TEST(a_damaged_line_is_named), TEST(an_unsound_snapshot_is_refused),
          TEST(a_torn_end_is_left_out), TEST(fields_of_another_version_do_not_stop_it),
          TEST(gaps_and_new_lives_are_told), TEST(a_part_is_a_recording_of_its_own),
          TEST(what_was_taken_out_of_a_policy_is_kept))
