/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/keys.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "daemon/base/cleanup.h"

#define DEFINE_WORDS(type)                              \
        static const char *type##_word(int value) {     \
                return type##_to_string((enum type) value); \
        }

DEFINE_WORDS(application_kind)
DEFINE_WORDS(guest_stop)
DEFINE_WORDS(exclusive_stuck)
DEFINE_WORDS(handover_mode)
DEFINE_WORDS(early_when)
DEFINE_WORDS(prefault)
DEFINE_WORDS(early_measure)
DEFINE_WORDS(early_count)
DEFINE_WORDS(early_take)
DEFINE_WORDS(store_lost)
DEFINE_WORDS(assignment_order)
DEFINE_WORDS(assignment_choice)
DEFINE_WORDS(assignment_short)
DEFINE_WORDS(guest_requests)
DEFINE_WORDS(lost_memory)
DEFINE_WORDS(overcommit)
DEFINE_WORDS(yes_no)
DEFINE_WORDS(overflow_when)
DEFINE_WORDS(holder_lost)
DEFINE_WORDS(vm_standby)

#define SEC USEC_PER_SEC
#define MSEC USEC_PER_MSEC
#define MINUTE (60 * USEC_PER_SEC)
#define HOUR (3600 * USEC_PER_SEC)
#define DAY (24 * HOUR)

#define AT(type, field) .offset = offsetof(struct type, field)
#define SIDE_AT(side) .offset = offsetof(struct application, sides) + (side) * sizeof(struct application_side)

/* How one side runs an application: the facets that may differ. */
static const struct key start_side_keys[] = {
        { "unit", KEY_UNIT, AT(application_side, unit) },
        { "command", KEY_COMMAND, AT(application_side, start) },
        { NULL },
};
static const struct key stop_side_keys[] = {
        { "command", KEY_COMMAND, AT(application_side, stop) },
        { NULL },
};
static const struct key health_side_keys[] = {
        { "command", KEY_COMMAND, AT(application_side, health) },
        { NULL },
};

static const struct key canary_side_keys[] = {
        { "command", KEY_COMMAND, AT(application_side, canary) },
        { NULL },
};

static const struct key start_keys[] = {
        { "unit", KEY_UNIT, SIDE_AT(SIDE_A) + offsetof(struct application_side, unit) },
        { "command", KEY_COMMAND, SIDE_AT(SIDE_A) + offsetof(struct application_side, start) },
        { "active", KEY_BLOCK, SIDE_AT(SIDE_A), .children = start_side_keys },
        { "standby", KEY_BLOCK, SIDE_AT(SIDE_B), .children = start_side_keys },
        { NULL },
};
static const struct key stop_keys[] = {
        { "command", KEY_COMMAND, SIDE_AT(SIDE_A) + offsetof(struct application_side, stop) },
        { "active", KEY_BLOCK, SIDE_AT(SIDE_A), .children = stop_side_keys },
        { "standby", KEY_BLOCK, SIDE_AT(SIDE_B), .children = stop_side_keys },
        { NULL },
};
static const struct key health_keys[] = {
        { "command", KEY_COMMAND, SIDE_AT(SIDE_A) + offsetof(struct application_side, health) },
        { "active", KEY_BLOCK, SIDE_AT(SIDE_A), .children = health_side_keys },
        { "standby", KEY_BLOCK, SIDE_AT(SIDE_B), .children = health_side_keys },
        { "interval", KEY_DURATION, AT(application, health_interval_usec), .min = 100 * MSEC, .max = HOUR },
        { "timeout", KEY_DURATION, AT(application, health_timeout_usec), .min = 50 * MSEC, .max = 10 * MINUTE },
        { "failures", KEY_COUNT, AT(application, health_failures), .min = 1, .max = 100 },
        { "grace", KEY_DURATION, AT(application, health_grace_usec), .max = HOUR },
        { NULL },
};
static const struct key canary_keys[] = {
        { "command", KEY_COMMAND, SIDE_AT(SIDE_A) + offsetof(struct application_side, canary) },
        { "active", KEY_BLOCK, SIDE_AT(SIDE_A), .children = canary_side_keys },
        { "standby", KEY_BLOCK, SIDE_AT(SIDE_B), .children = canary_side_keys },
        { "timeout", KEY_DURATION, AT(application, canary_timeout_usec), .min = 100 * MSEC, .max = 10 * MINUTE },
        { NULL },
};
static const struct key restart_keys[] = {
        { "budget", KEY_COUNT, AT(application, restart_budget), .min = 0, .max = 1000 },
        { "within", KEY_DURATION, AT(application, restart_window_usec), .min = SEC, .max = 30 * DAY },
        { "expected", KEY_DURATION, AT(application, restart_expected_usec), .min = 0, .max = HOUR },
        { NULL },
};

