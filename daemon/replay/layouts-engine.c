/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the engine remembers, and what outlives it. */

#include "daemon/core/engine.h"
#include "daemon/replay/layouts.h"

LAYOUT_WORDS(application_kind)
LAYOUT_WORDS(application_state)
LAYOUT_WORDS(assignment_kind)
LAYOUT_WORDS(assignment_order)
LAYOUT_WORDS(domain_reason)
LAYOUT_WORDS(domain_state)
LAYOUT_WORDS(drill_level)
LAYOUT_WORDS(failure_cause)
LAYOUT_WORDS(fence_state)
LAYOUT_WORDS(flow_kind)
LAYOUT_WORDS(pair_state)
LAYOUT_WORDS(readiness_level)
LAYOUT_WORDS(region_kind)
LAYOUT_WORDS(rehearsal_state)
LAYOUT_WORDS(side)
LAYOUT_WORDS(verdict)

#define APP_MAX (POLICY_APPLICATIONS_MAX - 1)

/* ---- the record ---- */

#define T struct flow
static const struct layout_row flow_rows[] = {
        WORD(T, kind, flow_kind), NUMBER(T, number),     WORD_OR_NONE(T, from, side), WORD_OR_NONE(T, to, side),
        NUMBER(T, drill),         NUMBER(T, command_id), NUMBERS(T, phase_usec),      TEXT(T, cause),
};
const struct layout flow_layout = LAYOUT(T, flow_rows);
#undef T

#define T struct drill_result
static const struct layout_row drill_result_rows[] = {
        WORD(T, level, drill_level), NUMBER(T, at_usec), NUMBER(T, ok),  NUMBER(T, took_usec),
        NUMBER(T, objective_usec),   NUMBER(T, number),  TEXT(T, text),  NUMBER(T, wanted_bytes),
        NUMBER(T, rehearsed_bytes),  NUMBER(T, plugged_usec), NUMBER(T, touched_usec), NUMBER(T, canary_usec),
};
const struct layout drill_result_layout = LAYOUT(T, drill_result_rows);
#undef T

#define T struct record_app
static const struct layout_row record_app_rows[] = {
        TEXT(T, name),
        WORD(T, owner, side),
        NUMBER(T, token),
        NUMBERS(T, granted_bytes),
        NUMBERS(T, using_bytes),
        NUMBER(T, rehearsed),
        NUMBERS(T, releasing),
        WORD(T, kind, application_kind),
        NUMBER(T, ended),
        NUMBER(T, moving),
        NUMBER(T, stopped),
        NUMBER(T, state_kept),
        NUMBER(T, state_moved),
        NUMBER(T, state_left),
        NUMBER(T, state_granted),
        NUMBER(T, started),
};
static const struct layout record_app_layout = LAYOUT(T, record_app_rows);
#undef T

#define T struct span
static const struct layout_row span_rows[] = { NUMBER(T, start), NUMBER(T, end) };
static const struct layout span_layout = LAYOUT(T, span_rows);
#undef T

#define T struct assigned
static const struct layout_row assigned_rows[] = {
        INSIDES(T, spans, span_layout),
        RANGE(T, n_spans, 0, ASSIGNED_SPANS_MAX),
};
static const struct layout assigned_layout = LAYOUT(T, assigned_rows);
#undef T

#define T struct record
static const struct layout_row record_rows[] = {
        TEXT(T, pair),
        NUMBER(T, seq),
        NUMBER(T, known),
        NUMBER(T, failovers),
        INSIDES(T, apps, record_app_layout),
        RANGE(T, n_apps, 0, POLICY_APPLICATIONS_MAX),
        INSIDES(T, assigned, assigned_layout),
        INSIDE(T, flow, flow_layout),
        NUMBERS(T, fence_wanted),
        NUMBERS(T, fence_frozen),
        NUMBERS(T, fence_stated),
        NUMBERS(T, away),
        NUMBER(T, paused),
        NUMBER(T, paused_until_usec),
        TEXT(T, pause_reason),
        NUMBER(T, held),
        TEXT(T, held_reason),
        NUMBER(T, lost_bytes),
        NUMBER(T, reserve_used_bytes),
        NUMBERS(T, flaps_usec),
        RANGE(T, n_flaps, 0, FLAP_MAX),
        WORD(T, rehearsal, rehearsal_state),
        WORD(T, rehearsal_side, side),
        INSIDE(T, last_drill, drill_result_layout),
};
const struct layout record_layout = LAYOUT(T, record_rows);
#undef T

