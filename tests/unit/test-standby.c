/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the standby of a VM that stands alone does with what it reads and is told: libvirt, the VM's process, contexts
 * and the clock are replaced, so that any of them may fail or take its time.
 */

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/process.h"
#include "daemon/memserver/copy.h"
#include "daemon/memserver/label.h"
#include "daemon/pages/standby.h"
#include "daemon/replay/policy-block.h"
#include "policy/text.h"
#include "tests/unit/test.h"

#define SEC USEC_PER_SEC
#define CONNECTION ((virConnectPtr) &world)
#define DOMAIN ((virDomainPtr) &world)
#define RUN 7

#define HEAD                                                                                                           \
        "version: 1\n"                                                                                                 \
        "pool: {memory: 4GiB, reserve: 0, extent: 128MiB, monitor: 64MiB, overhead: 64MiB}\n"                          \
        "memory-servers: [{name: depot, control: /nonexistent/depot, uri: \"nbd+unix:///?socket=/nonexistent\"},\n"    \
        "  {name: cellar, control: /nonexistent/cellar, uri: \"nbd+unix:///?socket=/nonexistent\"}]\n"
#define VMS "pairs: []\nvms: [{domain: a, memory: 128MiB, standby: context, servers: [depot, cellar]}]\n"
#define PAIR                                                                                                           \
        "pairs:\n  - name: p\n    active: {domain: %s, base: 128MiB}\n    standby: {domain: y, base: 128MiB}\n"        \
        "    applications: [{name: db, kind: hot-standby, memory: 256MiB, start: {unit: db.service}}]\n"

static char directory[] = "/tmp/test-standby-XXXXXX", policy_path[64], dir[64], aside[64];
static volatile sig_atomic_t stop;

static struct {
        _Atomic usec_t now_usec;
        _Atomic bool process; /* the VM has one: this test's */
        _Atomic unsigned finds;
        int state, reason;   /* as libvirt says */
        usec_t takes_usec;   /* libvirt, to say it */
        bool transient, silent; /* libvirt does not tell the state */
        const char *xml;     /* of the VM */
        unsigned looks;
        void (*on_look)(void);
        int resumes;         /* what comes of resuming */
        int of_depot;        /* the same where that server is asked first; 0: as of any */
        uint64_t wanted_saved; /* what was to be resumed */
        usec_t stuck_usec;     /* libvirt takes so long to start it, and says nothing */
        usec_t fed_usec;       /* when it was told last that it is not stuck */
        unsigned n_resumes;
        int checks;            /* what comes of asking whether a checkpoint can be begun */
        unsigned n_removes, n_saves;
        bool was_kept;       /* the decision, when something was resumed */
        const char *changes; /* the policy to be, while something is resumed */
} world;

usec_t __wrap_clock_usec(clockid_t clock);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_msec);
unsigned __wrap_alarm(unsigned seconds);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_msec);
virConnectPtr __wrap_virConnectOpen(const char *uri);
int __wrap_virConnectClose(virConnectPtr connection);
int __wrap_virConnectIsAlive(virConnectPtr connection);
virDomainPtr __wrap_virDomainLookupByName(virConnectPtr connection, const char *name);
int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags);
int __wrap_virDomainFree(virDomainPtr domain);
int __wrap_virDomainIsPersistent(virDomainPtr domain);
int __wrap_virGetLastErrorCode(void);
const char *__wrap_virGetLastErrorMessage(void);
int __wrap_process_find(const char *run_dir, const char *domain, int *ret_pid, int *ret_pidfd);
int __wrap_context_resume(const struct context_job *job, const char *name, struct context_manifest **ret,
                          struct error *error);
int __wrap_context_vm_find(virConnectPtr connection, const char *name, struct context_vm *ret, struct error *error);
int __wrap_context_remove(const struct context_job *job, const char *name, struct error *error);
int __wrap_context_save(const struct context_job *job, const char *vm, const char *name, struct context_manifest **ret,
                        struct error *error);

unsigned __wrap_alarm(unsigned seconds) {
        world.fed_usec = world.now_usec;
        return 0;
}

usec_t __wrap_clock_usec(clockid_t clock) {
        return world.now_usec;
}

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_msec) {
        int r = n > 0 ? __real_poll(fds, n, 1) : 0;

        if (r != 0)
                return r;
        world.now_usec += (usec_t) timeout_msec * USEC_PER_MSEC;
        return 0;
}

virConnectPtr __wrap_virConnectOpen(const char *uri) {
        return CONNECTION;
}

int __wrap_virConnectClose(virConnectPtr connection) {
        return 0;
}

int __wrap_virConnectIsAlive(virConnectPtr connection) {
        return 1;
}

virDomainPtr __wrap_virDomainLookupByName(virConnectPtr connection, const char *name) {
        return DOMAIN;
}

int __wrap_virDomainGetState(virDomainPtr domain, int *state, int *reason, unsigned flags) {
        world.looks++;
        if (world.on_look)
                world.on_look();
        world.now_usec += world.takes_usec;
        *state = world.state;
        *reason = world.reason;
        return world.silent ? -1 : 0;
}

int __wrap_virDomainFree(virDomainPtr domain) {
        return 0;
}

int __wrap_virDomainIsPersistent(virDomainPtr domain) {
        return !world.transient;
}

int __wrap_virGetLastErrorCode(void) {
        return VIR_ERR_INTERNAL_ERROR;
}

const char *__wrap_virGetLastErrorMessage(void) {
        return "end of file";
}

int __wrap_process_find(const char *run_dir, const char *domain, int *ret_pid, int *ret_pidfd) {
        world.finds++;
        if (!world.process)
                return -ESRCH;
        *ret_pid = getpid();
        *ret_pidfd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        return 0;
}