#define OVERFLOW_KEYS                                                                                            \
        { "servers", KEY_NAMES, AT(overflow_keys, servers), .min = 1, .max = OVERFLOW_SERVERS_MAX, .required = true, \
          .count_offset = offsetof(struct overflow_keys, n_servers) },                                           \
        { "mirror", KEY_WORD, AT(overflow_keys, mirror), .word = yes_no_word },                                  \
        { "size", KEY_SIZE, AT(overflow_keys, size_bytes), .min = 4 * MIB, .max = POLICY_SIZE_MAX, .required = true }

static const struct key overflow_keys[] = {
        OVERFLOW_KEYS,
        { NULL },
};
static const struct key application_overflow_keys[] = {
        OVERFLOW_KEYS,
        { "when", KEY_WORD, AT(overflow_keys, when), .word = overflow_when_word },
        { NULL },
};

const struct key address_keys[] = {
        { "address", KEY_TEXT, AT(address, cidr), .required = true },
        { "link", KEY_TEXT, AT(address, link), .required = true },
        { NULL },
};
static const struct key resource_keys[] = {
        { "vcpus", KEY_COUNT, AT(application, vcpus), .min = 0, .max = 64 },
        { "disks", KEY_DISKS, AT(application, disks), .max = POLICY_RESOURCES_MAX },
        { "addresses", KEY_LIST, AT(application, addresses), .max = POLICY_RESOURCES_MAX, .children = address_keys,
          .read = read_addresses, .item_size = sizeof(struct address),
          .count_offset = offsetof(struct application, n_addresses), .inside = true },
        { NULL },
};

const struct key state_keys[] = {
        { "region", KEY_NAME, AT(state_region, name), .required = true },
        { "holder", KEY_NAME, AT(state_region, holder) },
        { "mirror", KEY_NAME, AT(state_region, mirror) },
        { "size", KEY_SIZE, AT(state_region, size_bytes), .min = 4 * KIB, .max = POLICY_SIZE_MAX, .required = true },
        { "kind", KEY_COUNT, AT(state_region, kind), .min = 1, .max = 4 },
        { "write-back", KEY_DURATION, AT(state_region, write_back_usec), .min = 0, .max = HOUR },
        { "holder-lost", KEY_WORD, AT(state_region, on_lost), .word = holder_lost_word },
        { NULL },
};

const struct key application_keys[] = {
        { "name", KEY_NAME, AT(application, name), .required = true },
        { "kind", KEY_WORD, AT(application, kind), .required = true, .word = application_kind_word },
        { "memory", KEY_SIZE, AT(application, memory_bytes), .min = 2 * MIB, .max = POLICY_SIZE_MAX, .required = true },
        { "prefault", KEY_WORD, AT(application, prefault), .word = prefault_word },
        { "start", KEY_RUN, .children = start_keys },
        { "stop", KEY_RUN, .children = stop_keys },
        { "health", KEY_RUN, .children = health_keys },
        { "canary", KEY_RUN, .children = canary_keys },
        { "stop-timeout", KEY_DURATION, AT(application, stop_timeout_usec), .min = 100 * MSEC, .max = 10 * MINUTE },
        { "restart", KEY_BLOCK, .children = restart_keys },
        { "severity", KEY_RULES, .max = POLICY_RULES_MAX },
        { "resources", KEY_BLOCK, .children = resource_keys },
        { "overflow", KEY_BLOCK, AT(application, overflow), .children = application_overflow_keys,
          .count_offset = offsetof(struct overflow_keys, n_servers) },
        { "state", KEY_LIST, AT(application, regions), .min = 1, .max = POLICY_REGIONS_MAX, .children = state_keys,
          .read = read_regions, .item_size = sizeof(struct state_region),
          .count_offset = offsetof(struct application, n_regions), .inside = true },
        { NULL },
};