/* ---- one VM ---- */

#define T struct request
static const struct layout_row request_rows[] = {
        NUMBER(T, id), NUMBER(T, sent_usec), NUMBER(T, retry_usec), NUMBER(T, failures),
};
static const struct layout request_layout = LAYOUT(T, request_rows);
#undef T

#define T struct detector
static const struct layout_row detector_rows[] = {
        NUMBER(T, beat_usec),       NUMBER(T, confirm_usec), NUMBER(T, beats_missed),    NUMBER(T, last_pong_usec),
        NUMBERS(T, last_path_usec), NUMBERS(T, told_usec),   NUMBERS(T, path_known),     NUMBER(T, suspected_usec),
        NUMBER(T, waited_usec),     NUMBER(T, waited_begun), NUMBER(T, asked),
        NUMBER(T, next_beat_usec),  NUMBER(T, next_probe_usec), NUMBER(T, nonce),        NUMBER(T, watching),
        WORD(T, verdict, verdict),
};
static const struct layout detector_layout = LAYOUT(T, detector_rows);
#undef T

#define T struct member_state
static const struct layout_row member_rows[] = {
        WORD(T, domain, domain_state),
        WORD(T, reason, domain_reason),
        NUMBER(T, domain_usec),
        NUMBER(T, process_alive),
        NUMBER(T, process_known),
        NUMBER(T, process_gone_usec),
        NUMBER(T, gone_signal),
        NUMBER(T, lost_usec),
        NUMBER(T, pid),
        NUMBER(T, link_up),
        NUMBER(T, greeted),
        NUMBER(T, configured),
        NUMBER(T, greeted_usec),
        TEXT(T, boot),
        TEXT(T, agent_version),
        NUMBER(T, protocol),
        TEXT(T, system),
        NUMBER(T, total_bytes),
        NUMBER(T, available_bytes),
        NUMBER(T, available_usec),
        NUMBER(T, old_protocol),
        INSIDE(T, detector, detector_layout),
        NUMBER(T, mass_hold_usec),
        NUMBER(T, paged_usec),
        NUMBER(T, delayed_usec),
        NUMBER(T, delay_since_usec),
        NUMBER(T, delay_told_usec),
        NUMBER(T, delay_usec),
        NUMBER(T, stalled_usec),
        NUMBER(T, served_usec),
        NUMBER(T, serving_usec),
        NUMBER(T, excused_usec),
        INSIDE(T, preflight, preflight_layout),
        NUMBER(T, preflight_usec),
        NUMBER(T, look_failed),
        TEXTS(T, findings),
        RANGE(T, n_findings, 0, MEMBER_FINDINGS_MAX),
        NUMBER(T, blocking_finding),
        TEXT(T, failure),
        NUMBER(T, failure_usec),
        NUMBER(T, going_usec),
        TEXT(T, going),
        NUMBER(T, operator_hold),
        NUMBER(T, pause_wait_usec),
        NUMBER(T, gone_wait_usec),
        WORD(T, fence, fence_state),
        NUMBER(T, fence_usec),
        NUMBER(T, fence_late),
        NUMBERS(T, plugged_bytes),
        NUMBERS(T, plugged_usec),
        NUMBERS(T, requested_bytes),
        NUMBERS(T, requested_known),
        NUMBER(T, vcpus),
        NUMBER(T, vcpus_base),
        NUMBER(T, vcpus_stay),
        NUMBER(T, asked_usec),
        NUMBER(T, said_usec),
        NUMBER(T, n_said),
        NUMBER(T, rebuilds),
        NUMBER(T, started_usec),
        TEXT(T, start_failure),
        NUMBER(T, found_usec),
        NUMBER(T, counted_watched),
        NUMBER(T, counted_suspect),
        INSIDE(T, inspect, request_layout),
        INSIDE(T, look, request_layout),
        INSIDE(T, start, request_layout),
        INSIDE(T, freeze, request_layout),
        INSIDE(T, dump, request_layout),
        INSIDE(T, kill, request_layout),
        INSIDES(T, resize, request_layout),
        INSIDE(T, vcpu, request_layout),
};
static const struct layout member_layout = LAYOUT(T, member_rows);
#undef T

