/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libvirt's words for the state of a domain, in ours. */

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-call.h"

static enum domain_reason paused_reason(int reason) {
        switch (reason) {
        case VIR_DOMAIN_PAUSED_USER:
                return REASON_USER;
        case VIR_DOMAIN_PAUSED_IOERROR:
                return REASON_IO_ERROR;
        case VIR_DOMAIN_PAUSED_WATCHDOG:
                return REASON_WATCHDOG;
        case VIR_DOMAIN_PAUSED_CRASHED:
                return REASON_PANICKED;
        case VIR_DOMAIN_PAUSED_MIGRATION:
        case VIR_DOMAIN_PAUSED_POSTCOPY:
        case VIR_DOMAIN_PAUSED_POSTCOPY_FAILED:
                return REASON_MIGRATED;
        case VIR_DOMAIN_PAUSED_SAVE:
        case VIR_DOMAIN_PAUSED_DUMP:
                return REASON_SAVED;
        case VIR_DOMAIN_PAUSED_FROM_SNAPSHOT:
        case VIR_DOMAIN_PAUSED_SNAPSHOT:
                return REASON_SNAPSHOT;
        default:
                return REASON_UNKNOWN;
        }
}

static enum domain_reason shutoff_reason(int reason) {
        switch (reason) {
        case VIR_DOMAIN_SHUTOFF_SHUTDOWN:
                return REASON_SHUTDOWN;
        case VIR_DOMAIN_SHUTOFF_DESTROYED:
                return REASON_DESTROYED;
        case VIR_DOMAIN_SHUTOFF_CRASHED:
                return REASON_CRASHED;
        case VIR_DOMAIN_SHUTOFF_MIGRATED:
                return REASON_MIGRATED;
        case VIR_DOMAIN_SHUTOFF_SAVED:
                return REASON_SAVED;
        case VIR_DOMAIN_SHUTOFF_FAILED:
        case VIR_DOMAIN_SHUTOFF_DAEMON:
                return REASON_FAILED;
        case VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT:
                return REASON_SNAPSHOT;
        default:
                return REASON_UNKNOWN;
        }
}

enum domain_state domain_state_from_libvirt(int state, int reason, enum domain_reason *ret_reason) {
        *ret_reason = REASON_UNKNOWN;
        switch (state) {
        case VIR_DOMAIN_RUNNING:
                if (reason == VIR_DOMAIN_RUNNING_BOOTED)
                        *ret_reason = REASON_BOOTED;
                if (reason == VIR_DOMAIN_RUNNING_MIGRATED)
                        *ret_reason = REASON_MIGRATED;
                return DOMAIN_RUNNING;
        case VIR_DOMAIN_BLOCKED:
                return DOMAIN_RUNNING;
        case VIR_DOMAIN_PAUSED:
                if (reason == VIR_DOMAIN_PAUSED_STARTING_UP) { /* a moment of every start, and nobody's pause */
                        *ret_reason = REASON_BOOTED;
                        return DOMAIN_RUNNING;
                }
                *ret_reason = paused_reason(reason);
                return DOMAIN_PAUSED;
        case VIR_DOMAIN_SHUTDOWN: /* powered off, but QEMU is still there: nobody has suspended it */
        case VIR_DOMAIN_PMSUSPENDED:
                return DOMAIN_PAUSED;
        case VIR_DOMAIN_SHUTOFF:
                *ret_reason = shutoff_reason(reason);
                return DOMAIN_SHUTOFF;
        case VIR_DOMAIN_CRASHED:
                *ret_reason = REASON_PANICKED;
                return DOMAIN_CRASHED;
        default:
                return DOMAIN_UNKNOWN;
        }
}

static enum domain_reason suspended_event_reason(int detail) {
        switch (detail) {
        case VIR_DOMAIN_EVENT_SUSPENDED_PAUSED:
                return REASON_USER;
        case VIR_DOMAIN_EVENT_SUSPENDED_IOERROR:
                return REASON_IO_ERROR;
        case VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG:
                return REASON_WATCHDOG;
        case VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED:
        case VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY:
        case VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY_FAILED:
                return REASON_MIGRATED;
        case VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT:
                return REASON_SNAPSHOT;
        case VIR_DOMAIN_EVENT_SUSPENDED_RESTORED:
                return REASON_SAVED;
        default:
                return REASON_UNKNOWN;
        }
}

static enum domain_reason stopped_event_reason(int detail) {
        switch (detail) {
        case VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN:
                return REASON_SHUTDOWN;
        case VIR_DOMAIN_EVENT_STOPPED_DESTROYED:
                return REASON_DESTROYED;
        case VIR_DOMAIN_EVENT_STOPPED_CRASHED:
                return REASON_CRASHED;
        case VIR_DOMAIN_EVENT_STOPPED_MIGRATED:
                return REASON_MIGRATED;
        case VIR_DOMAIN_EVENT_STOPPED_SAVED:
                return REASON_SAVED;
        case VIR_DOMAIN_EVENT_STOPPED_FAILED:
                return REASON_FAILED;
        case VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT:
                return REASON_SNAPSHOT;
        default:
                return REASON_UNKNOWN;
        }
}

enum domain_state domain_state_from_event(int event, int detail, enum domain_reason *ret_reason) {
        *ret_reason = REASON_UNKNOWN;
        switch (event) {
        case VIR_DOMAIN_EVENT_STARTED:
                *ret_reason = detail == VIR_DOMAIN_EVENT_STARTED_BOOTED     ? REASON_BOOTED
                              : detail == VIR_DOMAIN_EVENT_STARTED_MIGRATED ? REASON_MIGRATED
                                                                            : REASON_UNKNOWN;
                return DOMAIN_RUNNING;
        case VIR_DOMAIN_EVENT_RESUMED:
                return DOMAIN_RUNNING;
        case VIR_DOMAIN_EVENT_SUSPENDED:
                *ret_reason = suspended_event_reason(detail);
                return DOMAIN_PAUSED;
        case VIR_DOMAIN_EVENT_PMSUSPENDED:
                return DOMAIN_PAUSED;
        case VIR_DOMAIN_EVENT_STOPPED:
                *ret_reason = stopped_event_reason(detail);
                return DOMAIN_SHUTOFF;
        case VIR_DOMAIN_EVENT_CRASHED:
                *ret_reason = REASON_PANICKED;
                return DOMAIN_CRASHED;
        default:
                return DOMAIN_STATE_INVALID;
        }
}