static const struct key member_keys[] = {
        { "domain", KEY_NAME, AT(member, domain), .required = true },
        { "base", KEY_SIZE, AT(member, base_bytes), .min = 64 * MIB, .max = POLICY_SIZE_MAX, .required = true },
        { "memory", KEY_SIZE, AT(member, memory_bytes), .min = 64 * MIB, .max = POLICY_SIZE_MAX },
        { "overflow", KEY_BLOCK, AT(member, overflow), .children = overflow_keys,
          .count_offset = offsetof(struct overflow_keys, n_servers) },
        { NULL },
};
static const struct key detect_keys[] = {
        { "beat", KEY_DURATION, AT(pair_policy, beat_usec), .min = 50 * MSEC, .max = MINUTE },
        { "missed", KEY_COUNT, AT(pair_policy, beats_missed), .min = 1, .max = 100 },
        { "confirm", KEY_DURATION, AT(pair_policy, confirm_usec), .min = 50 * MSEC, .max = MINUTE },
        { NULL },
};
static const struct key flap_keys[] = {
        { "failovers", KEY_COUNT, AT(pair_policy, flap_limit), .min = 1, .max = POLICY_FLAPS_MAX },
        { "within", KEY_DURATION, AT(pair_policy, flap_window_usec), .min = SEC, .max = 30 * DAY },
        { NULL },
};

static const struct key core_dump_keys[] = {
        { "limit", KEY_SIZE, AT(pair_policy, core_dump_limit_bytes), .min = 64 * MIB, .max = POLICY_SIZE_MAX },
        { "within", KEY_DURATION, AT(pair_policy, core_dump_within_usec), .min = 0, .max = 10 * MINUTE },
        { NULL },
};

