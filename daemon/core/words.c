/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* String tables of the core's enums, in the words that status, history and scenarios print. */

#include "daemon/core/detector.h"
#include "daemon/core/drill.h"
#include "daemon/core/event.h"
#include "daemon/core/flow.h"
#include "daemon/core/pair.h"
#include "daemon/core/readiness.h"
#include "daemon/core/table.h"

static const char *const event_kind_table[] = {
        [EVENT_POLICY] = "policy",           [EVENT_RESTORED] = "restored",
        [EVENT_STORE_LOST] = "store-lost",   [EVENT_READY] = "ready",
        [EVENT_WAKE] = "wake",               [EVENT_HYPERVISOR] = "hypervisor",
        [EVENT_DOMAIN] = "domain",           [EVENT_PROCESS] = "process",
        [EVENT_REBOOTED] = "rebooted",       [EVENT_WATCHDOG] = "watchdog",
        [EVENT_IO_ERROR] = "io-error",       [EVENT_MEMORY_FAILURE] = "memory-failure",
        [EVENT_DEVICE_SIZE] = "device-size", [EVENT_PREFLIGHT] = "preflight",
        [EVENT_LINK] = "link",               [EVENT_MESSAGE] = "message",
        [EVENT_SECOND_PATH] = "second-path", [EVENT_DONE] = "done",
        [EVENT_WAITED] = "waited",
        [EVENT_COMMAND] = "command",         [EVENT_PRESSURE] = "pressure",
        [EVENT_PAGING] = "paging",
        [EVENT_SPACE] = "space",
        [EVENT_OVERFLOW] = "overflow",
        [EVENT_RECLAIM] = "reclaim",         [EVENT_USAGE] = "usage",
};
DEFINE_ENUM_TABLE(event_kind, event_kind_table)

static const char *const domain_state_table[] = {
        [DOMAIN_UNKNOWN] = "unknown", [DOMAIN_UNDEFINED] = "undefined", [DOMAIN_SHUTOFF] = "shut off",
        [DOMAIN_RUNNING] = "running", [DOMAIN_PAUSED] = "paused",       [DOMAIN_CRASHED] = "crashed",
};
DEFINE_ENUM_TABLE(domain_state, domain_state_table)

static const char *const domain_reason_table[] = {
        [REASON_UNKNOWN] = "unknown",   [REASON_BOOTED] = "booted",     [REASON_USER] = "user",
        [REASON_IO_ERROR] = "I/O error", [REASON_WATCHDOG] = "watchdog", [REASON_PANICKED] = "panicked",
        [REASON_SHUTDOWN] = "shutdown", [REASON_DESTROYED] = "destroyed", [REASON_CRASHED] = "crashed",
        [REASON_FAILED] = "failed",     [REASON_MIGRATED] = "migrated", [REASON_SAVED] = "saved",
        [REASON_SNAPSHOT] = "snapshot",
};
DEFINE_ENUM_TABLE(domain_reason, domain_reason_table)

static const char *const second_path_table[] = { [PATH_ECHO] = "echo", [PATH_BALLOON] = "balloon" };
DEFINE_ENUM_TABLE(second_path, second_path_table)

static const char *const command_verb_table[] = {
        [COMMAND_SWITCH] = "switch", [COMMAND_RETURN] = "return", [COMMAND_DRILL] = "drill",
        [COMMAND_PAUSE] = "pause",   [COMMAND_RESUME] = "resume", [COMMAND_ADOPT] = "adopt",
        [COMMAND_ASSIGN] = "assign", [COMMAND_ASSIGN_CANCEL] = "assign-cancel",
};
DEFINE_ENUM_TABLE(command_verb, command_verb_table)

static const char *const drill_fault_table[] = {
        [DRILL_APP_KILL] = "app-kill",   [DRILL_PANIC] = "panic",         [DRILL_HANG] = "hang",
        [DRILL_QEMU_KILL] = "qemu-kill", [DRILL_QEMU_STOP] = "qemu-stop",
};
DEFINE_ENUM_TABLE(drill_fault, drill_fault_table)

static const char *const drill_level_table[] = {
        [DRILL_LEVEL_PLAN] = "plan", [DRILL_LEVEL_REHEARSE] = "rehearse", [DRILL_LEVEL_FULL] = "full",
};
DEFINE_ENUM_TABLE(drill_level, drill_level_table)

