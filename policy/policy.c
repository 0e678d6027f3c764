/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"

DEFINE_CLEANUP(struct policy *, policy_free)

/* Copies a string that may be NULL. */
static int copy_text(const char *from, char **ret) {
        char *copy = NULL;

        if (from) {
                copy = strdup(from);
                if (!copy)
                        return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

/* Appends one word. The command owns its words; what it holds stays usable when this fails. */
int command_append(struct command *command, const char *word) {
        _cleanup_free_ char *copy = NULL;
        char **words;

        if (command->n_words >= POLICY_WORDS_MAX)
                return -E2BIG;
        copy = strdup(word);
        if (!copy)
                return -ENOMEM;
        words = reallocarray(command->words, command->n_words + 2, sizeof(*words));
        if (!words)
                return -ENOMEM;
        command->words = words;
        words[command->n_words++] = steal_ptr(copy);
        words[command->n_words] = NULL;
        return 0;
}

/* Copies a command. `ret` is taken as uninitialised and untouched on failure. */
int command_copy(const struct command *from, struct command *ret) {
        struct command copy = { 0 };
        int r;

        for (size_t i = 0; i < from->n_words; i++) {
                r = command_append(&copy, from->words[i]);
                if (r < 0) {
                        command_deinit(&copy);
                        return r;
                }
        }
        *ret = copy;
        return 0;
}

/* Frees the words and leaves an empty command. */
void command_deinit(struct command *command) {
        for (size_t i = 0; i < command->n_words; i++)
                free(command->words[i]);
        free(command->words);
        *command = (struct command) { 0 };
}

/* Sets an application to its defaults. What it held before is not freed. */
void application_init(struct application *application) {
        static const struct application defaults = {
                .kind = APPLICATION_AUTO,
                .stop_timeout_usec = 10 * USEC_PER_SEC,
                .health_interval_usec = 2 * USEC_PER_SEC,
                .health_timeout_usec = USEC_PER_SEC,
                .health_failures = 3,
                .health_grace_usec = 60 * USEC_PER_SEC,
                .canary_timeout_usec = CANARY_TIMEOUT_USEC,
                .restart_budget = 3,
                .restart_window_usec = 600 * USEC_PER_SEC,
                .overflow.mirror = SAID_YES,
        };

        memcpy(application, &defaults, sizeof(defaults)); /* pair_policy_same() compares what is between members too */
}

/* Frees what an application owns; the struct itself is the caller's. */
void application_deinit(struct application *application) {
        for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                free(application->sides[side].unit);
                command_deinit(&application->sides[side].start);
                command_deinit(&application->sides[side].stop);
                command_deinit(&application->sides[side].health);
                command_deinit(&application->sides[side].canary);
        }
        for (size_t i = 0; i < application->n_disks; i++)
                free(application->disks[i]);
        for (size_t i = 0; i < application->n_addresses; i++) {
                free(application->addresses[i].cidr);
                free(application->addresses[i].link);
        }
        *application = (struct application) { 0 };
}

static int application_side_copy(const struct application_side *from, struct application_side *to) {
        int r;

        r = copy_text(from->unit, &to->unit);
        if (r >= 0)
                r = command_copy(&from->start, &to->start);
        if (r >= 0)
                r = command_copy(&from->stop, &to->stop);
        if (r >= 0)
                r = command_copy(&from->health, &to->health);
        if (r >= 0)
                r = command_copy(&from->canary, &to->canary);
        return r;
}

/* Copies into `to`, which the caller deinitialises whether this succeeds or not. */
static int application_copy(const struct application *from, struct application *to) {
        int r;

        memcpy(to, from, sizeof(*to));
        memset(to->sides, 0, sizeof(to->sides));
        memset(to->disks, 0, sizeof(to->disks));
        memset(to->addresses, 0, sizeof(to->addresses));
        to->n_disks = to->n_addresses = 0;

        for (enum side side = SIDE_A; side < SIDE_MAX; side++) {
                r = application_side_copy(&from->sides[side], &to->sides[side]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < from->n_disks; i++) {
                r = copy_text(from->disks[i], &to->disks[to->n_disks++]);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < from->n_addresses; i++) {
                struct address *address = &to->addresses[to->n_addresses++];

                r = copy_text(from->addresses[i].cidr, &address->cidr);
                if (r >= 0)
                        r = copy_text(from->addresses[i].link, &address->link);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Sets a pair to its defaults. What it held before is not freed. */
void pair_policy_init(struct pair_policy *pair) {
        static const struct pair_policy defaults = {
                .beat_usec = 500 * USEC_PER_MSEC,
                .beats_missed = 3,
                .confirm_usec = 500 * USEC_PER_MSEC,
                .act_timeout_usec = 10 * USEC_PER_SEC,
                .objective_usec = 5 * USEC_PER_SEC,
                .failover_expected_usec = 2 * USEC_PER_SEC,
                .on_guest_shutdown = GUEST_STOP_WAIT,
                .on_guest_reboot = GUEST_STOP_WAIT,
                .guest_stop_timeout_usec = 120 * USEC_PER_SEC,
                .on_exclusive_stuck = EXCLUSIVE_REFUSE,
                .core_dump_limit_bytes = GIB,
                .handover = HANDOVER_LAZY,
                .early_release = {
                        .when = EARLY_IN_BACKGROUND,
                        .measure = EARLY_TIME,
                        .after_usec = 10 * USEC_PER_SEC,
                        .accesses = 16,
                        .volume_bytes = 2 * MIB,
                        .rate_bytes = 64 * MIB,
                        .watch_usec = 1 * USEC_PER_SEC,
                },
                .guest_requests = { .every_usec = 10 * USEC_PER_SEC },
                .flap_limit = 3,
                .flap_window_usec = 3600 * USEC_PER_SEC,
                .members = { [SIDE_A].overflow.mirror = SAID_YES, [SIDE_B].overflow.mirror = SAID_YES },
        };

        memcpy(pair, &defaults, sizeof(defaults));
}

static void pair_policy_deinit(struct pair_policy *pair) {
        free(pair->on_event);
        for (size_t i = 0; i < pair->n_applications; i++)
                application_deinit(&pair->applications[i]);
        free(pair->applications);
        *pair = (struct pair_policy) { 0 };
}

/* Copies into `to`, which the caller deinitialises whether this succeeds or not. */
static int pair_policy_copy(const struct pair_policy *from, struct pair_policy *to) {
        int r;

        memcpy(to, from, sizeof(*to));
        to->on_event = NULL;
        to->applications = NULL;
        to->n_applications = 0;

        r = copy_text(from->on_event, &to->on_event);
        if (r < 0)
                return r;
        if (from->n_applications == 0)
                return 0;
        to->applications = calloc(from->n_applications, sizeof(*to->applications));
        if (!to->applications)
                return -ENOMEM;
        for (size_t i = 0; i < from->n_applications; i++) {
                r = application_copy(&from->applications[i], &to->applications[to->n_applications++]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void memory_server_deinit(struct memory_server *server) {
        free(server->control);
        free(server->uri);
        free(server->psk);
        free(server->certificates);
        free(server->guests);
        *server = (struct memory_server) { 0 };
}

/* Copies into `to`, which the caller deinitialises whether this succeeds or not. */
static int memory_server_copy(const struct memory_server *from, struct memory_server *to) {
        int r;

        *to = *from;
        to->control = to->uri = to->psk = to->certificates = to->guests = NULL;
        r = copy_text(from->control, &to->control);
        if (r >= 0)
                r = copy_text(from->uri, &to->uri);
        if (r >= 0)
                r = copy_text(from->psk, &to->psk);
        if (r >= 0)
                r = copy_text(from->certificates, &to->certificates);
        if (r >= 0)
                r = copy_text(from->guests, &to->guests);
        return r;
}

/* Copies into `to`, which is freed with its policy whether this succeeds or not. */
static int policy_copy_servers(const struct policy *from, struct policy *to) {
        int r = 0;

        if (from->n_servers == 0)
                return 0;
        to->servers = calloc(from->n_servers, sizeof(*to->servers));
        if (!to->servers)
                return -ENOMEM;
        for (size_t i = 0; i < from->n_servers && r >= 0; i++)
                r = memory_server_copy(&from->servers[i], &to->servers[to->n_servers++]);
        return r;
}

static int policy_copy_vms(const struct policy *from, struct policy *to) {
        int r = 0;

        if (from->n_vms == 0)
                return 0;
        to->vms = calloc(from->n_vms, sizeof(*to->vms));
        if (!to->vms)
                return -ENOMEM;
        for (size_t i = 0; i < from->n_vms && r >= 0; i++) {
                struct vm_policy *vm = &to->vms[to->n_vms++];

                *vm = from->vms[i];
                vm->on_event = NULL;
                r = copy_text(from->vms[i].on_event, &vm->on_event);
        }
        return r;
}

/* Defaults of a VM that stands alone. */
void vm_policy_init(struct vm_policy *vm) {
        *vm = (struct vm_policy) {
                .standby = VM_STANDBY_CONTEXT,
                .checkpoint_usec = 30 * USEC_PER_SEC,
                .flap_limit = 3,
                .flap_window_usec = 3600 * USEC_PER_SEC,
        };
}

/* An empty policy with every default that does not depend on the text; the caller owns it. NULL when out of
 * memory. */
struct policy *policy_new(void) {
        _cleanup_(policy_freep) struct policy *policy = malloc(sizeof(*policy));

        if (!policy)
                return NULL;
        *policy = (struct policy) {
                .version = POLICY_VERSION,
                .extent_bytes = 128 * MIB,
                .monitor_bytes = 64 * MIB,
                .overhead_bytes = 128 * MIB,
                .overcommit = OVERCOMMIT_SWAP,
                .on_store_lost = STORE_LOST_HOLD,
                .assign = { .order = ASSIGN_CYCLES, .piece_bytes = 256 * MIB, .overlap = 2,
                            .patience_usec = 60 * USEC_PER_SEC },
        };
        policy->hypervisor_uri = strdup("qemu:///system");
        if (!policy->hypervisor_uri)
                return NULL;
        return steal_ptr(policy);
}

/* Frees a policy, also a half-built one. Takes NULL; returns NULL. */
struct policy *policy_free(struct policy *policy) {
        if (!policy)
                return NULL;
        for (size_t i = 0; i < policy->n_pairs; i++)
                pair_policy_deinit(&policy->pairs[i]);
        free(policy->pairs);
        for (size_t i = 0; i < policy->n_servers; i++)
                memory_server_deinit(&policy->servers[i]);
        free(policy->servers);
        for (size_t i = 0; i < policy->n_vms; i++)
                free(policy->vms[i].on_event);
        free(policy->vms);
        free(policy->hypervisor_uri);
        free(policy);
        return NULL;
}

/* A deep copy that the caller owns, or NULL when out of memory. */
struct policy *policy_copy(const struct policy *policy) {
        _cleanup_(policy_freep) struct policy *copy = malloc(sizeof(*copy));

        if (!copy)
                return NULL;
        *copy = *policy;
        copy->hypervisor_uri = NULL;
        copy->servers = NULL;
        copy->pairs = NULL;
        copy->vms = NULL;
        copy->n_servers = copy->n_pairs = copy->n_vms = 0;

        if (copy_text(policy->hypervisor_uri, &copy->hypervisor_uri) < 0 || policy_copy_servers(policy, copy) < 0 ||
            policy_copy_vms(policy, copy) < 0)
                return NULL;
        if (policy->n_pairs > 0) {
                copy->pairs = calloc(policy->n_pairs, sizeof(*copy->pairs));
                if (!copy->pairs)
                        return NULL;
        }
        for (size_t i = 0; i < policy->n_pairs; i++)
                if (pair_policy_copy(&policy->pairs[i], &copy->pairs[copy->n_pairs++]) < 0)
                        return NULL;
        return steal_ptr(copy);
}

/* See policy.h. */
uint64_t policy_monitor_bytes(const struct policy *policy) {
        uint64_t bytes = policy->monitor_bytes;

        for (size_t i = 0; i < policy->n_servers; i++)
                bytes += policy->servers[i].memory_bytes;
        return bytes + policy_vms_bytes(policy);
}

/* See policy.h. */
uint64_t policy_vms_bytes(const struct policy *policy) {
        uint64_t bytes = 0;

        for (size_t i = 0; i < policy->n_vms; i++)
                bytes += policy->vms[i].memory_bytes + policy->overhead_bytes;
        return bytes;
}

/* Index of a VM that stands alone by its domain, or -ENOENT. */
int policy_find_vm(const struct policy *policy, const char *domain) {
        for (size_t i = 0; i < policy->n_vms; i++)
                if (strcmp(policy->vms[i].domain, domain) == 0)
                        return (int) i;
        return -ENOENT;
}

/* Index of the pair that a domain is of, retired ones too, or -ENOENT. */
int policy_pair_of(const struct policy *policy, const char *domain) {
        for (size_t i = 0; i < policy->n_pairs; i++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (strcmp(policy->pairs[i].members[side].domain, domain) == 0)
                                return (int) i;
        return -ENOENT;
}

/* The domain of a VM that stands alone in `old` and is a pair's in `next`; NULL: none. */
const char *policy_paired_vm(const struct policy *old, const struct policy *next) {
        for (size_t i = 0; i < old->n_vms; i++)
                if (policy_pair_of(next, old->vms[i].domain) >= 0)
                        return old->vms[i].domain;
        return NULL;
}

/* See policy.h. */
uint64_t application_remote_bytes(const struct application *application) {
        const struct overflow_keys *overflow = &application->overflow;

        if (overflow->n_servers == 0 || overflow->when != OVERFLOW_SHORT)
                return 0;
        return overflow->size_bytes < application->memory_bytes ? overflow->size_bytes : application->memory_bytes;
}

/* Index of a memory server by name, or -ENOENT. */
int policy_find_server(const struct policy *policy, const char *name) {
        for (size_t i = 0; i < policy->n_servers; i++)
                if (strcmp(policy->servers[i].name, name) == 0)
                        return (int) i;
        return -ENOENT;
}

/* Index of a pair by name, or -ENOENT. */
int policy_find_pair(const struct policy *policy, const char *name) {
        for (size_t i = 0; i < policy->n_pairs; i++)
                if (strcmp(policy->pairs[i].name, name) == 0)
                        return (int) i;
        return -ENOENT;
}

/* Index of an application of this pair by name, or -ENOENT. */
int pair_policy_find_application(const struct pair_policy *pair, const char *name) {
        for (size_t i = 0; i < pair->n_applications; i++)
                if (strcmp(pair->applications[i].name, name) == 0)
                        return (int) i;
        return -ENOENT;
}

/* Index of a shared region by name, or -ENOENT. */
int application_find_region(const struct application *application, const char *name) {
        for (size_t i = 0; i < application->n_regions; i++)
                if (strcmp(application->regions[i].name, name) == 0)
                        return (int) i;
        return -ENOENT;
}

/* See policy.h. */
int pair_policy_find_memory(const struct pair_policy *pair) {
        for (size_t i = 0; i < pair->n_applications; i++)
                if (pair->applications[i].kind == APPLICATION_MEMORY && !pair->applications[i].retired)
                        return (int) i;
        return -ENOENT;
}

/* The first rule that matches, or -1. */
int application_find_rule(const struct application *application, enum failure_cause cause, int code) {
        for (size_t i = 0; i < application->n_rules; i++) {
                const struct severity_rule *rule = &application->rules[i];

                if (rule->cause == cause && (rule->code == -1 || rule->code == code))
                        return (int) i;
        }
        return -1;
}

/* H: severity. The first rule that matches decides; without one, memory that was lost is critical, an
 * application that cannot even be started is hard to repair there, and anything else is minor. */
enum severity application_severity(const struct application *application, enum failure_cause cause, int code) {
        int rule = application_find_rule(application, cause, code);

        if (rule >= 0)
                return application->rules[rule].severity;
        if (cause == FAILURE_MEMORY)
                return SEVERITY_CRITICAL;
        return cause == FAILURE_START ? SEVERITY_HARD : SEVERITY_MINOR;
}

/* True where the application holds what only one side may hold: a disk, an address, or state at a holder. */
bool application_is_exclusive(const struct application *application) {
        return application->n_disks > 0 || application->n_addresses > 0 || application->n_regions > 0;
}

/* Bytes that may be plugged into a side: the regions of the applications that it can start, and at least what it
 * holds above its base. */
uint64_t member_pluggable_bytes(const struct pair_policy *pair, enum side side) {
        const struct member *member = &pair->members[side];
        uint64_t held = member->memory_bytes > member->base_bytes ? member->memory_bytes - member->base_bytes : 0;
        uint64_t regions = 0;

        for (size_t i = 0; i < pair->n_applications; i++) {
                const struct application_side *run = &pair->applications[i].sides[side];

                if ((run->unit || run->start.n_words > 0 || pair->applications[i].kind == APPLICATION_MEMORY) &&
                    __builtin_add_overflow(regions, pair->applications[i].memory_bytes, &regions))
                        return UINT64_MAX;
        }
        return regions > held ? regions : held;
}

uint64_t member_structures_bytes(uint64_t plugged_bytes) {
        return (uint64_t) (((__uint128_t) plugged_bytes * 16 + 999) / 1000);
}

/* Bytes to boot with: 96 MiB for the guest system itself, and the page structures of what may be plugged into
 * this side, 64 bytes for each page of 4 KiB, taken as 1.6 %, which Linux needs free before it can plug. Rounded
 * up to whole MiB. */
uint64_t member_floor_bytes(const struct pair_policy *pair, enum side side) {
        return (96 * MIB + member_structures_bytes(member_pluggable_bytes(pair, side)) + MIB - 1) / MIB * MIB;
}

/* It moves nowhere any more. A region in which nothing runs stays one. */
static void retire(struct application *application) {
        application->retired = true;
        if (application->kind != APPLICATION_MEMORY)
                application->kind = APPLICATION_PLAIN;
}

/* See policy.h. */
int pair_policy_retire(struct pair_policy *pair, const struct application *application) {
        struct application *grown;
        int r;

        if (pair->n_applications == POLICY_APPLICATIONS_MAX)
                return -E2BIG;
        grown = realloc(pair->applications, (pair->n_applications + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        pair->applications = grown;
        r = application_copy(application, &grown[pair->n_applications]);
        if (r < 0) {
                application_deinit(&grown[pair->n_applications]);
                return r;
        }
        retire(&grown[pair->n_applications]);
        pair->n_applications++;
        return 0;
}

/* See policy.h. */
int policy_retire_pair(struct policy *policy, const struct pair_policy *pair) {
        struct pair_policy *grown, *copy;

        if (policy->n_pairs == POLICY_PAIRS_MAX)
                return -E2BIG;
        grown = realloc(policy->pairs, (policy->n_pairs + 1) * sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        policy->pairs = grown;
        copy = &grown[policy->n_pairs++];
        if (pair_policy_copy(pair, copy) < 0)
                return -ENOMEM; /* what there is of it is freed with the policy */
        copy->retired = true;
        for (size_t i = 0; i < copy->n_applications; i++)
                retire(&copy->applications[i]);
        return 0;
}

/* See policy.h. Retired pairs and applications stand behind all others. */
void policy_drop_retired(struct policy *policy) {
        for (size_t i = 0; i < policy->n_pairs; i++) {
                struct pair_policy *pair = &policy->pairs[i];

                while (pair->n_applications > 0 && pair->applications[pair->n_applications - 1].retired)
                        application_deinit(&pair->applications[--pair->n_applications]);
        }
        while (policy->n_pairs > 0 && policy->pairs[policy->n_pairs - 1].retired)
                pair_policy_deinit(&policy->pairs[--policy->n_pairs]);
}
