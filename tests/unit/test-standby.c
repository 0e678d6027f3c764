/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the standby of a VM that stands alone does with what it reads and is told. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/label.h"
#include "daemon/replay/policy-block.h"
#include "policy/text.h"
#include "tests/unit/standby-world.h"

/* The text that failoverd keeps, with the pair of `domain` and y taken out of it and not out of its VMs yet. */
static void write_with_retired(const char *head, const char *domain) {
        struct policy *policy = NULL, *old = NULL;
        struct diagnostics d = { 0 };
        char text[2048], *whole = NULL;
        size_t size;
        FILE *f = open_memstream(&whole, &size);

        snprintf(text, sizeof(text), HEAD PAIR, domain);
        REQUIRE(policy_parse(text, strlen(text), "policy", &old, &d) == 0);
        REQUIRE(policy_parse(head, strlen(head), "policy", &policy, &d) == 0);
        diagnostics_deinit(&d);
        REQUIRE(policy_retire_pair(policy, &old->pairs[0]) == 0);
        REQUIRE(f && policy_block_write_whole(f, policy) == 0 && fclose(f) == 0);
        REQUIRE(strstr(whole, "\nretired pair") != NULL);
        write_policy(whole);
        free(whole);
        policy_free(old);
        policy_free(policy);
}

static void the_policy_is_read_with_what_was_taken_out_of_it(void) {
        struct standby standby = new_standby(), later = STANDBY_INIT;
        struct error error = ERROR_INIT;

        write_with_retired(HEAD VMS, "x");
        CHECK(standby_policy_read(&standby, &error) == 1 && standby.vm && strcmp(standby.vm->domain, "a") == 0);
        later.domain = "a";
        later.policy_path = policy_path;
        CHECK(standby_policy_read(&later, &error) == 1); /* one that starts anew */
        write_with_retired(HEAD "pairs: []\n", "x");
        CHECK(standby_policy_read(&standby, &error) == 0); /* it is noticed that the VM was taken out */
        CHECK(!error.message);
        error_deinit(&error);
        standby_deinit(&later);
        standby_deinit(&standby);
}

static void a_vm_that_is_or_was_a_pairs_is_not_its_own(void) {
        struct standby standby = new_standby();

        write_with_retired(HEAD VMS, "a");
        CHECK(standby_policy_read(&standby, NULL) == 0 && !standby.vm);
        standby_deinit(&standby);
}

static void a_vm_that_is_given_away_meanwhile_is_not_started(void) {
        char text[2048];
        struct standby standby = new_standby();
        struct error error = ERROR_INIT;

        snprintf(text, sizeof(text), HEAD PAIR, "a");
        world.changes = text;
        CHECK(standby_resume(&standby, &error) < 0 && world.state == VIR_DOMAIN_CRASHED);
        CHECK(strstr(error_text(&error), "stand alone") != NULL && !standby.sight.refused);
        error_deinit(&error);
        world.changes = "no policy";
        CHECK(standby_resume(&standby, NULL) < 0 && world.state == VIR_DOMAIN_CRASHED);
        world.changes = HEAD VMS;
        CHECK(standby_resume(&standby, NULL) == 0 && world.state == VIR_DOMAIN_RUNNING);
        standby_deinit(&standby);
}

static void only_damage_and_doubt_are_final(void) {
        static const struct {
                int error;
                bool final;
        } cases[] = { { -ENOTCONN, false }, { -EHOSTUNREACH, false }, { -ENETUNREACH, false }, { -ENOENT, false },
                      { -ETIMEDOUT, false }, { -EBADMSG, true }, { -EPERM, true }, { -ESTALE, true } };
        struct context_servers servers = { .n = 1, .cancel_fd = -1 };
        const struct context_entry *entry;
        struct context_list list;

        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                struct standby standby = new_standby();

                world.resumes = cases[i].error;
                CHECK(standby_resume(&standby, NULL) == cases[i].error);
                CHECK(standby.sight.refused == cases[i].final && standby.sight.tries == 1);
                standby_deinit(&standby);
        }
        servers.at[0].control = (char *) "/nonexistent/depot"; /* silent is not without */
        CHECK(context_find(&servers, "a.standby-a", &list, &entry, NULL) == -ENOTCONN);
        servers.n = 0;
        CHECK(context_find(&servers, "a.standby-a", &list, &entry, NULL) == -ENOENT);
}

