/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/libvirt/hypervisor-call.h"

#include <errno.h>
#include <libvirt/virterror.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/helper-client.h"
#include "daemon/host/libvirt/hypervisor-call-internal.h"
#include "daemon/host/libvirt/hypervisor-events.h"
#include "daemon/host/process.h"
#include "daemon/host/records/evidence-dump.h"

#define LOOK_AGAIN_MSEC 50              /* between looks at something that takes its time */
#define ANSWER_USEC (100 * USEC_PER_MSEC) /* left for the answer of a call that waits by itself */

static struct call *call_of(struct lane_call *call) {
        return (struct call *) call;
}

int call_libvirt_error(struct call *call) {
        int code = virGetLastErrorCode();

        text_copy(call->lane.text, sizeof(call->lane.text), virGetLastErrorMessage());
        switch (code) {
        case VIR_ERR_NO_DOMAIN:
        case VIR_ERR_DEVICE_MISSING:
                return -ENOENT;
        case VIR_ERR_NO_MEMORY:
                return -ENOMEM;
        case VIR_ERR_NO_SUPPORT:
        case VIR_ERR_OPERATION_UNSUPPORTED:
        case VIR_ERR_CONFIG_UNSUPPORTED:
        case VIR_ERR_ARGUMENT_UNSUPPORTED:
                return -EOPNOTSUPP;
        case VIR_ERR_OPERATION_DENIED:
        case VIR_ERR_ACCESS_DENIED:
        case VIR_ERR_AUTH_FAILED:
                return -EACCES;
        case VIR_ERR_OPERATION_TIMEOUT: /* another call holds the domain */
                return -EAGAIN;
        case VIR_ERR_OPERATION_INVALID: /* not in this state */
                return -EINVAL;
        default:
                return -EIO;
        }
}

int call_error(struct call *call, const struct error *error) {
        text_copy(call->lane.text, sizeof(call->lane.text), error_text(error));
        return error->code;
}

int call_end(struct call *call, int code, const char *text) {
        text_copy(call->lane.text, sizeof(call->lane.text), text);
        return code;
}

int call_open_domain(struct call *call, virConnectPtr connection, virDomainPtr *ret_domain) {
        virDomainPtr domain = virDomainLookupByName(connection, call->lane.domain);

        if (!domain)
                return call_libvirt_error(call);
        *ret_domain = domain;
        return 0;
}

int call_open_running(struct call *call, virConnectPtr connection, virDomainPtr *ret_domain) {
        int r = call_open_domain(call, connection, ret_domain);

        if (r < 0)
                return r;
        if (virDomainGetID(*ret_domain) == (unsigned) -1) /* as the look-up has told: libvirtd is not asked again */
                return call_end(call, -ESRCH, "it does not run");
        return 0;
}

int call_get_xml(struct call *call, virDomainPtr domain, unsigned flags, char **ret_xml) {
        char *xml = virDomainGetXMLDesc(domain, flags);

        if (!xml)
                return call_libvirt_error(call);
        *ret_xml = xml;
        return 0;
}

/* What the domain is: now, or (VIR_DOMAIN_XML_INACTIVE) at its next start. */
static int read_facts(struct call *call, virDomainPtr domain, unsigned flags, const struct app_names *apps,
                      struct domain_facts *ret_facts) {
        _cleanup_error_ struct error error = ERROR_INIT;
        _cleanup_free_ char *xml = NULL;
        int r;

        r = call_get_xml(call, domain, flags, &xml);
        if (r < 0)
                return r;
        r = domain_xml_parse(xml, apps, ret_facts, &error);
        return r < 0 ? call_error(call, &error) : 0;
}

bool call_look_again(const struct call *call) {
        if (lane_now() + LOOK_AGAIN_MSEC * USEC_PER_MSEC + ANSWER_USEC >= call->lane.deadline_usec)
                return false;
        poll(NULL, 0, LOOK_AGAIN_MSEC);
        return true;
}

static int get_state(virDomainPtr domain, enum domain_state *ret_state, enum domain_reason *ret_reason) {
        int state, reason;

        if (virDomainGetState(domain, &state, &reason, 0) < 0)
                return -1;
        *ret_state = domain_state_from_libvirt(state, reason, ret_reason);
        return 0;
}

