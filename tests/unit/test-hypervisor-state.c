/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libvirt/libvirt.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/hypervisor-call.h"
#include "tests/unit/test.h"

static void libvirt_s_words_are_understood(void) {
        static const struct {
                int event, detail;
                enum domain_state state;
                enum domain_reason reason;
        } events[] = {
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, DOMAIN_SHUTOFF, REASON_SHUTDOWN },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_CRASHED, DOMAIN_SHUTOFF, REASON_CRASHED },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_FAILED, DOMAIN_SHUTOFF, REASON_FAILED },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, DOMAIN_SHUTOFF, REASON_MIGRATED },
                { VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SAVED, DOMAIN_SHUTOFF, REASON_SAVED },
                { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR, DOMAIN_PAUSED, REASON_IO_ERROR },
                { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG, DOMAIN_PAUSED, REASON_WATCHDOG },
                { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_API_ERROR, DOMAIN_PAUSED, REASON_UNKNOWN },
                { VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED, DOMAIN_CRASHED, REASON_PANICKED },
                { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED, DOMAIN_RUNNING, REASON_UNKNOWN },
                { VIR_DOMAIN_EVENT_UNDEFINED, 0, DOMAIN_STATE_INVALID, REASON_UNKNOWN },
        };
        static const struct {
                int libvirt_state, libvirt_reason;
                enum domain_state state;
                enum domain_reason reason;
        } states[] = {
                { VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED, DOMAIN_RUNNING, REASON_BOOTED },
                { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER, DOMAIN_PAUSED, REASON_USER },
                { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR, DOMAIN_PAUSED, REASON_IO_ERROR },
                { VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED, DOMAIN_CRASHED, REASON_PANICKED },
                { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_DESTROYED, DOMAIN_SHUTOFF, REASON_DESTROYED },
                { VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_CRASHED, DOMAIN_SHUTOFF, REASON_CRASHED },
                { VIR_DOMAIN_SHUTDOWN, 0, DOMAIN_PAUSED, REASON_UNKNOWN },
                { VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP, DOMAIN_RUNNING, REASON_BOOTED },
                { VIR_DOMAIN_NOSTATE, 0, DOMAIN_UNKNOWN, REASON_UNKNOWN },
        };
        enum domain_reason reason;

        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                CHECK(domain_state_from_event(events[i].event, events[i].detail, &reason) == events[i].state);
                CHECK(reason == events[i].reason);
        }
        for (size_t i = 0; i < ELEMENTSOF(states); i++) {
                CHECK(domain_state_from_libvirt(states[i].libvirt_state, states[i].libvirt_reason, &reason) ==
                      states[i].state);
                CHECK(reason == states[i].reason);
        }
}

TEST_MAIN("hypervisor-state", TEST(libvirt_s_words_are_understood))
