/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What stands around the standby of a VM that stands alone: libvirt, the VM's process, contexts and the clock are
 * replaced (standby_stand_in in meson.build), so that any of them may fail or take its time.
 */

#include <libvirt/virterror.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/host/process.h"
#include "daemon/pages/standby.h"
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
        _Atomic bool hangs;  /* and says nothing meanwhile */
        _Atomic usec_t answers_usec; /* it does so from then on, and for this test the time stands still; 0: never */
        bool lost;           /* it does not find the VM */
        bool job;            /* something is done with its disks */
        _Atomic unsigned looks;
        void (*on_look)(void);
        int resumes;         /* what comes of resuming */
        int of_depot;        /* the same where that server is asked first; 0: as of any */
        uint64_t wanted_saved; /* what was to be resumed */
        usec_t stuck_usec;     /* libvirt takes so long to start it, and says nothing */
        usec_t fed_usec;       /* when it was told last that it is not stuck */
        unsigned n_resumes;
        int checks;            /* what comes of asking whether a checkpoint can be begun */
        usec_t saved_usec;     /* a checkpoint is whole, as that one, and libvirt has much to do then; 0: none is */
        usec_t busy_usec;      /* for so long; 0: for ever */
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
int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk, virDomainBlockJobInfoPtr info,
                                    unsigned flags);
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
        if (world.answers_usec > 0 && world.now_usec >= world.answers_usec) {
                world.hangs = false;
                return n > 0 ? 0 : __real_poll(NULL, 0, 1);
        }
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
        while (world.hangs)
                (void) __real_poll(NULL, 0, 1);
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

int __wrap_virDomainGetBlockJobInfo(virDomainPtr domain, const char *disk, virDomainBlockJobInfoPtr info,
                                    unsigned flags) {
        return world.job;
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
        if (world.lost)
                return error_set(error, -ENOENT, "not found");
        *ret = (struct context_vm) { .domain = DOMAIN, .xml = strdup(world.xml) };
        return ret->xml ? 0 : -ENOMEM;
}

/* Until somebody has looked at the VM's process so often. */
static inline void wait_looks(unsigned n) {
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

/* Where nothing else is said: a server that is silent, and the VM is lost in that time, which is longer than it takes
 * to start it anew. */
int __wrap_context_save(const struct context_job *job, const char *vm, const char *name, struct context_manifest **ret,
                        struct error *error) {
        struct pollfd given_up = { .fd = job->servers->cancel_fd, .events = POLLIN };

        *ret = NULL;
        if (job->dry_run)
                return world.checks < 0 ? error_set(error, world.checks, "as the test wants it") : 0;
        world.n_saves++;
        if (world.saved_usec > 0) {
                *ret = calloc(1, sizeof(**ret));
                REQUIRE(*ret != NULL);
                (*ret)->saved_usec = world.saved_usec;
                world.hangs = true;
                world.answers_usec = world.busy_usec > 0 ? world.now_usec + world.busy_usec : 0;
                return 0;
        }
        wait_looks(40);
        CHECK(__real_poll(&given_up, 1, 0) == 0);
        world.process = false;
        wait_looks(40);
        CHECK(__real_poll(&given_up, 1, 0) == 1);
        return error_set(error, -ENOTCONN, "silence");
}

static inline void write_policy(const char *text) {
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

static inline void begin(void) {
        REQUIRE(mkdtemp(directory) != NULL);
        snprintf(policy_path, sizeof(policy_path), "%s/policy", directory);
        snprintf(dir, sizeof(dir), "%s/a", directory);
        snprintf(aside, sizeof(aside), "%s/aside", directory);
        REQUIRE(mkdir(dir, 0700) == 0);
        write_policy(HEAD VMS);
}

/* A VM whose checkpoint was just taken. */
static inline struct standby new_standby(void) {
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