/* A freeze that had to wait in libvirt may meet the domain in its next life, which must go on. */
static int undo_late_freeze(struct call *call, virConnectPtr connection, unsigned asked_id) {
        _cleanup_domain_ virDomainPtr now = NULL;
        int r;

        r = call_open_domain(call, connection, &now);
        if (r < 0 || virDomainGetID(now) == asked_id)
                return 0;
        (void) virDomainResume(now);
        return call_end(call, -ESRCH, "it ended before it could be stopped");
}

static int run_freeze(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        enum domain_reason reason;
        enum domain_state state;
        int r;

        r = call_open_running(call, connection, &domain);
        if (r < 0)
                return r;
        /* Returns when QEMU has stopped the processors and drained the disks. */
        if (virDomainSuspend(domain) == 0)
                return undo_late_freeze(call, connection, virDomainGetID(domain));
        r = call_libvirt_error(call);
        if (get_state(domain, &state, &reason) < 0)
                return r;
        /* A guest that panicked, or was paused before, has had its processors stopped by QEMU in the same way. */
        if (state == DOMAIN_CRASHED && reason == REASON_PANICKED)
                return call_end(call, 0, "its processors had stopped: the guest has panicked");
        if (state == DOMAIN_PAUSED)
                return call_end(call, 0, "it was paused before");
        return state == DOMAIN_SHUTOFF ? -ESRCH : r;
}

/* A domain may be started when libvirt has taken note of the end of its last process, and neither a saved image
 * nor the XML would bring up something else than an empty standby. */
static int check_start(struct call *call, virDomainPtr domain) {
        const struct app_names none = { 0 };
        struct domain_facts facts;
        int r;

        r = virDomainHasManagedSaveImage(domain, 0);
        if (r > 0)
                return call_end(call, -EBUSY, "it has a managed-save image of an operator's: start it by hand, or "
                                               "remove the image (virsh managedsave-remove)");
        if (r < 0 && virGetLastErrorCode() != VIR_ERR_NO_SUPPORT)
                return call_libvirt_error(call);
        r = read_facts(call, domain, VIR_DOMAIN_XML_INACTIVE, &none, &facts);
        if (r < 0)
                return r;
        if (!facts.preflight.requested_zero)
                return call_end(call, -EINVAL, "its persistent XML asks for virtio-mem memory at start: set "
                                                "<requested> to 0");
        return 0;
}

static int run_start(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        enum domain_reason reason;
        enum domain_state state;
        int r;

        r = call_open_domain(call, connection, &domain);
        if (r < 0)
                return r;
        r = check_start(call, domain);
        if (r < 0)
                return r;
        for (;;) {
                if (get_state(domain, &state, &reason) < 0)
                        return call_libvirt_error(call);
                if (state == DOMAIN_SHUTOFF && virDomainCreate(domain) == 0)
                        return call_end(call, 0, "");
                if (state == DOMAIN_SHUTOFF) {
                        r = call_libvirt_error(call);
                        /* Anything but a race with somebody else's start or with its own end is final. */
                        if (r != -EINVAL && r != -EAGAIN)
                                return r;
                } else {
                        r = -EBUSY;
                        snprintf(call->lane.text, sizeof(call->lane.text), "it is still %s",
                                 state == DOMAIN_RUNNING ? "running" : state == DOMAIN_PAUSED ? "paused" : "there");
                }
                if (!call_look_again(call))
                        return r;
        }
}