int __wrap_context_vm_find(virConnectPtr connection, const char *name, struct context_vm *ret, struct error *error) {
        *ret = (struct context_vm) { .domain = DOMAIN, .xml = strdup(world.xml) };
        return ret->xml ? 0 : -ENOMEM;
}

/* Until somebody has looked at the VM's process so often. */
static void wait_looks(unsigned n) {
        for (unsigned from = world.finds; world.finds < from + n;)
                (void) __real_poll(NULL, 0, 1);
}

/* Nothing was dropped before it was asked whether a new one can be begun, and the record says so by then. */
int __wrap_context_remove(const struct context_job *job, const char *name, struct error *error) {
        struct standby_document kept = { 0 };

        world.n_removes++;
        CHECK(standby_document_read(dir, &kept, NULL) == 0 && kept.record.other_taken_usec == 0);
        return -ENOENT;
}

/* A server that is silent, and the VM is lost in that time, which is longer than it takes to start it anew. */
int __wrap_context_save(const struct context_job *job, const char *vm, const char *name, struct context_manifest **ret,
                        struct error *error) {
        struct pollfd given_up = { .fd = job->servers->cancel_fd, .events = POLLIN };

        *ret = NULL;
        if (job->dry_run)
                return world.checks < 0 ? error_set(error, world.checks, "as the test wants it") : 0;
        world.n_saves++;
        wait_looks(40);
        CHECK(__real_poll(&given_up, 1, 0) == 0);
        world.process = false;
        wait_looks(40);
        CHECK(__real_poll(&given_up, 1, 0) == 1);
        return error_set(error, -ENOTCONN, "silence");
}

static void write_policy(const char *text) {
        static time_t seconds; /* never the time of the one before: the file system's clock is a coarse one */
        struct timespec times[2];
        char path[128];
        FILE *f;

        seconds++;
        times[0] = times[1] = (struct timespec) { .tv_sec = seconds };
        snprintf(path, sizeof(path), "%s.new", policy_path);
        f = fopen(path, "w");
        REQUIRE(f && fputs(text, f) >= 0 && fclose(f) == 0);
        REQUIRE(utimensat(AT_FDCWD, path, times, 0) == 0 && rename(path, policy_path) == 0);
}

int __wrap_context_resume(const struct context_job *job, const char *name, struct context_manifest **ret,
                          struct error *error) {
        struct standby_document kept = { 0 };
        int r;

        world.n_resumes++;
        world.was_kept = standby_document_read(dir, &kept, NULL) == 0 && kept.record.wanted;
        if (world.changes)
                write_policy(world.changes);
        for (const usec_t until = world.now_usec + world.stuck_usec; world.now_usec < until; world.now_usec += SEC)
                (void) job->progress.tell(job->progress.userdata, CONTEXT_STATE_IN, 0, 0);
        world.wanted_saved = job->saved_usec;
        if (world.of_depot < 0 && strcmp(job->servers->at[0].control, "/nonexistent/depot") == 0)
                return error_set(error, world.of_depot, "as the test wants it of the depot");
        r = job->permit(job->userdata, "a", CONTEXT_STARTS, error);
        if (r < 0 || world.resumes < 0)
                return r < 0 ? r : error_set(error, world.resumes, "as the test wants it");
        world.state = VIR_DOMAIN_RUNNING;
        *ret = NULL;
        return 0;
}

static void begin(void) {
        REQUIRE(mkdtemp(directory) != NULL);
        snprintf(policy_path, sizeof(policy_path), "%s/policy", directory);
        snprintf(dir, sizeof(dir), "%s/a", directory);
        snprintf(aside, sizeof(aside), "%s/aside", directory);
        REQUIRE(mkdir(dir, 0700) == 0);
        write_policy(HEAD VMS);
}

/* A VM whose checkpoint was just taken. */
static struct standby new_standby(void) {
        struct standby standby = STANDBY_INIT;

        memset(&world, 0, sizeof(world));
        stop = 0;
        world.now_usec = 1000 * SEC;
        world.state = VIR_DOMAIN_CRASHED;
        standby.domain = "a";
        standby.policy_path = policy_path;
        standby.dir = dir;
        standby.stop = &stop;
        snprintf(standby.document.domain, sizeof(standby.document.domain), "a");
        standby.document.record = (struct standby_record) { .run = RUN, .seen_usec = world.now_usec,
                                                            .taken_usec = world.now_usec };
        write_policy(HEAD VMS);
        REQUIRE(standby_policy_read(&standby, NULL) == 1);
        REQUIRE(standby_keep(&standby, NULL) == 0);
        return standby;
}

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

static void nothing_is_given_up_for_a_checkpoint_that_cannot_be_begun(void) {
        static const int reasons[] = { -ENOTCONN, -ENOSPC };
        char text[512];

        snprintf(text, sizeof(text), XML, "");
        for (size_t i = 0; i < ELEMENTSOF(reasons); i++) {
                struct standby standby = new_standby();
                struct standby_record *record = &standby.document.record, before;

                world.xml = text;
                world.process = true;
                world.state = VIR_DOMAIN_RUNNING;
                world.checks = reasons[i];
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
        standby_tell(&first, NEWS_DECIDED, "it is lost,\nand %s", "goes on");
        standby_tell(&first, NEWS_STARTED, "it goes on");
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
          TEST(what_a_look_could_not_do_is_told_until_the_next_one_can), TEST(what_could_not_go_on_is_not_saved),
          TEST(a_vm_that_is_lost_while_a_checkpoint_waits_goes_on),
          TEST(nothing_is_given_up_for_a_checkpoint_that_cannot_be_begun),
          TEST(what_is_told_survives_a_crash_and_a_boot), TEST(end))