/* ---- one application ---- */

#define RESTARTS_MAX (sizeof(((struct app_state *) NULL)->restarts_usec) / sizeof(usec_t))

#define T struct app_state
static const struct layout_row app_rows[] = {
        WORDS(T, state, application_state),
        NUMBERS(T, state_usec),
        NUMBERS(T, used_bytes),
        NUMBERS(T, needed_usec),
        NUMBERS(T, needed_bytes),
        NUMBERS(T, attached),
        NUMBERS(T, checked),
        NUMBERS(T, checked_usec),
        TEXTS(T, check_text),
        NUMBER(T, healthy),
        NUMBERS(T, restarts_usec),
        RANGE(T, n_restarts, 0, RESTARTS_MAX),
        NUMBER(T, n_starved),
        NUMBER(T, starved_usec),
        NUMBER(T, restart_wanted),
        NUMBER(T, failed),
        WORD(T, failed_cause, failure_cause),
        NUMBER(T, failed_code),
        NUMBER(T, failed_hard),
        NUMBER(T, failed_usec),
        NUMBER(T, refused),
        TEXT(T, refusal),
        TEXT(T, failure),
        NUMBER(T, release_usec),
        NUMBERS(T, mismatch),
        NUMBER(T, disks_detached), /* compared with how many there are, before it is an index */
        NUMBER(T, disks_attached), /* the same */
        WORD_OR_NONE(T, disk_side, side),
        NUMBER(T, told_start), NUMBER(T, prefaulted),
        NUMBER(T, disks_let_go),
        NUMBERS(T, disks_there),
        NUMBER(T, disk_stale),
        INSIDES(T, attach, request_layout),
        INSIDES(T, start, request_layout),
        INSIDES(T, stop, request_layout),
        INSIDES(T, check, request_layout),
        INSIDE(T, disk, request_layout),
        INSIDE(T, grant, request_layout),
        NUMBER(T, state_token), NUMBER(T, state_spent), NUMBER(T, state_shared), NUMBER(T, n_outrun),
        TEXT(T, state_failure), NUMBER(T, state_failed_usec),
        NUMBERS(T, overflow), NUMBER(T, overflow_usec),
        INSIDE(T, touch, request_layout),
        INSIDE(T, canary, request_layout),
        NUMBER(T, touched),
        NUMBER(T, tried),
        LEFT_OUT(T, handover), /* lines of its own */
        INSIDE(T, page_out, request_layout),
};
static const struct layout app_layout = LAYOUT(T, app_rows);
#undef T

/* ---- one pair ---- */

#define T struct rehearsal
static const struct layout_row rehearsal_rows[] = {
        NUMBER(T, command_id),
        NUMBER(T, begun_usec),
        NUMBER(T, since_usec),
        NUMBER(T, asked_usec),
        NUMBER(T, unused_bytes),
        NUMBER(T, touched_bytes),
        INSIDE(T, result, drill_result_layout),
        NUMBER(T, error),
        NUMBER(T, give_way),
        NUMBER(T, cut_off),
};
static const struct layout rehearsal_layout = LAYOUT(T, rehearsal_rows);
#undef T

