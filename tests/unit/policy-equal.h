/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether two policies say the same, field by field, for the tests of copying and of the round trip. It names every
 * field itself, so that it shares no table with what it checks. */

#include <string.h>

#include "policy/policy.h"

static inline bool text_equal(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

static inline bool overflow_equal(const struct overflow_keys *a, const struct overflow_keys *b) {
        bool same = a->n_servers == b->n_servers && a->mirror == b->mirror && a->when == b->when &&
                    a->size_bytes == b->size_bytes;

        for (size_t i = 0; same && i < a->n_servers; i++)
                same = text_equal(a->servers[i], b->servers[i]);
        return same;
}

static inline bool server_equal(const struct memory_server *a, const struct memory_server *b) {
        return text_equal(a->name, b->name) && text_equal(a->control, b->control) && text_equal(a->uri, b->uri) &&
               text_equal(a->psk, b->psk) && text_equal(a->certificates, b->certificates) &&
               a->unencrypted == b->unencrypted && a->memory_bytes == b->memory_bytes &&
               text_equal(a->guests, b->guests);
}

static inline bool vm_equal(const struct vm_policy *a, const struct vm_policy *b) {
        bool same = text_equal(a->domain, b->domain) && a->memory_bytes == b->memory_bytes &&
                    a->standby == b->standby && a->checkpoint_usec == b->checkpoint_usec &&
                    a->flap_limit == b->flap_limit && a->flap_window_usec == b->flap_window_usec &&
                    a->n_servers == b->n_servers;

        for (size_t i = 0; same && i < a->n_servers; i++)
                same = text_equal(a->servers[i], b->servers[i]);
        return same;
}

static inline bool region_equal(const struct state_region *a, const struct state_region *b) {
        return text_equal(a->name, b->name) && text_equal(a->holder, b->holder) && text_equal(a->mirror, b->mirror) &&
               a->size_bytes == b->size_bytes && a->kind == b->kind && a->write_back_usec == b->write_back_usec &&
               a->on_lost == b->on_lost;
}

static inline bool application_equal(const struct application *a, const struct application *b) {
        bool same = text_equal(a->name, b->name) && a->kind == b->kind && a->memory_bytes == b->memory_bytes &&
                    a->prefault == b->prefault && a->stop_timeout_usec == b->stop_timeout_usec &&
                    a->health_interval_usec == b->health_interval_usec &&
                    a->health_timeout_usec == b->health_timeout_usec && a->health_failures == b->health_failures &&
                    a->health_grace_usec == b->health_grace_usec && a->canary_timeout_usec == b->canary_timeout_usec &&
                    a->restart_budget == b->restart_budget && a->restart_window_usec == b->restart_window_usec &&
                    a->restart_expected_usec == b->restart_expected_usec && a->n_rules == b->n_rules &&
                    a->vcpus == b->vcpus && a->n_disks == b->n_disks && a->n_addresses == b->n_addresses &&
                    overflow_equal(&a->overflow, &b->overflow) && a->n_regions == b->n_regions;

        for (enum side side = SIDE_A; same && side < SIDE_MAX; side++)
                same = text_equal(a->sides[side].unit, b->sides[side].unit) &&
                       command_equal(&a->sides[side].start, &b->sides[side].start) &&
                       command_equal(&a->sides[side].stop, &b->sides[side].stop) &&
                       command_equal(&a->sides[side].health, &b->sides[side].health) &&
                       command_equal(&a->sides[side].canary, &b->sides[side].canary);
        for (size_t i = 0; same && i < a->n_rules; i++)
                same = a->rules[i].cause == b->rules[i].cause && a->rules[i].code == b->rules[i].code &&
                       a->rules[i].severity == b->rules[i].severity;
        for (size_t i = 0; same && i < a->n_regions; i++)
                same = region_equal(&a->regions[i], &b->regions[i]);
        for (size_t i = 0; same && i < a->n_disks; i++)
                same = text_equal(a->disks[i], b->disks[i]);
        for (size_t i = 0; same && i < a->n_addresses; i++)
                same = text_equal(a->addresses[i].cidr, b->addresses[i].cidr) &&
                       text_equal(a->addresses[i].link, b->addresses[i].link);
        return same;
}

static inline bool pair_policy_equal(const struct pair_policy *a, const struct pair_policy *b) {
        bool same =
                text_equal(a->name, b->name) && a->beat_usec == b->beat_usec && a->beats_missed == b->beats_missed &&
                a->confirm_usec == b->confirm_usec && a->act_timeout_usec == b->act_timeout_usec &&
                a->objective_usec == b->objective_usec && a->failover_expected_usec == b->failover_expected_usec &&
                a->on_guest_shutdown == b->on_guest_shutdown && a->on_guest_reboot == b->on_guest_reboot &&
                a->guest_stop_timeout_usec == b->guest_stop_timeout_usec &&
                a->on_exclusive_stuck == b->on_exclusive_stuck && a->flap_limit == b->flap_limit &&
                a->flap_window_usec == b->flap_window_usec && text_equal(a->on_event, b->on_event) &&
                a->handover == b->handover && a->drill_every_usec == b->drill_every_usec &&
                a->core_dump_limit_bytes == b->core_dump_limit_bytes &&
                a->core_dump_within_usec == b->core_dump_within_usec &&
                a->early_release.when == b->early_release.when &&
                a->early_release.measure == b->early_release.measure &&
                a->early_release.count == b->early_release.count && a->early_release.take == b->early_release.take &&
                a->early_release.after_usec == b->early_release.after_usec &&
                a->early_release.accesses == b->early_release.accesses &&
                a->early_release.volume_bytes == b->early_release.volume_bytes &&
                a->early_release.percent == b->early_release.percent &&
                a->early_release.rate_bytes == b->early_release.rate_bytes &&
                a->early_release.watch_usec == b->early_release.watch_usec && a->n_applications == b->n_applications;

        for (enum side side = SIDE_A; same && side < SIDE_MAX; side++)
                same = text_equal(a->members[side].domain, b->members[side].domain) &&
                       a->members[side].base_bytes == b->members[side].base_bytes &&
                       a->members[side].memory_bytes == b->members[side].memory_bytes &&
                       overflow_equal(&a->members[side].overflow, &b->members[side].overflow);
        for (size_t i = 0; same && i < a->n_applications; i++)
                same = application_equal(&a->applications[i], &b->applications[i]);
        return same;
}

static inline bool policy_equal(const struct policy *a, const struct policy *b) {
        bool same = a->version == b->version && text_equal(a->hypervisor_uri, b->hypervisor_uri) &&
                    a->pool_bytes == b->pool_bytes && a->reserve_bytes == b->reserve_bytes &&
                    a->extent_bytes == b->extent_bytes && a->monitor_bytes == b->monitor_bytes &&
                    a->overhead_bytes == b->overhead_bytes && a->on_store_lost == b->on_store_lost &&
                    a->overcommit == b->overcommit && a->swap_bytes == b->swap_bytes &&
                    a->assign.order == b->assign.order && a->assign.piece_bytes == b->assign.piece_bytes &&
                    a->assign.overlap == b->assign.overlap && a->assign.patience_usec == b->assign.patience_usec &&
                    a->n_pairs == b->n_pairs && a->n_servers == b->n_servers && a->n_vms == b->n_vms;

        for (size_t i = 0; same && i < a->n_servers; i++)
                same = server_equal(&a->servers[i], &b->servers[i]);
        for (size_t i = 0; same && i < a->n_vms; i++)
                same = vm_equal(&a->vms[i], &b->vms[i]);
        for (size_t i = 0; same && i < a->n_pairs; i++)
                same = pair_policy_equal(&a->pairs[i], &b->pairs[i]);
        return same;
}