static const char *const rehearsal_state_table[] = {
        [REHEARSAL_NONE] = "none",     [REHEARSAL_PLUG] = "plug",           [REHEARSAL_TOUCH] = "touch",
        [REHEARSAL_CANARY] = "canary", [REHEARSAL_GIVE_BACK] = "give-back", [REHEARSAL_LATE] = "late",
};
DEFINE_ENUM_TABLE(rehearsal_state, rehearsal_state_table)

static const char *const flow_kind_table[] = {
        [FLOW_NONE] = "none",
        [FLOW_OS_FAILURE] = "os-failure",
        [FLOW_APPLICATION_FAILURE] = "application-failure",
        [FLOW_SWITCH] = "switch",
        [FLOW_RETURN] = "return",
};
DEFINE_ENUM_TABLE(flow_kind, flow_kind_table)

static const char *const flow_blocker_table[] = {
        [FLOW_FREE] = "nothing",
        [FLOW_BLOCKED_BY_FLOW] = "another flow is under way",
        [FLOW_BLOCKED_BY_HYPERVISOR] = "libvirt does not answer",
        [FLOW_BLOCKED_BY_PAUSE] = "the pair is paused",
        [FLOW_BLOCKED_BY_HOLD] = "the pair is held",
        [FLOW_BLOCKED_UNSETTLED] = "where its applications run is not known yet",
        [FLOW_BLOCKED_BY_OTHER_SIDE] = "the other side cannot take over: it is not up, not answering or failed itself",
        [FLOW_BLOCKED_BY_DEVICE] = "the other side has no memory device for it",
        [FLOW_BLOCKED_BY_AGENT] = "the other side's agent is too old for its shared regions",
        [FLOW_BLOCKED_BY_FLAPS] = "the flap limit is reached",
};
DEFINE_ENUM_TABLE(flow_blocker, flow_blocker_table)

static const char *const phase_table[] = {
        [PHASE_FAULT] = "fault",     [PHASE_DETECTED] = "detected", [PHASE_DECIDED] = "decided",
        [PHASE_FENCED] = "fenced",   [PHASE_GRANTED] = "granted",   [PHASE_PLUGGED] = "plugged",
        [PHASE_STARTED] = "started", [PHASE_HEALTHY] = "healthy",   [PHASE_REJOINED] = "rejoined",
};
DEFINE_ENUM_TABLE(phase, phase_table)

static const char *const pair_state_table[] = {
        [PAIR_UNKNOWN] = "unknown", [PAIR_STARTING] = "starting", [PAIR_UNPROTECTED] = "unprotected",
        [PAIR_ARMED] = "armed",     [PAIR_FAILOVER] = "failover", [PAIR_HELD] = "held",
        [PAIR_REMOVED] = "removed",
};
DEFINE_ENUM_TABLE(pair_state, pair_state_table)

static const char *const readiness_level_table[] = {
        [READINESS_NONE] = "none", [READINESS_COVERED] = "covered", [READINESS_LIMITED] = "limited",
        [READINESS_UNCOVERED] = "uncovered",
};
DEFINE_ENUM_TABLE(readiness_level, readiness_level_table)

static const char *const readiness_fault_table[] = {
        [READINESS_SYSTEM] = "system", [READINESS_HANG] = "hang", [READINESS_APPLICATION] = "application",
        [READINESS_MEMORY] = "memory",
};
DEFINE_ENUM_TABLE(readiness_fault, readiness_fault_table)

static const char *const fence_state_table[] = {
        [FENCE_NONE] = "none",       [FENCE_FREEZING] = "freezing", [FENCE_DUMPING] = "dumping",
        [FENCE_FROZEN] = "frozen",
        [FENCE_KILLING] = "killing", [FENCE_GONE] = "gone",         [FENCE_FAILED] = "failed",
};
DEFINE_ENUM_TABLE(fence_state, fence_state_table)

static const char *const verdict_table[] = {
        [VERDICT_UNKNOWN] = "unknown", [VERDICT_ALIVE] = "alive", [VERDICT_SUSPECTED] = "suspected",
        [VERDICT_SILENT] = "silent",   [VERDICT_HUNG] = "hung",
};
DEFINE_ENUM_TABLE(verdict, verdict_table)

static const char *const region_kind_table[] = {
        [REGION_SYSTEM] = "system",   [REGION_APPLICATION] = "application", [REGION_REHEARSAL] = "rehearsal",
        [REGION_MONITOR] = "monitor", [REGION_OVERHEAD] = "overhead",       [REGION_RESERVE] = "reserve",
        [REGION_UNUSED] = "unused",
};
DEFINE_ENUM_TABLE(region_kind, region_kind_table)
