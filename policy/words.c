/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The words of the policy, as they stand in its text. */

#include "policy/policy.h"

static const char *const side_table[SIDE_MAX] = {
        [SIDE_A] = "a",
        [SIDE_B] = "b",
};
DEFINE_ENUM_TABLE(side, side_table)

static const char *const application_kind_table[APPLICATION_KIND_MAX] = {
        [APPLICATION_HOT_STANDBY] = "hot-standby",
        [APPLICATION_PLAIN] = "plain",
        [APPLICATION_AUTO] = "auto",
        [APPLICATION_MEMORY] = "memory",
};
DEFINE_ENUM_TABLE(application_kind, application_kind_table)

static const char *const severity_table[SEVERITY_MAX] = {
        [SEVERITY_MINOR] = "minor",
        [SEVERITY_HARD] = "hard",
        [SEVERITY_MAJOR] = "major",
        [SEVERITY_CRITICAL] = "critical",
};
DEFINE_ENUM_TABLE(severity, severity_table)

static const char *const failure_cause_table[FAILURE_CAUSE_MAX] = {
        [FAILURE_EXIT] = "exit",
        [FAILURE_SIGNAL] = "signal",
        [FAILURE_CHECK] = "check",
        [FAILURE_MEMORY] = "memory",
        [FAILURE_START] = "start",
};
DEFINE_ENUM_TABLE(failure_cause, failure_cause_table)

static const char *const guest_stop_table[GUEST_STOP_MAX] = {
        [GUEST_STOP_WAIT] = "wait",
        [GUEST_STOP_FAILOVER] = "failover",
};
DEFINE_ENUM_TABLE(guest_stop, guest_stop_table)

static const char *const exclusive_stuck_table[EXCLUSIVE_STUCK_MAX] = {
        [EXCLUSIVE_REFUSE] = "refuse",
        [EXCLUSIVE_FENCE_VM] = "fence-vm",
};
DEFINE_ENUM_TABLE(exclusive_stuck, exclusive_stuck_table)

static const char *const yes_no_table[YES_NO_MAX] = {
        [SAID_NO] = "no",
        [SAID_YES] = "yes",
};
DEFINE_ENUM_TABLE(yes_no, yes_no_table)

static const char *const holder_lost_table[HOLDER_LOST_MAX] = {
        [HOLDER_LOST_HOLD] = "hold",
        [HOLDER_LOST_START] = "start",
};
DEFINE_ENUM_TABLE(holder_lost, holder_lost_table)

static const char *const overflow_when_table[OVERFLOW_WHEN_MAX] = {
        [OVERFLOW_ALWAYS] = "always",
        [OVERFLOW_SHORT] = "short",
};
DEFINE_ENUM_TABLE(overflow_when, overflow_when_table)

static const char *const handover_mode_table[HANDOVER_MODE_MAX] = {
        [HANDOVER_LAZY] = "lazy",
        [HANDOVER_EAGER] = "eager",
};
DEFINE_ENUM_TABLE(handover_mode, handover_mode_table)

static const char *const early_when_table[EARLY_WHEN_MAX] = {
        [EARLY_NEVER] = "never",
        [EARLY_AT_ACCESS] = "access",
        [EARLY_IN_BACKGROUND] = "background",
        [EARLY_BOTH] = "both",
};
DEFINE_ENUM_TABLE(early_when, early_when_table)

static const char *const early_measure_table[EARLY_MEASURE_MAX] = {
        [EARLY_NUMBER] = "number",
        [EARLY_RATE] = "rate",
        [EARLY_VOLUME] = "volume",
        [EARLY_TIME] = "time",
};
DEFINE_ENUM_TABLE(early_measure, early_measure_table)

static const char *const early_count_table[EARLY_COUNT_MAX] = {
        [EARLY_SINCE_LOST] = "since-lost",
        [EARLY_TOTAL] = "total",
};
DEFINE_ENUM_TABLE(early_count, early_count_table)

static const char *const early_take_table[EARLY_TAKE_MAX] = {
        [EARLY_QUIET] = "quiet",
        [EARLY_BUSY] = "busy",
};
DEFINE_ENUM_TABLE(early_take, early_take_table)

static const char *const prefault_table[PREFAULT_MAX] = {
        [PREFAULT_NONE] = "none",
        [PREFAULT_BACKGROUND] = "background",
        [PREFAULT_BEFORE_START] = "before-start",
};
DEFINE_ENUM_TABLE(prefault, prefault_table)

static const char *const overcommit_table[] = {
        [OVERCOMMIT_NONE] = "none",
        [OVERCOMMIT_SWAP] = "swap",
};
DEFINE_ENUM_TABLE(overcommit, overcommit_table)

static const char *const lost_memory_table[] = {
        [LOST_KEEP] = "keep",
        [LOST_SWAP] = "swap",
};
DEFINE_ENUM_TABLE(lost_memory, lost_memory_table)

static const char *const guest_requests_table[] = {
        [GUEST_REQUESTS_NONE] = "none",
        [GUEST_REQUESTS_RELEASE] = "release",
        [GUEST_REQUESTS_ALL] = "release-and-extend",
};
DEFINE_ENUM_TABLE(guest_requests, guest_requests_table)

static const char *const assignment_order_table[] = {
        [ASSIGN_AT_ONCE] = "at-once",
        [ASSIGN_RELEASES_FIRST] = "releases-first",
        [ASSIGN_CYCLES] = "cycles",
};
DEFINE_ENUM_TABLE(assignment_order, assignment_order_table)

static const char *const assignment_choice_table[] = {
        [ASSIGN_NEAREST] = "nearest",
        [ASSIGN_CLOSEST_FIT] = "closest-fit",
        [ASSIGN_LARGEST] = "largest",
        [ASSIGN_SMALLEST] = "smallest",
};
DEFINE_ENUM_TABLE(assignment_choice, assignment_choice_table)

static const char *const assignment_short_table[] = {
        [ASSIGN_REFUSE] = "refuse",
        [ASSIGN_PARTLY] = "partly",
};
DEFINE_ENUM_TABLE(assignment_short, assignment_short_table)

static const char *const store_lost_table[STORE_LOST_MAX] = {
        [STORE_LOST_HOLD] = "hold",
        [STORE_LOST_TRUST_RUNNING] = "trust-running",
};
DEFINE_ENUM_TABLE(store_lost, store_lost_table)

static const char *const vm_standby_table[VM_STANDBY_MAX] = {
        [VM_STANDBY_CONTEXT] = "context",
};
DEFINE_ENUM_TABLE(vm_standby, vm_standby_table)