static const struct key early_release_keys[] = {
        { "when", KEY_WORD, AT(pair_policy, early_release.when), .word = early_when_word },
        { "measure", KEY_WORD, AT(pair_policy, early_release.measure), .word = early_measure_word },
        { "count", KEY_WORD, AT(pair_policy, early_release.count), .word = early_count_word },
        { "take", KEY_WORD, AT(pair_policy, early_release.take), .word = early_take_word },
        { "after", KEY_DURATION, AT(pair_policy, early_release.after_usec), .min = 0, .max = DAY },
        { "accesses", KEY_COUNT, AT(pair_policy, early_release.accesses), .min = 0, .max = 1000000000 },
        { "volume", KEY_SIZE, AT(pair_policy, early_release.volume_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { "percent", KEY_COUNT, AT(pair_policy, early_release.percent), .min = 0, .max = 1000 },
        { "rate", KEY_SIZE, AT(pair_policy, early_release.rate_bytes), .min = 2 * MIB, .max = POLICY_SIZE_MAX },
        { "watch", KEY_DURATION, AT(pair_policy, early_release.watch_usec), .min = 0, .max = HOUR },
        { NULL },
};

static const struct key guest_request_keys[] = {
        { "allow", KEY_WORD, AT(guest_request_keys, allow), .word = guest_requests_word },
        { "limit", KEY_SIZE, AT(guest_request_keys, limit_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { "every", KEY_DURATION, AT(guest_request_keys, every_usec), .min = SEC, .max = DAY },
        { NULL },
};

#define MEMBER_AT(side) .offset = offsetof(struct pair_policy, members) + (side) * sizeof(struct member)

const struct key pair_keys[] = {
        { "name", KEY_NAME, AT(pair_policy, name), .required = true },
        { "active", KEY_BLOCK, MEMBER_AT(SIDE_A), .required = true, .children = member_keys },
        { "standby", KEY_BLOCK, MEMBER_AT(SIDE_B), .required = true, .children = member_keys },
        { "detect", KEY_BLOCK, .children = detect_keys },
        { "act-timeout", KEY_DURATION, AT(pair_policy, act_timeout_usec), .min = 100 * MSEC, .max = 10 * MINUTE },
        { "objective", KEY_DURATION, AT(pair_policy, objective_usec), .min = 100 * MSEC, .max = HOUR },
        { "failover-expected", KEY_DURATION, AT(pair_policy, failover_expected_usec), .min = 10 * MSEC, .max = HOUR },
        { "guest-shutdown", KEY_WORD, AT(pair_policy, on_guest_shutdown), .word = guest_stop_word },
        { "guest-reboot", KEY_WORD, AT(pair_policy, on_guest_reboot), .word = guest_stop_word },
        { "guest-stop-timeout", KEY_DURATION, AT(pair_policy, guest_stop_timeout_usec), .min = SEC, .max = HOUR },
        { "exclusive-stuck", KEY_WORD, AT(pair_policy, on_exclusive_stuck), .word = exclusive_stuck_word },
        { "handover", KEY_WORD, AT(pair_policy, handover), .word = handover_mode_word },
        { "lost-memory", KEY_WORD, AT(pair_policy, lost_memory), .word = lost_memory_word },
        { "early-release", KEY_BLOCK, .children = early_release_keys },
        { "guest-requests", KEY_BLOCK, AT(pair_policy, guest_requests), .children = guest_request_keys },
        { "core-dump", KEY_BLOCK, .children = core_dump_keys },
        { "drill-every", KEY_DURATION, AT(pair_policy, drill_every_usec), .min = 0, .max = 366 * DAY },
        { "flap", KEY_BLOCK, .children = flap_keys },
        { "on-event", KEY_UNIT, AT(pair_policy, on_event) },
        { "applications", KEY_LIST, AT(pair_policy, applications), .min = 1, .max = POLICY_APPLICATIONS_MAX,
          .required = true, .children = application_keys, .read = read_applications,
          .item_size = sizeof(struct application), .count_offset = offsetof(struct pair_policy, n_applications) },
        { NULL },
};

static const struct key pool_keys[] = {
        { "memory", KEY_SIZE, AT(policy, pool_bytes), .min = 64 * MIB, .max = POLICY_SIZE_MAX, .required = true },
        { "reserve", KEY_SIZE, AT(policy, reserve_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { "extent", KEY_SIZE, AT(policy, extent_bytes), .min = 2 * MIB, .max = 16 * GIB },
        { "monitor", KEY_SIZE, AT(policy, monitor_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { "overhead", KEY_SIZE, AT(policy, overhead_bytes), .min = 0, .max = 16 * GIB },
        { "overcommit", KEY_WORD, AT(policy, overcommit), .word = overcommit_word },
        { "swap", KEY_SIZE, AT(policy, swap_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { "group", KEY_NAME, AT(policy, pool_group) },
        { NULL },
};

static const struct key assign_keys[] = {
        { "order", KEY_WORD, AT(assign_keys, order), .word = assignment_order_word },
        { "choose", KEY_WORD, AT(assign_keys, choose), .word = assignment_choice_word },
        { "short", KEY_WORD, AT(assign_keys, on_short), .word = assignment_short_word },
        { "piece", KEY_SIZE, AT(assign_keys, piece_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { "overlap", KEY_COUNT, AT(assign_keys, overlap), .min = 1, .max = 64 },
        { "patience", KEY_DURATION, AT(assign_keys, patience_usec), .min = SEC, .max = HOUR },
        { NULL },
};

static const struct key server_keys[] = {
        { "name", KEY_NAME, AT(memory_server, name), .required = true },
        { "control", KEY_TEXT, AT(memory_server, control), .required = true },
        { "uri", KEY_TEXT, AT(memory_server, uri), .required = true },
        { "psk", KEY_TEXT, AT(memory_server, psk) },
        { "certificates", KEY_TEXT, AT(memory_server, certificates) },
        { "guests", KEY_TEXT, AT(memory_server, guests) },
        { "unencrypted", KEY_WORD, AT(memory_server, unencrypted), .word = yes_no_word },
        { "memory", KEY_SIZE, AT(memory_server, memory_bytes), .min = 0, .max = POLICY_SIZE_MAX },
        { NULL },
};

static const struct key checkpoint_keys[] = {
        { "every", KEY_DURATION, AT(vm_policy, checkpoint_usec), .min = 5 * SEC, .max = DAY },
        { NULL },
};
static const struct key vm_flap_keys[] = {
        { "failovers", KEY_COUNT, AT(vm_policy, flap_limit), .min = 1, .max = POLICY_FLAPS_MAX },
        { "within", KEY_DURATION, AT(vm_policy, flap_window_usec), .min = SEC, .max = 30 * DAY },
        { NULL },
};
static const struct key vm_keys[] = {
        { "domain", KEY_NAME, AT(vm_policy, domain), .required = true },
        { "memory", KEY_SIZE, AT(vm_policy, memory_bytes), .min = 64 * MIB, .max = POLICY_SIZE_MAX, .required = true },
        { "standby", KEY_WORD, AT(vm_policy, standby), .required = true, .word = vm_standby_word },
        { "checkpoint", KEY_BLOCK, .children = checkpoint_keys },
        { "servers", KEY_NAMES, AT(vm_policy, servers), .min = 1, .max = OVERFLOW_SERVERS_MAX, .required = true,
          .count_offset = offsetof(struct vm_policy, n_servers) },
        { "flap", KEY_BLOCK, .children = vm_flap_keys },
        { "on-event", KEY_UNIT, AT(vm_policy, on_event) },
        { NULL },
};

const struct key policy_keys[] = {
        { "version", KEY_COUNT, AT(policy, version), .min = POLICY_VERSION, .max = POLICY_VERSION },
        { "hypervisor", KEY_TEXT, AT(policy, hypervisor_uri) },
        { "pool", KEY_BLOCK, .required = true, .children = pool_keys },
        { "store-lost", KEY_WORD, AT(policy, on_store_lost), .word = store_lost_word },
        { "assign", KEY_BLOCK, AT(policy, assign), .children = assign_keys },
        { "memory-servers", KEY_LIST, AT(policy, servers), .max = POLICY_SERVERS_MAX, .children = server_keys,
          .read = read_servers, .item_size = sizeof(struct memory_server),
          .count_offset = offsetof(struct policy, n_servers) },
        { "pairs", KEY_LIST, AT(policy, pairs), .max = POLICY_PAIRS_MAX, .required = true, .children = pair_keys,
          .read = read_pairs, .item_size = sizeof(struct pair_policy),
          .count_offset = offsetof(struct policy, n_pairs) },
        { "vms", KEY_LIST, AT(policy, vms), .max = POLICY_VMS_MAX, .children = vm_keys, .read = read_vms,
          .item_size = sizeof(struct vm_policy), .count_offset = offsetof(struct policy, n_vms) },
        { NULL },
};

const struct cause_key cause_keys[FAILURE_CAUSE_MAX] = {
        [FAILURE_EXIT] = { FAILURE_EXIT, "any", 255 },
        [FAILURE_SIGNAL] = { FAILURE_SIGNAL, "any", 64 },
        [FAILURE_CHECK] = { FAILURE_CHECK, "failed", 255 },
        [FAILURE_MEMORY] = { FAILURE_MEMORY, "lost", -1 },
        [FAILURE_START] = { FAILURE_START, "failed", -1 },
};

/* Number of a signal by its name without "SIG" ("SEGV"), or -ENOENT. */
int signal_from_text(const char *text) {
        for (int i = 1; i < NSIG; i++) {
                const char *name = sigabbrev_np(i);

                if (name && strcmp(name, text) == 0)
                        return i;
        }
        return -ENOENT;
}

/* Name of a signal, or its number where it has none. Returns a constant or `buffer`. */
const char *signal_to_text(int signal, char buffer[static 16]) {
        const char *name = sigabbrev_np(signal);

        if (name)
                return name;
        snprintf(buffer, 16, "%d", signal);
        return buffer;
}

static void print_rules(FILE *f, const char *path) {
        fprintf(f, "%s[].is word minor|hard|major|critical\n", path);
        for (size_t i = 0; i < ELEMENTSOF(cause_keys); i++)
                fprintf(f, "%s[].%s cause %s\n", path, failure_cause_to_string(cause_keys[i].cause),
                        cause_keys[i].every);
}

static void print_keys(FILE *f, const char *prefix, const struct key *keys) {
        char min[UNITS_TEXT_MAX], max[UNITS_TEXT_MAX], path[256];

        for (const struct key *key = keys; key->name; key++) {
                snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", key->name);
                switch (key->kind) {
                case KEY_SIZE:
                        fprintf(f, "%s size %s..%s\n", path, size_format(min, key->min), size_format(max, key->max));
                        break;
                case KEY_DURATION:
                        fprintf(f, "%s duration %s..%s\n", path, duration_format(min, key->min),
                                duration_format(max, key->max));
                        break;
                case KEY_COUNT:
                        fprintf(f, "%s count %" PRIu64 "..%" PRIu64 "\n", path, key->min, key->max);
                        break;
                case KEY_WORD:
                        fprintf(f, "%s word ", path);
                        for (int i = 0; key->word(i); i++)
                                fprintf(f, "%s%s", i ? "|" : "", key->word(i));
                        fprintf(f, "\n");
                        break;
                case KEY_NAME:
                case KEY_TEXT:
                case KEY_UNIT:
                        fprintf(f, "%s text\n", path);
                        break;
                case KEY_COMMAND:
                case KEY_DISKS:
                case KEY_NAMES:
                        fprintf(f, "%s list\n", path);
                        break;
                case KEY_BLOCK:
                case KEY_RUN:
                        fprintf(f, "%s block\n", path);
                        print_keys(f, path, key->children);
                        break;
                case KEY_RULES:
                        fprintf(f, "%s list\n", path);
                        print_rules(f, path);
                        break;
                case KEY_LIST:
                        fprintf(f, "%s list\n", path);
                        strcat(path, "[]");
                        print_keys(f, path, key->children);
                        break;
                }
        }
}

/* Prints every key with its path, what it takes and its range, one a line, in the order of the tables. */
void policy_keys_print(FILE *f) {
        print_keys(f, "", policy_keys);
}
