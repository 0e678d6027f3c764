/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the engine is told and what it wants. Events and actions that carry more than numbers carry it in structs of
 * their own; the text of an event puts them together (event-text.c). */

#include "daemon/core/handover.h"
#include "daemon/core/update.h"
#include "daemon/replay/layouts.h"

LAYOUT_WORDS(action_kind)
LAYOUT_WORDS(application_kind)
LAYOUT_WORDS(application_state)
LAYOUT_WORDS(command_verb)
LAYOUT_WORDS(domain_reason)
LAYOUT_WORDS(domain_state)
LAYOUT_WORDS(drill_fault)
LAYOUT_WORDS(drill_level)
LAYOUT_WORDS(failure_cause)
LAYOUT_WORDS(message_type)
LAYOUT_WORDS(persist_level)
LAYOUT_WORDS(phase)
LAYOUT_WORDS(record_kind)
LAYOUT_WORDS(second_path)
LAYOUT_WORDS(side)

#define APP_MAX (POLICY_APPLICATIONS_MAX - 1)

/* ---- from an agent, or to it ---- */

#define T struct application_report
static const struct layout_row report_rows[] = {
        TEXT(T, app),
        WORD(T, state, application_state),
        NUMBER(T, token),
        NUMBER(T, bytes),
        NUMBER(T, node_bytes),
        NUMBER(T, spare_bytes),
        NUMBER(T, missed_checks),
};
static const struct layout report_layout = LAYOUT(T, report_rows);
#undef T

#define T struct message
static const struct layout_row message_rows[] = {
        WORD(T, type, message_type),
        LEFT_OUT(T, session), /* the link has checked it; the engine does not read it */
        LEFT_OUT(T, seq),     /* the same */
        NUMBER(T, id),
        TEXT(T, app),
        NUMBER(T, token),
        NUMBER(T, bytes),
        NUMBER(T, nonce),
        NUMBER(T, usec),
        NUMBER(T, node),
        NUMBER(T, result),
        NUMBER(T, version),
        WORD(T, kind, application_kind),
        WORD(T, cause, failure_cause),
        NUMBER(T, code),
        NUMBER(T, hard),
        TEXT(T, boot),
        TEXT(T, system),
        TEXT(T, text),
        INSIDES(T, apps, report_layout),
        RANGE(T, n_apps, 0, POLICY_APPLICATIONS_MAX),
        LEFT_OUT(T, regions), /* secret: of `start`, where the shell puts it in */
        LEFT_OUT(T, specs),   /* of `configure`, which the shell makes: no event or action carries one */
        LEFT_OUT(T, n_specs), /* the same */
};
const struct layout message_layout = LAYOUT(T, message_rows);
#undef T

/* ---- what a look at a domain found ---- */

#define T struct disk_list
static const struct layout_row disk_list_rows[] = { RANGE(T, n, 0, DISKS_MAX), TEXTS(T, targets) };
static const struct layout disk_list_layout = LAYOUT(T, disk_list_rows);
#undef T

#define T typeof(((struct preflight *) NULL)->apps[0])
static const struct layout_row device_rows[] = {
        NUMBER(T, present), NUMBER(T, node), NUMBER(T, size_bytes), NUMBER(T, block_bytes), NUMBER(T, requested_bytes),
        NUMBER(T, huge_pages),
};
static const struct layout device_layout = {
        .name = "struct preflight.apps[]",
        .size = sizeof(T),
        .rows = device_rows,
        .n_rows = sizeof(device_rows) / sizeof(device_rows[0]),
};
#undef T

#define T struct preflight
static const struct layout_row preflight_rows[] = {
        NUMBER(T, defined),        NUMBER(T, persistent),    NUMBER(T, autostart),
        NUMBER(T, channel),        NUMBER(T, panic_device),  NUMBER(T, crash_preserved),
        NUMBER(T, balloon_stats),  NUMBER(T, echo_port),     NUMBER(T, requested_zero),
        NUMBER(T, free_ports),     NUMBER(T, base_bytes),    NUMBER(T, vcpus),
        NUMBER(T, vcpus_max),
        INSIDE(T, disks_at_boot, disk_list_layout),
        INSIDE(T, disks_kept, disk_list_layout),
        NUMBER(T, console_log),    NUMBER(T, kvm),
        INSIDES(T, apps, device_layout),
        TEXT(T, text),
};
const struct layout preflight_layout = LAYOUT(T, preflight_rows);
#undef T

/* ---- what a look at a region's memory found ---- */

#define T struct usage
static const struct layout_row usage_rows[] = {
        NUMBER(T, extent_bytes), RANGE(T, n_extents, 0, USAGE_EXTENTS_MAX), NUMBERS(T, known), LISTS(T, pages),
};
const struct layout usage_layout = LAYOUT(T, usage_rows);
#undef T

/* ---- from an operator ---- */

#define T struct operator_command
static const struct layout_row command_rows[] = {
        WORD(T, verb, command_verb), NUMBER(T, id),    WORD(T, level, drill_level), WORD(T, fault, drill_fault),
        WORD_OR_NONE(T, side, side),
        NUMBER(T, dry_run),          NUMBER(T, force), NUMBER(T, until_usec),       TEXT(T, who),
        TEXT(T, text),               TEXT(T, request),
};
const struct layout command_layout = LAYOUT(T, command_rows);
#undef T

/* ---- events ---- */

#define T struct event
static const struct layout_row event_rows[] = {
        /* these begin the line */
        LEFT_OUT(T, kind),
        LEFT_OUT(T, time_usec),
        LEFT_OUT(T, real_usec),
        LEFT_OUT(T, pair),
        LEFT_OUT(T, side),
        RANGE(T, app, NO_APP, APP_MAX),
        NUMBER(T, up),
        NUMBER(T, pid),
        NUMBER(T, bytes),
        NUMBER(T, swap_bytes),
        NUMBER(T, due_usec),
        WORD(T, domain, domain_state),
        WORD(T, reason, domain_reason),
        WORD(T, path, second_path),
        NUMBER(T, age_usec),
        WORD(T, action, action_kind),
        NUMBER(T, action_id),
        NUMBER(T, result),
        TEXT(T, text),
        /* borrowed; they follow on the line, or below it */
        LEFT_OUT(T, policy),
        LEFT_OUT(T, record),
        LEFT_OUT(T, message),
        LEFT_OUT(T, preflight),
        LEFT_OUT(T, command),
        LEFT_OUT(T, usage),
};
const struct layout event_layout = LAYOUT(T, event_rows);
#undef T

/* ---- actions ---- */

#define T struct action
static const struct layout_row action_rows[] = {
        LEFT_OUT(T, kind), /* begins the line */
        NUMBER(T, id),
        NUMBER(T, pair),
        WORD_OR_NONE(T, side, side),
        NUMBER(T, app),
        NUMBER(T, offset),
        NUMBER(T, bytes),
        NUMBER(T, count),
        NUMBER(T, alone),
        NUMBER(T, moved),
        NUMBER(T, due_usec),
        NUMBER(T, deadline_usec),
        WORD(T, level, persist_level),
        WORD(T, record_kind, record_kind),
        WORD(T, phase, phase),
        NUMBER(T, command_id),
        NUMBER(T, result),
        TEXT(T, text),
        TEXT(T, app_name),
        LEFT_OUT(T, message), /* owned; they follow */
        LEFT_OUT(T, record),
        INSIDE(T, flow, flow_layout),
        INSIDE(T, drill, drill_result_layout),
};
const struct layout action_layout = LAYOUT(T, action_rows);
#undef T