static void a_copy_that_is_damaged_is_not_the_end_of_the_other(void) {
        struct standby standby = new_standby();
        struct standby_record *record = &standby.document.record;
        struct error error = ERROR_INIT;

        record->saved_usec = 5;
        world.of_depot = -EBADMSG;
        CHECK(standby_resume(&standby, &error) == 0 && !error.message && world.wanted_saved == 5);
        CHECK(world.n_resumes == 3 && record->failovers == 1); /* at both, at the depot, at the cellar */
        standby_deinit(&standby);

        standby = new_standby(); /* damaged at one and silent at the other: that may pass */
        world.of_depot = -EBADMSG;
        world.resumes = -ENOTCONN;
        CHECK(standby_resume(&standby, NULL) == -ENOTCONN && !standby.sight.refused);
        standby_deinit(&standby);

        standby = new_standby(); /* damaged at both: there is the one before */
        record = &standby.document.record;
        record->saved_usec = 5;
        record->other_taken_usec = record->other_saved_usec = 4;
        world.of_depot = world.resumes = -EBADMSG;
        CHECK(standby_resume(&standby, NULL) == -EBADMSG && !standby.sight.refused && record->slot == 1);
        world.of_depot = world.resumes = 0;
        CHECK(standby_resume(&standby, NULL) == 0 && world.wanted_saved == 4);
        standby_deinit(&standby);
}

/* Two servers, of which the first serves it and the second has the mirror. */
static void what_servers_say_of_a_checkpoint_is_judged(void) {
        static const struct {
                uint64_t token; /* at the first; 0: it does not have it */
                int mirror;     /* as the first says */
                bool mirrored, answers[2];
                enum standby_kept kept;
        } cases[] = {
                { 1000, COPY_COMPLETE, true, { true, true }, KEPT_WHOLE },
                { 1003, COPY_COMPLETE, true, { true, true }, KEPT_WHOLE }, /* granted since */
                { 1000, COPY_LOST, true, { true, true }, KEPT_ALONE },
                { 1000, COPY_LOST, false, { true, false }, KEPT_ALONE },
                { 0, 0, true, { false, true }, KEPT_ALONE }, /* which would be promoted */
                { 0, 0, false, { true, true }, KEPT_GONE },
                { 0, 0, false, { true, false }, KEPT_SILENT },
                { 999, COPY_COMPLETE, true, { true, true }, KEPT_GONE }, /* an earlier one of that name */
                { CONTEXT_TOKEN_OPEN, COPY_COMPLETE, true, { true, true }, KEPT_GONE },
        };
        unsigned copies;
        bool reachable;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct context_entry entry = { .name = { .space = "context:a.standby-a" } };
                const struct context_list list = { .entries = &entry, .n = 1,
                                                   .answered = { cases[i].answers[0], cases[i].answers[1] } };

                entry.at[0].there = cases[i].token != 0;
                entry.at[0].status = (struct space_status) { .role = SPACE_PRIMARY, .token = cases[i].token,
                                                             .mirror = cases[i].mirror };
                entry.at[1].there = cases[i].mirrored;
                entry.at[1].status = (struct space_status) { .role = SPACE_MIRROR, .copy = LABEL_COMPLETE };
                CHECK(standby_proof_judge(&list, 2, "a.standby-a", 1000, &copies, &reachable) == cases[i].kept);
                CHECK(copies == (cases[i].kept == KEPT_WHOLE) + (unsigned) (cases[i].kept >= KEPT_ALONE));
                CHECK(reachable == (cases[i].answers[0] && cases[i].answers[1]));
                CHECK(standby_proof_judge(&list, 2, "a.standby-b", 1000, &copies, &reachable) < KEPT_ALONE);
        }
}

/* Servers that are not there at all; what is seen says so when they have been asked. */
static void servers_are_asked_aside(void) {
        struct standby standby = new_standby();

        standby.document.record.saved_usec = 5;
        standby_prove(&standby);
        CHECK(standby.proof.begun && standby.sight.kept == KEPT_UNASKED);
        policy_free(standby.policy); /* they are asked though the policy is another one meanwhile */
        standby.policy = NULL;
        while (standby.proof.begun) {
                standby_prove(&standby);
                (void) __real_poll(NULL, 0, 1);
        }
        CHECK(standby.sight.kept == KEPT_SILENT && standby.sight.kept_saved_usec == 5 && !standby.sight.reachable);
        CHECK(standby.sight.kept_usec == 0);
        standby_deinit(&standby);
}

