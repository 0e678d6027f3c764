/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libvirt/virterror.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/host/process.h"
#include "daemon/pages/standby.h"

int standby_connect(struct standby *standby, struct error *error) {
        if (standby->connection && virConnectIsAlive(standby->connection) == 1)
                return 0;
        context_connection_close(&standby->connection);
        standby->connection = NULL;
        return context_vm_connect(standby->policy->hypervisor_uri, &standby->connection, error);
}

/* libvirt's word on how it ended decides whether that was a failure. */
static enum alone_state ended_by(int reason) {
        switch (reason) {
        case VIR_DOMAIN_SHUTOFF_CRASHED:
                return ALONE_LOST;
        case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
        case VIR_DOMAIN_SHUTOFF_DESTROYED:
        case VIR_DOMAIN_SHUTOFF_MIGRATED:
        case VIR_DOMAIN_SHUTOFF_SAVED:
        case VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT:
                return ALONE_OFF;
        default: /* QEMU has ended while libvirtd was away, or could not be used after */
                return ALONE_ENDED;
        }
}

static enum alone_state state_of(int state, int reason) {
        switch (state) {
        case VIR_DOMAIN_RUNNING:
        case VIR_DOMAIN_BLOCKED:
                return ALONE_RUNS;
        case VIR_DOMAIN_CRASHED:
                return ALONE_CRASHED;
        case VIR_DOMAIN_PAUSED:
                /* The guest has crashed, or has not fed its watchdog, which is then to pause it. */
                return reason == VIR_DOMAIN_PAUSED_CRASHED || reason == VIR_DOMAIN_PAUSED_WATCHDOG ? ALONE_CRASHED
                                                                                                   : ALONE_RESTS;
        case VIR_DOMAIN_PMSUSPENDED:
        case VIR_DOMAIN_SHUTDOWN:
                return ALONE_RESTS;
        case VIR_DOMAIN_SHUTOFF:
                return ended_by(reason);
        default:
                return ALONE_UNKNOWN;
        }
}

/* ---- what libvirt says, on a thread of its own: it may take its time, or never answer ---- */

static void explain(struct standby_asking *asking, const char *what) {
        const char *why = virGetLastErrorMessage();

        snprintf(asking->unseen, sizeof(asking->unseen), "%s: %s", what, why ? why : "unknown error");
}