#define T struct pair
static const struct layout_row pair_rows[] = {
        NUMBER(T, slot),
        WORD(T, state, pair_state),
        NUMBER(T, state_usec),
        LEFT_OUT(T, policy), /* found again by its name */
        INSIDE(T, record, record_layout),
        NUMBER(T, record_dirty),
        NUMBER(T, owner_seq),
        NUMBER(T, flow_seq),
        NUMBER(T, flow_dirty),
        NUMBER(T, owner_dirty),
        NUMBERS(T, persist_seq),
        NUMBERS(T, persist_sent),
        NUMBER(T, store_late),
        INSIDES(T, persist, request_layout),
        NUMBER(T, restored),
        NUMBER(T, unsettled),
        INSIDES(T, members, member_layout),
        INSIDES(T, apps, app_layout),
        NUMBER(T, drill_usec),
        NUMBER(T, drill_command_id),
        INSIDE(T, rehearsal, rehearsal_layout),
        TEXT(T, blocked),
        TEXTS(T, reasons),
        RANGE(T, n_reasons, 0, REASONS_MAX),
        NUMBER(T, armed_usec),
        WORD(T, readiness, readiness_level),
        NUMBER(T, readiness_usec),
        NUMBER(T, readiness_asked_usec),
        NUMBER(T, readiness_unused_bytes),
        INSIDE(T, last_flow, flow_layout),
        NUMBER(T, rejoin_pending),
        NUMBER(T, wake_usec),
        NUMBER(T, wake_slack_usec),
};
const struct layout pair_layout = LAYOUT(T, pair_rows);
#undef T

/* ---- the table ---- */

#define T struct holder
static const struct layout_row holder_rows[] = { RANGE(T, pair, NO_PAIR, INT32_MAX), WORD(T, side, side) };
static const struct layout holder_layout = LAYOUT(T, holder_rows);
#undef T

#define T struct region
static const struct layout_row region_rows[] = {
        TEXT(T, name),
        WORD(T, kind, region_kind),
        NUMBER(T, usage_bytes),
        INSIDE(T, user, holder_layout),
        INSIDE(T, target, holder_layout),
        RANGE(T, app, NO_APP, APP_MAX),
};
const struct layout region_layout = LAYOUT(T, region_rows);
#undef T

#define T struct table
static const struct layout_row table_rows[] = {
        NUMBER(T, governed_bytes),
        LEFT_OUT(T, rows), /* a line each */
        LEFT_OUT(T, n_rows),
        LEFT_OUT(T, n_allocated),
        LEFT_OUT(T, vms), /* where the rows are */
        LEFT_OUT(T, n_vms),
};
static const struct layout table_layout = LAYOUT(T, table_rows);
#undef T

/* ---- a region that is handed over ---- */

#define T struct rights_range
static const struct layout_row rights_range_rows[] = {
        INSIDE(T, span, span_layout),   INSIDE(T, manager, holder_layout), INSIDE(T, user, holder_layout),
        NUMBER(T, releasing),           INSIDE(T, next, holder_layout),    NUMBER(T, unmanaged_usec),
};
const struct layout rights_range_layout = LAYOUT(T, rights_range_rows);
#undef T

#define T struct rights
static const struct layout_row rights_rows[] = {
        NUMBER(T, extent_bytes),
        NUMBER(T, size_bytes),
        LEFT_OUT(T, ranges), /* a line each */
        LEFT_OUT(T, n_ranges),
        LEFT_OUT(T, n_allocated),
};
static const struct layout rights_layout = LAYOUT(T, rights_rows);
#undef T

#define T struct granule
static const struct layout_row granule_rows[] = {
        INSIDE(T, user, holder_layout), NUMBER(T, lost_usec),        NUMBER(T, watched_usec),   NUMBER(T, accesses),
        NUMBER(T, bytes),               NUMBER(T, accesses_at_loss), NUMBER(T, bytes_at_loss),
};
const struct layout granule_layout = LAYOUT(T, granule_rows);
#undef T