static void work_that_stands_still_is_not_taken_for_work(void) {
        struct standby standby = new_standby();
        usec_t begun = world.now_usec;

        world.stuck_usec = 300 * SEC;
        CHECK(standby_resume(&standby, NULL) == 0 && world.fed_usec == begun + 299 * SEC);
        begun = world.now_usec;
        world.stuck_usec = 1200 * SEC;
        CHECK(standby_resume(&standby, NULL) == 0);
        CHECK(world.fed_usec > begun + 600 * SEC && world.fed_usec < begun + 610 * SEC); /* of 128 MiB */
        standby_deinit(&standby);
}

static void lose_the_directory_for_a_while(void) {
        if (world.looks == 1)
                REQUIRE(rename(dir, aside) == 0);
        if (world.looks == 20) {
                CHECK(world.n_resumes == 0);
                REQUIRE(rename(aside, dir) == 0);
        }
        stop = world.n_resumes > 0 || world.looks > 100;
}

static void nothing_is_done_before_the_decision_is_kept(void) {
        struct standby standby = new_standby();

        world.on_look = lose_the_directory_for_a_while;
        CHECK(standby_run(&standby, NULL) == 0);
        CHECK(world.n_resumes == 1 && world.was_kept);
        standby_deinit(&standby);
}

static void waiting_for_libvirt_counts_only_over_one_connection(void) {
        struct standby standby = new_standby();
        usec_t seen = standby.document.record.seen_usec;

        world.takes_usec = 20 * SEC;
        standby_look(&standby); /* which connects first */
        CHECK(standby.document.record.seen_usec == seen);
        standby_look(&standby);
        CHECK(standby.document.record.seen_usec == seen + 20 * SEC);
        standby_deinit(&standby);
}

/* Nobody waits for it, it is said, and its answer counts when it comes. */
static void a_libvirt_that_hangs_is_told_of_and_waited_for_beside_all_else(void) {
        struct standby standby = new_standby();
        struct standby_document kept = { 0 };
        usec_t seen;

        standby_look(&standby); /* which connects */
        seen = standby.document.record.seen_usec;
        world.state = VIR_DOMAIN_SHUTOFF;
        world.reason = VIR_DOMAIN_SHUTOFF_CRASHED;
        world.hangs = true;
        standby.patience_usec = 0;
        for (int i = 0; i < 3; i++) {
                standby_look(&standby);
                CHECK(standby.sight.vm == ALONE_UNKNOWN && !standby_stuck(&standby) && world.looks == 1);
                world.now_usec += 10 * SEC;
        }
        REQUIRE(standby_keep(&standby, NULL) == 0 && standby_document_read(dir, &kept, NULL) == 0);
        CHECK(strstr(kept.text, "has not answered for 20 s") != NULL && kept.vm == ALONE_UNKNOWN);
        CHECK(standby_next(standby.vm, &standby.document.record, &standby.sight, world.now_usec) == STANDBY_REST);
        world.hangs = false;
        standby.patience_usec = STANDBY_ANSWER_USEC;
        for (int i = 0; i < 5000 && standby.sight.vm == ALONE_UNKNOWN; i++) {
                standby_look(&standby);
                (void) __real_poll(NULL, 0, 1);
        }
        CHECK(standby.sight.vm == ALONE_LOST && standby.document.record.seen_usec == seen + 30 * SEC);
        world.hangs = true;
        standby.patience_usec = 0;
        standby_look(&standby);
        world.now_usec += STANDBY_STUCK_USEC;
        CHECK(standby_stuck(&standby)); /* another life may have more luck */
        world.hangs = false;
        standby.patience_usec = STANDBY_ANSWER_USEC;
        standby_deinit(&standby);
}

static void how_it_ended_says_whether_somebody_wished_it(void) {
        static const struct {
                int reason;
                enum alone_state is;
        } cases[] = {
                { VIR_DOMAIN_SHUTOFF_CRASHED, ALONE_LOST },    { VIR_DOMAIN_SHUTOFF_DESTROYED, ALONE_OFF },
                { VIR_DOMAIN_SHUTOFF_SHUTDOWN, ALONE_OFF },    { VIR_DOMAIN_SHUTOFF_SAVED, ALONE_OFF },
                { VIR_DOMAIN_SHUTOFF_UNKNOWN, ALONE_ENDED },   { VIR_DOMAIN_SHUTOFF_DAEMON, ALONE_ENDED },
                { VIR_DOMAIN_SHUTOFF_FAILED, ALONE_ENDED },
        };
        struct standby standby = new_standby();

        world.state = VIR_DOMAIN_SHUTOFF;
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
                world.reason = cases[i].reason;
                standby_look(&standby);
                CHECK(standby.sight.vm == cases[i].is);
        }
        standby_deinit(&standby);
}