static void ask_domain(struct standby_asking *asking) {
        virDomainPtr domain = virDomainLookupByName(asking->connection, asking->domain);
        int state, reason;

        if (!domain && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
                asking->found = ALONE_ENDED;
        if (!domain) {
                explain(asking, "the VM is not found");
                return;
        }
        if (virDomainGetState(domain, &state, &reason, 0) == 0) {
                asking->found = state_of(state, reason);
                asking->active = state != VIR_DOMAIN_SHUTOFF;
                asking->answered = true;
        } else
                explain(asking, "the VM's state is not known");
        (void) virDomainFree(domain);
}

/* How long it took counts over a connection that was there all the time. */
static void *asking_run(void *userdata) {
        struct standby_asking *asking = userdata;
        const bool connected = asking->connection && virConnectIsAlive(asking->connection) == 1;
        struct error error = ERROR_INIT;

        if (!connected) {
                context_connection_close(&asking->connection);
                asking->connection = NULL;
                if (context_vm_connect(asking->uri, &asking->connection, &error) < 0)
                        snprintf(asking->unseen, sizeof(asking->unseen), "%s", error_text(&error));
                error_deinit(&error);
        }
        if (asking->connection)
                ask_domain(asking);
        if (asking->answered && connected && virConnectIsAlive(asking->connection) == 1)
                asking->waited_usec = clock_usec(CLOCK_MONOTONIC) - asking->begun_usec;
        return NULL;
}

static int begin_asking(struct standby *standby) {
        struct standby_asking *asking = calloc(1, sizeof(*asking));
        int r = -ENOMEM;

        if (asking) {
                asking->uri = strdup(standby->policy->hypervisor_uri);
                asking->domain = standby->domain;
                asking->found = ALONE_UNKNOWN;
                asking->connection = standby->connection;
                asking->from_usec = clock_usec(CLOCK_BOOTTIME);
                asking->begun_usec = clock_usec(CLOCK_MONOTONIC);
        }
        if (asking && asking->uri)
                r = thread_start_joined(asking_run, asking, &asking->thread);
        if (r < 0 && asking) {
                free(asking->uri);
                free(asking);
        }
        if (r < 0)
                return r;
        standby->connection = NULL; /* it is the thread's meanwhile */
        standby->asking = asking;
        return 0;
}

/* Whether the thread has ended, or does so in time. By the system's own clock. */
static bool asking_ended(struct standby_asking *asking, usec_t patience_usec) {
        struct timespec until;

        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t) (patience_usec / USEC_PER_SEC);
        return pthread_clockjoin_np(asking->thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

/* One question at a time. `*ret_waited_usec`: so long libvirt took to tell. */
static enum alone_state look_at_domain(struct standby *standby, usec_t *ret_waited_usec) {
        const bool late = standby->asking != NULL;
        struct standby_asking *asking;
        enum alone_state found;
        int r = late ? 0 : begin_asking(standby);

        standby->active = false;
        if (r < 0) {
                snprintf(standby->unseen, sizeof(standby->unseen), "libvirt cannot be asked: %s", strerror(-r));
                return ALONE_UNKNOWN;
        }
        asking = standby->asking;
        if (!asking_ended(asking, late ? 0 : standby->patience_usec)) {
                snprintf(standby->unseen, sizeof(standby->unseen), "libvirt (%.128s) has not answered for %llu s",
                         asking->uri,
                         (unsigned long long) ((clock_usec(CLOCK_BOOTTIME) - asking->from_usec) / USEC_PER_SEC));
                return ALONE_UNKNOWN;
        }
        standby->asking = NULL;
        standby->connection = asking->connection;
        if (strcmp(asking->uri, standby->policy->hypervisor_uri) != 0) {
                context_connection_close(&standby->connection);
                standby->connection = NULL;
                asking->found = ALONE_UNKNOWN;
        }
        snprintf(standby->unseen, sizeof(standby->unseen), "%s", asking->unseen);
        standby->active = asking->active;
        *ret_waited_usec = asking->waited_usec;
        found = asking->found;
        free(asking->uri);
        free(asking);
        return found;
}

void standby_asking_end(struct standby *standby) {
        struct standby_asking *asking = standby->asking;

        if (!asking || !asking_ended(asking, standby->patience_usec))
                return;
        context_connection_close(&asking->connection);
        free(asking->uri);
        free(asking);
        standby->asking = NULL;
}

bool standby_stuck(const struct standby *standby) {
        return standby->asking && clock_usec(CLOCK_BOOTTIME) >= standby->asking->from_usec + STANDBY_STUCK_USEC;
}

/* One start of the VM is another process, or the same number again at another time. */
static uint64_t run_of(int pid) {
        unsigned long long started = 0;
        char path[64], text[1024] = "";
        const char *rest;
        FILE *f;

        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        f = fopen(path, "re");
        if (f && fgets(text, sizeof(text), f)) {
                rest = strrchr(text, ')'); /* field 2; the start is field 22 */
                for (int field = 2; rest && field < 22; field++)
                        rest = strchr(rest + 1, ' ');
                if (!rest || sscanf(rest, "%llu", &started) != 1)
                        started = 0;
        }
        if (f)
                fclose(f);
        return started > 0 ? (uint64_t) started << 24 ^ (uint64_t) pid : 0;
}

int standby_find_run(const char *run_dir, const char *domain, int *ret_pidfd, uint64_t *ret_run) {
        int pid = 0, pidfd = -1, r = process_find(run_dir, domain, &pid, &pidfd);

        *ret_run = 0;
        if (r < 0)
                return r;
        *ret_run = run_of(pid);
        if (process_ended(pidfd))
                *ret_run = 0;
        *ret_pidfd = pidfd;
        return 0;
}

static void look_at_process(struct standby *standby) {
        struct standby_sight *sight = &standby->sight;
        int pidfd = -1, r = standby_find_run(standby->run_dir, standby->domain, &pidfd, &sight->run);

        sight->gone = r == -ESRCH;
        if (standby->pidfd >= 0)
                (void) close(standby->pidfd);
        standby->pidfd = r == 0 ? pidfd : -1;
        if (r == -EEXIST)
                snprintf(standby->unseen, sizeof(standby->unseen), "a QEMU of that name runs that libvirt does not "
                         "know; it is left alone, and nothing is resumed beside it");
}

/* So much of the time that libvirt took nobody has seen the VM. */
static usec_t unseen_of(const struct standby *standby, usec_t waited_usec) {
        const usec_t now = clock_usec(CLOCK_BOOTTIME), seen = standby->document.record.seen_usec;

        return now < seen ? 0 : now - seen < waited_usec ? now - seen : waited_usec;
}

void standby_look(struct standby *standby) {
        usec_t waited = 0;

        standby->unseen[0] = 0;
        standby->sight.vm = look_at_domain(standby, &waited);
        if (standby->sight.vm == ALONE_LOST || standby->sight.vm == ALONE_CRASHED)
                standby_waited(&standby->document.record, unseen_of(standby, waited));
        look_at_process(standby);
        standby_seen(&standby->document.record, &standby->sight, clock_usec(CLOCK_BOOTTIME));
        /* Seen to be ended while libvirt has not noticed yet: the next look tells how. */
        if (standby->sight.vm == ALONE_RUNS && standby->sight.gone)
                standby->sight.vm = ALONE_RESTS;
}

int standby_fence(struct standby *standby, struct error *error) {
        virDomainPtr domain;
        int r = 0;

        if (standby->active) {
                r = standby_connect(standby, error);
                if (r < 0)
                        return r;
                domain = virDomainLookupByName(standby->connection, standby->domain);
                if (domain && virDomainDestroy(domain) < 0)
                        r = error_set(error, -EIO, "the VM cannot be ended: %s", virGetLastErrorMessage());
                standby_worked(&standby->document.record, clock_usec(CLOCK_BOOTTIME));
                if (domain)
                        (void) virDomainFree(domain);
        }
        if (standby->pidfd >= 0 && (r < 0 || !standby->active)) {
                int killed = process_signal(standby->pidfd, SIGKILL);

                if (killed < 0 && killed != -ESRCH)
                        return error_set(error, killed, "the VM's process cannot be ended: %s", strerror(-killed));
                r = 0;
        }
        return r;
}