#define T struct early_mean
static const struct layout_row early_mean_rows[] = { INSIDE(T, user, holder_layout), NUMBER(T, sum), NUMBER(T, n) };
const struct layout early_mean_layout = LAYOUT(T, early_mean_rows);
#undef T

#define T struct early_release
static const struct layout_row early_release_rows[] = {
        NUMBER(T, granule_bytes),
        LEFT_OUT(T, granules), /* a line each */
        LEFT_OUT(T, n_granules),
        NUMBER(T, cursor),
        LEFT_OUT(T, means), /* a line each */
        LEFT_OUT(T, n_means),
        NUMBER(T, allowed_bytes),
        NUMBER(T, allowed_usec),
};
static const struct layout early_release_layout = LAYOUT(T, early_release_rows);
#undef T

#define T struct handover
static const struct layout_row handover_rows[] = {
        INSIDE(T, rights, rights_layout),
        INSIDE(T, early, early_release_layout),
        NUMBER(T, early_usec),
        WORD(T, from, side),
        NUMBER(T, begun_usec),
        NUMBER(T, begun_bytes),
        NUMBER(T, paged_bytes),
        INSIDE(T, usage, usage_layout),
        NUMBER(T, usage_usec),
        LIST(T, accessed),
        INSIDE(T, paging, span_layout),
};
const struct layout handover_layout = LAYOUT(T, handover_rows);
#undef T

/* ---- memory that is being assigned by hand ---- */

#define VM_MAX (ASSIGNMENT_VMS_MAX - 1)

#define T struct assignment_policy
static const struct layout_row assignment_policy_rows[] = {
        WORD(T, order, assignment_order), NUMBER(T, piece_bytes), NUMBER(T, overlap), NUMBER(T, best_effort),
};
static const struct layout assignment_policy_layout = LAYOUT(T, assignment_policy_rows);
#undef T

#define T struct assignment_item
static const struct layout_row assignment_item_rows[] = {
        WORD(T, kind, assignment_kind), TEXT(T, vm), INSIDE(T, span, span_layout), NUMBER(T, bytes),
};
static const struct layout assignment_item_layout = LAYOUT(T, assignment_item_rows);
#undef T

#define T struct assignment_vm
static const struct layout_row assignment_vm_rows[] = {
        TEXT(T, name), INSIDE(T, holder, holder_layout), NUMBER(T, fenced),
};
static const struct layout assignment_vm_layout = LAYOUT(T, assignment_vm_rows);
#undef T

#define T struct assignment_part
static const struct layout_row assignment_part_rows[] = {
        RANGE(T, item, 0, ASSIGNMENT_ITEMS_MAX - 1), RANGE(T, from, -1, VM_MAX), RANGE(T, to, -1, VM_MAX),
        NUMBER(T, is_range),        INSIDE(T, span, span_layout), NUMBER(T, bytes),
        NUMBER(T, releasing_bytes), NUMBER(T, released_bytes),    NUMBER(T, extending_bytes),
        NUMBER(T, extended_bytes),  NUMBER(T, release_over),      NUMBER(T, extend_over),
        NUMBER(T, waits),
};
static const struct layout assignment_part_layout = LAYOUT(T, assignment_part_rows);
#undef T

#define T struct assignment_request
static const struct layout_row assignment_request_rows[] = {
        NUMBER(T, id),       INSIDE(T, vm, holder_layout), NUMBER(T, extend),
        NUMBER(T, is_range), INSIDE(T, span, span_layout), NUMBER(T, bytes),
};
static const struct layout assignment_request_layout = LAYOUT(T, assignment_request_rows);
#undef T

#define T struct assignment_open
static const struct layout_row assignment_open_rows[] = {
        INSIDE(T, request, assignment_request_layout), RANGE(T, part, 0, ASSIGNMENT_PARTS_MAX - 1),
};
static const struct layout assignment_open_layout = LAYOUT(T, assignment_open_rows);
#undef T