static void why_it_is_paused_says_whether_it_failed(void) {
        static const struct {
                int reason;
                enum alone_state is;
        } cases[] = {
                { VIR_DOMAIN_PAUSED_USER, ALONE_RESTS },       { VIR_DOMAIN_PAUSED_SNAPSHOT, ALONE_RESTS },
                { VIR_DOMAIN_PAUSED_CRASHED, ALONE_CRASHED },  { VIR_DOMAIN_PAUSED_WATCHDOG, ALONE_CRASHED },
        };
        struct standby standby = new_standby();

        world.state = VIR_DOMAIN_PAUSED;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                world.reason = cases[i].reason;
                standby_look(&standby);
                CHECK(standby.sight.vm == cases[i].is);
        }
        standby_deinit(&standby);
}

static void what_a_look_could_not_do_is_told_until_the_next_one_can(void) {
        struct standby standby = new_standby();
        struct standby_document kept = { 0 };

        world.silent = true;
        standby_look(&standby);
        REQUIRE(standby_keep(&standby, NULL) == 0 && standby_document_read(dir, &kept, NULL) == 0);
        CHECK(strstr(kept.text, "end of file") != NULL);
        world.silent = false;
        standby_look(&standby);
        REQUIRE(standby_keep(&standby, NULL) == 0 && standby_document_read(dir, &kept, NULL) == 0);
        CHECK_TEXT(kept.text, "");
        snprintf(standby.document.text, STANDBY_TEXT_LEN, "no checkpoint was taken"); /* that of the last work stays */
        standby_look(&standby);
        REQUIRE(standby_keep(&standby, NULL) == 0 && standby_document_read(dir, &kept, NULL) == 0);
        CHECK_TEXT(kept.text, "no checkpoint was taken");
        standby_deinit(&standby);
}

#define XML "<domain type='kvm'><name>a</name><devices>%s</devices></domain>"

/* As the standby is kept while libvirt does not find the VM to define it, and once it does. */
static char told_undefined[STANDBY_TEXT_LEN], told_defined[STANDBY_TEXT_LEN] = "nothing was read";

static void look_and_define(void) {
        struct standby_document kept = { 0 };

        if (standby_document_read(dir, &kept, NULL) < 0)
                return;
        if (world.looks == 5)
                memcpy(told_undefined, kept.text, sizeof(told_undefined));
        if (world.looks == 10)
                memcpy(told_defined, kept.text, sizeof(told_defined));
        world.lost = world.looks < 6;
        stop = world.looks == 10;
}

static void that_the_vm_is_not_defined_as_it_runs_is_told_until_it_is(void) {
        struct standby standby = new_standby();
        char text[512];

        snprintf(text, sizeof(text), XML, "");
        world.xml = text;
        world.process = world.lost = true;
        world.state = VIR_DOMAIN_RUNNING;
        standby_look(&standby);
        standby.document.record.run = standby.sight.run;
        REQUIRE(standby_keep(&standby, NULL) == 0);
        world.on_look = look_and_define;
        CHECK(standby_run(&standby, NULL) == 0);
        CHECK_TEXT(told_undefined, "the VM is not defined as it runs: not found");
        CHECK_TEXT(told_defined, "");
        standby_deinit(&standby);
}

static void what_could_not_go_on_is_not_saved(void) {
        static const char elsewhere[] = "<disk type='network' device='disk'><source protocol='nbd' name='x'>"
                                        "<host name='192.0.2.1'/></source><target dev='vda'/><readonly/></disk>";
        char text[512];
        struct standby standby = new_standby();
        struct error error = ERROR_INIT;

        standby.sight.run = RUN;
        snprintf(text, sizeof(text), XML, elsewhere);
        world.xml = text;
        CHECK(standby_checkpoint(&standby, &error) == -ENOTSUP);
        CHECK(strstr(error_text(&error), "could not go on") != NULL && world.finds == 0);
        snprintf(text, sizeof(text), XML, "");
        world.transient = true;
        CHECK(standby_checkpoint(&standby, &error) == -ENOTSUP && strstr(error_text(&error), "transient") != NULL);
        error_deinit(&error);
        standby_deinit(&standby);
}