static int run_resize(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        _cleanup_error_ struct error error = ERROR_INIT;
        _cleanup_free_ char *xml = NULL, *device = NULL;
        int r;

        r = call_open_running(call, connection, &domain);
        if (r == 0)
                r = call_get_xml(call, domain, 0, &xml);
        if (r < 0)
                return r;
        r = domain_xml_resize(xml, call->app_name, call->bytes, &device, &error);
        if (r < 0)
                return call_error(call, &error);
        /* Live only: what the VM has at its next start is the persistent XML's matter, which asks for nothing. */
        if (virDomainUpdateDeviceFlags(domain, device, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return call_libvirt_error(call);
        return 0;
}

static int set_vcpus(struct call *call, virDomainPtr domain, bool more) {
        int plugged;

        if (virDomainIsActive(domain) == 0)
                return call_end(call, -ESRCH, "it does not run");
        plugged = virDomainGetVcpusFlags(domain, VIR_DOMAIN_AFFECT_LIVE);
        if (plugged < 0)
                return call_libvirt_error(call);
        if (more ? (unsigned) plugged >= call->count : (unsigned) plugged <= call->count)
                return call_end(call, 0, more ? "they are plugged already" : "they are taken already");
        if (virDomainSetVcpusFlags(domain, call->count, VIR_DOMAIN_AFFECT_LIVE) < 0)
                return call_libvirt_error(call);
        return 0;
}

/* Plugs only: fewer may be wanted by one who does not know how many there are. */
static int run_vcpus(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        int r;

        r = call_open_domain(call, connection, &domain);
        return r < 0 ? r : set_vcpus(call, domain, true);
}

/* What the domain is now decides, not what its persistent XML says: under emulation QEMU 7.2 dies of it. */
static int run_take_vcpus(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        struct domain_facts facts;
        int r;

        r = call_open_domain(call, connection, &domain);
        if (r < 0)
                return r;
        r = read_facts(call, domain, 0, &call->apps, &facts);
        if (r < 0)
                return r;
        if (!facts.preflight.kvm)
                return call_end(call, -EOPNOTSUPP, "it does not run under KVM, and QEMU may die of losing processors");
        return set_vcpus(call, domain, false);
}

static int run_state(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        int r;

        r = call_open_domain(call, connection, &domain);
        if (r == -ENOENT) {
                call->state = DOMAIN_UNDEFINED;
                return 0;
        }
        if (r < 0)
                return r;
        if (get_state(domain, &call->state, &call->reason) < 0)
                return call_libvirt_error(call);
        if (call->state == DOMAIN_SHUTOFF)
                return 0;
        return read_facts(call, domain, 0, &call->apps, &call->facts);
}

static int run_preflight(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        int autostart = 0, persistent, r;

        r = call_open_domain(call, connection, &domain);
        if (r == -ENOENT)
                return 0; /* a finding: not defined */
        if (r < 0)
                return r;
        persistent = virDomainIsPersistent(domain);
        if (persistent < 0)
                return call_libvirt_error(call);
        /* There is none for a domain that is not persistent. */
        if (persistent > 0 && virDomainGetAutostart(domain, &autostart) < 0)
                return call_libvirt_error(call);
        r = read_facts(call, domain, VIR_DOMAIN_XML_INACTIVE, &call->apps, &call->facts);
        if (r < 0)
                return r;
        call->facts.preflight.defined = true;
        call->facts.preflight.persistent = persistent > 0;
        call->facts.preflight.autostart = autostart != 0;
        return 0;
}

static int run_balloon(struct call *call, virConnectPtr connection) {
        virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR];
        _cleanup_domain_ virDomainPtr domain = NULL;
        int n, r;

        call->age_usec = USEC_INFINITY;
        r = call_open_domain(call, connection, &domain);
        if (r < 0)
                return r;
        n = virDomainMemoryStats(domain, stats, VIR_DOMAIN_MEMORY_STAT_NR, 0);
        if (n < 0)
                return call_libvirt_error(call);
        for (int i = 0; i < n; i++) {
                usec_t updated = (usec_t) stats[i].val * USEC_PER_SEC, now;

                /* Whole seconds of wall-clock time; 0: never. */
                if (stats[i].tag != VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE || stats[i].val == 0)
                        continue;
                now = clock_usec(CLOCK_REALTIME);
                call->age_usec = now > updated ? now - updated : 0;
        }
        return 0;
}

static int run_stats_period(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        int r;

        r = call_open_domain(call, connection, &domain);
        if (r < 0)
                return r;
        return virDomainSetMemoryStatsPeriod(domain, 1, VIR_DOMAIN_AFFECT_LIVE) < 0 ? call_libvirt_error(call) : 0;
}

static int run_open_process(struct call *call, virConnectPtr connection) {
        int r = process_find(call->run_dir, call->lane.domain, &call->pid, &call->pidfd);

        if ((r == -EACCES || r == -EPERM) && call->helper_path)
                r = helper_call(call->helper_path, HELPER_OPEN, call->lane.domain, call->lane.timeout_usec, &call->pid,
                                &call->pidfd);
        if (r < 0)
                call_end(call, r, r == -EEXIST   ? "a QEMU of that name runs, but libvirt's pid file does not name it"
                                   : r == -EAGAIN ? "a QEMU is just ending"
                                                  : strerror(-r));
        return r;
}

/* The disk may have kept us waiting: is it still the life that was to be dumped, and wanted? */
static int check_dump(struct call *call, virConnectPtr connection, unsigned asked_id) {
        _cleanup_domain_ virDomainPtr now = NULL;
        enum domain_reason reason;
        enum domain_state state;
        int r;

        if (lane_now() >= call->lane.deadline_usec)
                return -ETIMEDOUT;
        r = call_open_domain(call, connection, &now);
        if (r < 0)
                return r;
        if (get_state(now, &state, &reason) < 0)
                return call_libvirt_error(call);
        if (virDomainGetID(now) != asked_id || (state != DOMAIN_PAUSED && state != DOMAIN_CRASHED))
                return call_end(call, -ESRCH, "it does not stand still any more");
        return 0;
}

/* QEMU ends it when it is killed, and libvirt with it: what was written until then is worth nothing. */
static int run_dump(struct call *call, virConnectPtr connection) {
        _cleanup_domain_ virDomainPtr domain = NULL;
        _cleanup_free_ char *path = NULL;
        int r;

        r = call_open_domain(call, connection, &domain);
        if (r < 0)
                return r;
        r = evidence_dump_prepare(call->evidence_dir, call->failover_id, call->side, call->bytes, &path);
        if (r < 0) {
                snprintf(call->lane.text, sizeof(call->lane.text), "%.150s: %s", call->evidence_dir, strerror(-r));
                return r;
        }
        r = check_dump(call, connection, virDomainGetID(domain));
        if (r < 0)
                return r;
        if (virDomainCoreDumpWithFormat(domain, path, VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, VIR_DUMP_MEMORY_ONLY) == 0)
                return 0;
        r = call_libvirt_error(call);
        (void) unlink(path);
        return r;
}

static int run_signal(struct call *call, virConnectPtr connection) {
        int r = helper_call(call->helper_path, (enum helper_op) call->helper_op, call->lane.domain,
                            call->lane.timeout_usec, NULL, NULL);

        if (r < 0)
                snprintf(call->lane.text, sizeof(call->lane.text), "failoverd-helper: %s", strerror(-r));
        return r;
}

static int call_run(struct lane_call *lane_call, virConnectPtr connection) {
        static int (*const runs[CALL_KIND_MAX])(struct call *call, virConnectPtr connection) = {
                [CALL_FREEZE] = run_freeze,
                [CALL_START] = run_start,
                [CALL_RESIZE] = run_resize,
                [CALL_VCPUS] = run_vcpus,
                [CALL_TAKE_VCPUS] = run_take_vcpus,
                [CALL_ATTACH_DISK] = call_attach_disk,
                [CALL_DETACH_DISK] = call_detach_disk,
                [CALL_ATTACH_OVERFLOW] = call_attach_overflow,
                [CALL_DETACH_OVERFLOW] = call_detach_overflow,
                [CALL_STATE] = run_state,
                [CALL_PREFLIGHT] = run_preflight,
                [CALL_BALLOON] = run_balloon,
                [CALL_STATS_PERIOD] = run_stats_period,
                [CALL_OPEN_PROCESS] = run_open_process,
                [CALL_DUMP] = run_dump,
                [CALL_SIGNAL] = run_signal,
        };
        struct call *call = call_of(lane_call);

        return runs[call->kind](call, connection);
}

static void call_release(struct lane_call *lane_call) {
        call_free(call_of(lane_call));
}

struct call *call_new(enum call_kind kind, const char *domain, usec_t timeout_usec) {
        struct call *call = calloc(1, sizeof(*call));

        if (!call)
                return NULL;
        call->kind = kind;
        call->action = ACTION_KIND_INVALID;
        call->app = NO_APP;
        call->pidfd = -1;
        call->age_usec = USEC_INFINITY;
        snprintf(call->lane.domain, sizeof(call->lane.domain), "%s", domain);
        call->lane.timeout_usec = timeout_usec;
        call->lane.run = call_run;
        call->lane.release = call_release;
        return call;
}

struct call *call_free(struct call *call) {
        if (!call)
                return NULL;
        if (call->pidfd >= 0)
                close(call->pidfd);
        free(call->run_dir);
        free(call->helper_path);
        free(call->evidence_dir);
        free(call->socket);
        free(call);
        return NULL;
}
