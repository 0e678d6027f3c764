/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libvirt/virterror.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/clock.h"
#include "daemon/host/process.h"
#include "daemon/pages/standby.h"

static void say(struct standby *standby, const char *what) {
        const char *why = virGetLastErrorMessage();

        snprintf(standby->unseen, sizeof(standby->unseen), "%s: %s", what, why ? why : "unknown error");
}

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

/* `*ret_waited_usec`: so long libvirt took to tell, over a connection that was there all the time. */
static enum alone_state look_at_domain(struct standby *standby, usec_t *ret_waited_usec) {
        const virConnectPtr before = standby->connection;
        enum alone_state found = ALONE_UNKNOWN;
        struct error error = ERROR_INIT;
        virDomainPtr domain;
        int state, reason;
        usec_t from;

        standby->active = false;
        if (standby_connect(standby, &error) < 0) {
                snprintf(standby->unseen, sizeof(standby->unseen), "%s", error_text(&error));
                error_deinit(&error);
                return ALONE_UNKNOWN;
        }
        from = clock_usec(CLOCK_MONOTONIC);
        domain = virDomainLookupByName(standby->connection, standby->domain);
        if (!domain && virGetLastErrorCode() == VIR_ERR_NO_DOMAIN)
                found = ALONE_ENDED;
        if (!domain) {
                say(standby, "the VM is not found");
                return found;
        }
        if (virDomainGetState(domain, &state, &reason, 0) == 0) {
                found = state_of(state, reason);
                if (standby->connection == before && virConnectIsAlive(standby->connection) == 1)
                        *ret_waited_usec = clock_usec(CLOCK_MONOTONIC) - from;
                standby->active = state != VIR_DOMAIN_SHUTOFF;
        } else
                say(standby, "the VM's state is not known");
        (void) virDomainFree(domain);
        return found;
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

void standby_look(struct standby *standby) {
        usec_t waited = 0;

        standby->unseen[0] = 0;
        standby->sight.vm = look_at_domain(standby, &waited);
        if (standby->sight.vm == ALONE_LOST || standby->sight.vm == ALONE_CRASHED)
                standby_waited(&standby->document.record, waited);
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