static void a_vm_that_is_lost_while_a_checkpoint_waits_goes_on(void) {
        struct standby standby = new_standby();
        struct standby_document *document = &standby.document;
        const usec_t begun = world.now_usec;
        char text[512];

        snprintf(text, sizeof(text), XML, "");
        world.xml = text;
        world.process = true;
        world.state = VIR_DOMAIN_RUNNING;
        standby_look(&standby);
        document->record.run = standby.sight.run;
        CHECK(standby.sight.run != 0 && standby_checkpoint(&standby, NULL) == -ENOTCONN);
        CHECK(world.now_usec > begun + 3 * STANDBY_GAP_USEC && world.n_removes == 1 && world.n_saves == 1);
        world.state = VIR_DOMAIN_SHUTOFF;
        world.reason = VIR_DOMAIN_SHUTOFF_CRASHED;
        standby_look(&standby);
        CHECK(standby_next(standby.vm, &document->record, &standby.sight, world.now_usec) == STANDBY_DECIDE);
        standby_deinit(&standby);
}

static void a_checkpoint_that_is_whole_is_not_thrown_away_since_libvirt_takes_its_time(void) {
        static const struct {
                usec_t busy_usec;
                int r;
        } rows[] = { { 20 * SEC, 0 }, { 0, -EAGAIN } };
        char text[512];

        snprintf(text, sizeof(text), XML, "");
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                struct standby standby = new_standby();
                struct standby_record *record = &standby.document.record;
                struct error error = ERROR_INIT;

                world.xml = text;
                world.process = true;
                world.state = VIR_DOMAIN_RUNNING;
                standby_look(&standby);
                record->run = standby.sight.run;
                standby.patience_usec = 0;
                world.saved_usec = 9;
                world.busy_usec = rows[i].busy_usec;
                CHECK(standby_checkpoint(&standby, &error) == rows[i].r);
                CHECK((record->saved_usec == 9) == (rows[i].r == 0));
                CHECK(rows[i].r == 0 || strstr(error_text(&error), "has not answered") != NULL);
                error_deinit(&error);
                world.hangs = false;
                standby.patience_usec = STANDBY_ANSWER_USEC;
                standby_deinit(&standby);
        }
}

static void nothing_is_given_up_for_a_checkpoint_that_cannot_be_begun(void) {
        static const int reasons[] = { -ENOTCONN, -ENOSPC, -EBUSY };
        char text[512], disk[256], path[64];
        _cleanup_close_ int fd = -1;

        snprintf(path, sizeof(path), "%s/disk", directory);
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        REQUIRE(fd >= 0);
        snprintf(disk, sizeof(disk), "<disk type='file' device='disk'><driver name='qemu' type='raw'/>"
                 "<source file='%s'/><target dev='vda'/></disk>", path);
        snprintf(text, sizeof(text), XML, disk);
        for (size_t i = 0; i < ELEMENTSOF(reasons); i++) {
                struct standby standby = new_standby();
                struct standby_record *record = &standby.document.record, before;

                world.xml = text;
                world.process = true;
                world.state = VIR_DOMAIN_RUNNING;
                world.job = reasons[i] == -EBUSY; /* a backup, or a merge that has outlived this program */
                world.checks = world.job ? 0 : reasons[i];
                standby_look(&standby);
                record->run = standby.sight.run;
                record->other_taken_usec = record->other_saved_usec = 4;
                before = *record;
                CHECK(standby_checkpoint(&standby, NULL) == reasons[i]);
                CHECK(world.n_removes == 0 && world.n_saves == 0);
                CHECK(record->other_taken_usec == 4 && record->other_saved_usec == 4 && record->slot == before.slot);
                CHECK(record->saved_usec == before.saved_usec && record->run == before.run);
                standby_deinit(&standby);
        }
        CHECK(unlink(path) == 0);
}

static void remove_events(const char *from) {
        char path[128];

        snprintf(path, sizeof(path), "%s/" STANDBY_EVENTS_FILE, from);
        CHECK(unlink(path) == 0);
}