#define T struct assignment
static const struct layout_row assignment_rows[] = {
        NUMBER(T, running),
        NUMBER(T, cancelled),
        INSIDE(T, policy, assignment_policy_layout),
        NUMBER(T, extent_bytes),
        NUMBER(T, spare_bytes),
        NUMBER(T, next_id),
        INSIDES(T, items, assignment_item_layout),
        NUMBERS(T, had_bytes),
        NUMBERS(T, cut_bytes),
        TEXTS(T, why),
        RANGE(T, n_items, 0, ASSIGNMENT_ITEMS_MAX),
        INSIDES(T, vms, assignment_vm_layout),
        RANGE(T, n_vms, 0, ASSIGNMENT_VMS_MAX),
        INSIDES(T, parts, assignment_part_layout),
        RANGE(T, n_parts, 0, ASSIGNMENT_PARTS_MAX),
        INSIDES(T, open, assignment_open_layout),
        RANGE(T, n_open, 0, ASSIGNMENT_VMS_MAX),
};
static const struct layout assignment_layout = LAYOUT(T, assignment_rows);
#undef T

#define T struct assigning_vm
static const struct layout_row assigning_vm_rows[] = {
        NUMBER(T, target_bytes), NUMBER(T, request_id), NUMBER(T, extend),    NUMBER(T, bytes),
        NUMBER(T, before_bytes), NUMBER(T, seen_bytes), NUMBER(T, seen_usec), NUMBER(T, issued_usec),
};
static const struct layout assigning_vm_layout = LAYOUT(T, assigning_vm_rows);
#undef T

#define T struct asker
static const struct layout_row asker_rows[] = {
        NUMBER(T, command_id), INSIDE(T, guest, holder_layout), NUMBER(T, message_id),
};
static const struct layout asker_layout = LAYOUT(T, asker_rows);
#undef T

#define T struct assigning
static const struct layout_row assigning_rows[] = {
        INSIDE(T, plan, assignment_layout), INSIDES(T, vms, assigning_vm_layout), TEXT(T, who),
        NUMBER(T, of_guest),                INSIDE(T, asker, asker_layout),
        NUMBER(T, asked_usec),              NUMBER(T, begun_usec),
        NUMBER(T, ended_usec),
};
static const struct layout assigning_layout = LAYOUT(T, assigning_rows);
#undef T

/* ---- the engine ---- */

#define T struct engine
static const struct layout_row engine_rows[] = {
        LEFT_OUT(T, policy), /* as its own text */
        INSIDE(T, table, table_layout),
        LEFT_OUT(T, pairs), /* lines of their own */
        NUMBER(T, n_pairs),
        NUMBER(T, pool_short),
        NUMBER(T, ready),
        NUMBER(T, ready_usec),
        NUMBER(T, hypervisor_up),
        NUMBER(T, hypervisor_usec),
        NUMBER(T, reclaim_able),
        TEXT(T, reclaim_text),
        NUMBER(T, pool_limit_bytes),
        NUMBER(T, swap_bytes),
        NUMBER(T, store_lost),
        NUMBER(T, now_usec),
        NUMBER(T, lost_bytes),
        NUMBER(T, reserve_used_bytes),
        NUMBER(T, void_usec),
        NUMBER(T, pressure_usec),
        NUMBER(T, mass_usec),
        NUMBER(T, n_suspected),
        NUMBER(T, n_watched),
        INSIDE(T, assigning, assigning_layout),
        NUMBER(T, assigned_short_usec),
        NUMBER(T, next_id),
        NUMBER(T, real_usec),
        LEFT_OUT(T, scratch_message), /* where messages go once memory has run out; never read */
        NUMBER(T, wake_usec),
};
const struct layout engine_layout = LAYOUT(T, engine_rows);
#undef T