/* failoverd may be dead all the while, and the host be booted before it comes back. */
static void what_is_told_survives_a_crash_and_a_boot(void) {
        struct standby first = new_standby(), second = new_standby(), third = new_standby();

        remove_events(dir); /* of the tests before this one */
        REQUIRE(mkdir(aside, 0700) == 0);
        first.state_dir = second.state_dir = third.state_dir = aside;
        standby_events_load(&first);
        standby_note(&first, NEWS_DECIDED, "it is lost,\nand %s", "goes on");
        standby_tell(&first);
        standby_note(&first, NEWS_STARTED, "it goes on");
        standby_tell(&first);
        standby_tell(&first); /* once */
        standby_events_end(&first); /* the copying of the first one; the second one is not copied yet */
        standby_events_load(&second);
        CHECK(second.events.n_events == 2 && strcmp(second.events.events[1].text, "it goes on") == 0);
        standby_events_copy(&second);
        standby_events_end(&second);
        remove_events(dir); /* the boot */
        standby_events_load(&third);
        CHECK(memcmp(&third.events, &second.events, sizeof(third.events)) == 0);
        CHECK(strcmp(third.events.events[0].text, "it is lost,?and goes on") == 0);
        standby_events_copy(&third); /* there is nothing new */
        CHECK(!third.copying.begun);
        remove_events(dir);
        remove_events(aside);
        CHECK(rmdir(aside) == 0);
        standby_deinit(&first);
        standby_deinit(&second);
        standby_deinit(&third);
}

/* What is kept with the record is told by the next life, and what was told is not told again. */
static void what_is_kept_is_told_once_though_it_is_killed_in_between(void) {
        struct standby standby = new_standby();

        standby_note(&standby, NEWS_DECIDED, "it is lost");
        REQUIRE(standby_keep(&standby, NULL) == 0);
        for (int life = 0; life < 3; life++) {
                struct standby next = new_standby();

                REQUIRE(standby_keep(&standby, NULL) == 0); /* new_standby() has written one of its own */
                REQUIRE(standby_document_read(dir, &next.document, NULL) == 0);
                standby_events_load(&next);
                CHECK(next.events.n_events == (life > 0));
                standby_tell(&next);
                CHECK(next.events.n_events == 1 && next.events.events[0].kind == NEWS_DECIDED);
                CHECK_TEXT(next.events.events[0].text, "it is lost");
                standby_deinit(&next);
        }
        remove_events(dir);
        standby_deinit(&standby);
}

static void end(void) {
        char path[128];

        snprintf(path, sizeof(path), "%s/" STANDBY_DOCUMENT_FILE, dir);
        CHECK(unlink(path) == 0 && rmdir(dir) == 0 && unlink(policy_path) == 0 && rmdir(directory) == 0);
}

TEST_MAIN("standby", TEST(begin), TEST(the_policy_is_read_with_what_was_taken_out_of_it),
          TEST(a_vm_that_is_or_was_a_pairs_is_not_its_own), TEST(a_vm_that_is_given_away_meanwhile_is_not_started),
          TEST(only_damage_and_doubt_are_final), TEST(work_that_stands_still_is_not_taken_for_work),
          TEST(a_copy_that_is_damaged_is_not_the_end_of_the_other),
          TEST(what_servers_say_of_a_checkpoint_is_judged), TEST(servers_are_asked_aside),
          TEST(nothing_is_done_before_the_decision_is_kept),
          TEST(waiting_for_libvirt_counts_only_over_one_connection),
          TEST(how_it_ended_says_whether_somebody_wished_it), TEST(why_it_is_paused_says_whether_it_failed),
          TEST(a_libvirt_that_hangs_is_told_of_and_waited_for_beside_all_else),
          TEST(what_a_look_could_not_do_is_told_until_the_next_one_can), TEST(what_could_not_go_on_is_not_saved),
          TEST(that_the_vm_is_not_defined_as_it_runs_is_told_until_it_is),
          TEST(a_vm_that_is_lost_while_a_checkpoint_waits_goes_on),
          TEST(a_checkpoint_that_is_whole_is_not_thrown_away_since_libvirt_takes_its_time),
          TEST(nothing_is_given_up_for_a_checkpoint_that_cannot_be_begun),
          TEST(what_is_told_survives_a_crash_and_a_boot),
          TEST(what_is_kept_is_told_once_though_it_is_killed_in_between), TEST(end))
