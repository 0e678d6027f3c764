/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events become facts. What happened and what it means is one table, and this file is it (failoverd(8),
 * "What happened, what is done"):
 *
 *   kernel panic event                     failure of the system
 *   QEMU process gone, not by a call       failure; where it ended as asked, libvirt has longer to say by whom
 *   QEMU stopped (SIGSTOP), guest hang     failure, by the detector (advance_watch)
 *   watchdog device fired                  failure
 *   disk error paused the VM               failure
 *   disk error told to the guest           nothing, and history says so
 *   memory of the VM inaccessible          region lost: reserve replaces it, failure
 *   reset without announcement             failure (a triple fault and `virsh reset` look alike)
 *   power-off without announcement         failure
 *   reboot, power-off announced            as policy says: wait, or failure
 *   suspend, destroy, save, migrate        an operator's: nothing is done, and status says so
 *   agent gone or restarted                nothing; the second path decides about the system
 *   libvirtd gone                          nothing; state is shown with its age
 */

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/core/findings.h"
#include "daemon/core/pair-internal.h"
#include "policy/worst-case.h"

/* The process went; libvirt's reason (was it an operator?) is waited for so long, unless the kernel tells how it ended.
 * One that was killed has failed: libvirt asks with SIGTERM, and kills a QEMU that has not heard it for 10 s only; by
 * then its guest has been silent for long. One that ended as it was asked to was ended by libvirt, which looks for its
 * end every 200 ms and tells then, or by somebody else: on a host that has much to do that takes a while, and nothing
 * else looks like it. */
#define REASON_WAIT_USEC WORST_CASE_GONE_USEC
#define ASKED_WAIT_USEC WORST_CASE_ENDED_USEC
/* A VM was paused; what else might follow (a panic is told 10 ms later) is waited for so long. */
#define PAUSE_WAIT_USEC (200 * USEC_PER_MSEC)

void member_fail(struct step *step, enum side side, const char *format, ...) {
        struct member_state *member = &step->pair->members[side];
        va_list ap;

        if (member->failure[0] || step->pair->record.fence_wanted[side])
                return;
        if (member->operator_hold && member->domain != DOMAIN_PAUSED && member->domain != DOMAIN_CRASHED)
                return; /* ended by an operator */
        member->operator_hold = false;
        member->pause_wait_usec = 0;
        va_start(ap, format);
        vsnprintf(member->failure, sizeof(member->failure), format, ap);
        va_end(ap);
        member->failure_usec = step->now;
        step->again = step->changed = true;
        /* That an armed pair lost its standby is said as its state changes, what became of the owner as it is
         * decided. */
        if (step->pair->state != PAIR_ARMED && !pair_flow_active(step->pair) && !pair_owns_hot(step->pair, side))
                member_say(step, RECORD_UNPROTECTED, side, "%s is still not protected: %s: %s",
                           step->pair->policy->name, pair_domain(step->pair, side), member->failure);
}

void member_lost(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        detector_stop(&member->detector);
        member->detector.last_pong_usec = 0; /* of its next life nothing is known */
        member->lost_usec = step->now;
        member->available_bytes = 0;
        member->excused_usec = 0;
        member->old_protocol = 0;
        member->found_usec = 0;
        member->configured = member->greeted = false;
        member->boot[0] = 0;
        member->vcpus = 0;
        member->vcpus_stay = false;
        member->pid = 0;
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct app_state *app = &pair->apps[i];

                member->plugged_bytes[i] = 0;
                member->plugged_usec[i] = step->now;
                member->requested_bytes[i] = 0;
                member->requested_known[i] = false;
                app->state[side] = APPLICATION_STOPPED;
                app->overflow[side] = false;
                if (pair->record.apps[i].owner == side) {
                        app->healthy = false;
                        app->overflow_usec = 0;
                        app_state_spend(pair, (int) i);
                } else
                        app_state_forgotten(pair, (int) i);
                app->state_usec[side] = step->now;
                app->used_bytes[side] = 0;
                app->needed_usec[side] = 0;
                app->attached[side] = app->checked[side] = false;
                app->checked_usec[side] = 0;
                if (app->disk_side == side)
                        app_disks_forget(app);
                request_reset(&app->attach[side]);
                request_reset(&app->start[side]);
                request_reset(&app->stop[side]);
                request_reset(&app->check[side]);
        }
        step->again = step->changed = true;
}

/* The guest's own stop, and what the policy says of it. What the guest has announced decides which: where a reboot ends
 * QEMU (on_reboot), libvirt says of that, too, that the guest shut down. */
static void guest_stopped(struct step *step, enum side side, const char *what) {
        const struct pair_policy *policy = step->pair->policy;
        struct member_state *member = &step->pair->members[side];
        bool reboot = strcmp(member->going, "reboot") == 0;

        if (member->going_usec == 0)
                member_fail(step, side, "the guest %s without announcing it", what);
        else if ((reboot ? policy->on_guest_reboot : policy->on_guest_shutdown) == GUEST_STOP_FAILOVER)
                member_fail(step, side, "the guest has done its announced %s; policy: failover", member->going);
        else
                step_say(step, RECORD_IGNORED, side, "%s: the guest has done its announced %s; policy: wait",
                         pair_domain(step->pair, side), member->going);
}

static void domain_paused(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (pair->record.fence_wanted[side])
                return; /* our own freeze */
        if (member->start.id || member->reason == REASON_UNKNOWN)
                return; /* on its way up: QEMU begins paused */
        switch (member->reason) {
        case REASON_IO_ERROR:
                member_fail(step, side, "QEMU paused it at a disk error");
                return;
        case REASON_WATCHDOG:
                member_fail(step, side, "its watchdog fired");
                return;
        case REASON_PANICKED:
                member_fail(step, side, "kernel panic");
                return;
        default:
                /* QEMU pauses on its way into a panic, too: wait a moment for what comes next. */
                if (!member->operator_hold)
                        member->pause_wait_usec = step->now + PAUSE_WAIT_USEC;
        }
}

/* An operator ended it: says so, and how to go on. A VM that was migrated lives: started here it would run twice. */
static void ended_by_operator(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        const char *vm = pair_domain(step->pair, side), *before = "virsh start", *after = "";

        if (member->reason == REASON_SAVED)
                after = " (after a save to a file: virsh restore it)";
        if (member->reason == REASON_MIGRATED) {
                before = "migrate it back, or once it has ended there virsh start";
                step->pair->record.away[side] = true;
                pair_dirty(step->pair);
        }
        member->operator_hold = true;
        if (step->pair->policy->retired)
                step_say(step, RECORD_IGNORED, side,
                         "%s was ended by an operator (%s), which gives back what it had; its pair was taken out, so "
                         "it may be started for other uses",
                         vm, domain_reason_to_string(member->reason));
        else
                step_say(step, RECORD_IGNORED, side,
                         "%s was ended by an operator (%s): nothing is done; %s %s to go on%s", vm,
                         domain_reason_to_string(member->reason), before, vm, after);
}

static void domain_off(struct step *step, enum side side, bool was_known_off) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        bool ours = pair->record.fence_wanted[side] || member->fence != FENCE_NONE;
        bool waited = member->gone_wait_usec != 0;

        if (!was_known_off)
                member_lost(step, side);
        /* Whether its process is gone is another matter: libvirt may give up on one that does not die. */
        member->gone_wait_usec = 0;
        if (ours || was_known_off || member->failure[0])
                return;
        switch (member->reason) {
        case REASON_SHUTDOWN:
                guest_stopped(step, side, "shut down");
                return;
        case REASON_DESTROYED:
        case REASON_SAVED:
        case REASON_MIGRATED:
                ended_by_operator(step, side);
                return;
        case REASON_CRASHED:
        case REASON_FAILED:
                member_fail(step, side, "its QEMU process ended (%s)", domain_reason_to_string(member->reason));
                if (member->failure_usec == step->now && waited)
                        member->failure_usec = member->process_gone_usec; /* known since then */
                return;
        default:
                return; /* found off at the first look: rebuilt, no failure seen */
        }
}

static void domain_running(struct step *step, enum side side, enum domain_state before) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (pair->record.away[side]) {
                pair->record.away[side] = false;
                pair_dirty(pair);
        }
        if (member->operator_hold) {
                member->operator_hold = false;
                step_say(step, RECORD_RESUMED, side, "%s runs again", pair_domain(pair, side));
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        if (pair->apps[i].disks_there[side] && pair->apps[i].disk.id == 0)
                                request_reset(&pair->apps[i].disk); /* it can let go now */
                if (member->configured)
                        detector_start(&member->detector, step->now);
        }
        if (member->fence == FENCE_FROZEN || member->fence == FENCE_FREEZING || member->fence == FENCE_DUMPING) {
                /* Somebody let a VM go on that must not act: stop it again. */
                if (member->fence != FENCE_FREEZING) {
                        member->fence = FENCE_NONE;
                        request_reset(&member->freeze);
                        for (size_t i = 0; i < pair->policy->n_applications; i++)
                                if (pair->record.apps[i].moving && !pair->apps[i].told_start)
                                        pair->record.apps[i].stopped = false;
                        pair_dirty(pair);
                }
        } else if (before != DOMAIN_RUNNING && before != DOMAIN_PAUSED) {
                /* A new life: look at it with new eyes. */
                member->started_usec = step->now;
                member->fence = FENCE_NONE;
                member->preflight_usec = 0;
                member->going_usec = 0;
                member->failure[0] = 0;
        }
}

static void domain_event(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[event->side];
        enum domain_state before = member->domain;
        enum domain_reason reason = event->reason;
        bool was_off = before == DOMAIN_SHUTOFF;

        member->domain_usec = step->now;
        if (event->domain != DOMAIN_PAUSED)
                member->pause_wait_usec = 0;
        if (event->domain == DOMAIN_SHUTOFF && pair->record.away[event->side])
                reason = REASON_MIGRATED; /* a libvirtd that was restarted does not know that any more */
        if (member->domain == event->domain && member->reason == reason)
                return;
        member->domain = event->domain;
        member->reason = reason;
        step->again = step->changed = true;

        switch (event->domain) {
        case DOMAIN_RUNNING:
                member->start_failure[0] = 0;
                domain_running(step, event->side, before);
                break;
        case DOMAIN_PAUSED:
                domain_paused(step, event->side);
                break;
        case DOMAIN_CRASHED:
                member_fail(step, event->side, "kernel panic");
                break;
        case DOMAIN_SHUTOFF:
                domain_off(step, event->side, was_off);
                break;
        default:
                break;
        }
}

/* Until when libvirt may say why the process went. A process that was killed is not waited for; one that ended as it
 * was asked to, or of which the kernel is still to tell, may be an operator's doing on a host where libvirt is late. */
static void wait_for_reason(struct step *step, struct member_state *member, int how) {
        usec_t gone = member->process_gone_usec;

        if (how > 0)
                member->gone_wait_usec = step->now;
        else
                member->gone_wait_usec = gone + (how < 0 ? ASKED_WAIT_USEC : REASON_WAIT_USEC);
        member->gone_signal = how == PROCESS_END_TO_BE_TOLD ? 0 : how;
}

static void process_event(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[event->side];

        member->process_known = true;
        step->again = step->changed = true;
        if (event->up) {
                member->process_alive = true;
                member->pid = event->pid;
                return;
        }
        if (member->process_alive) {
                member->process_alive = false;
                member->process_gone_usec = step->now;
                member->gone_signal = 0;
                member_lost(step, event->side);
                for (size_t i = 0; i < pair->policy->n_applications; i++)
                        pair->apps[i].disks_there[event->side] = false;
                if (!pair->record.fence_wanted[event->side] && !member->failure[0] && member->domain != DOMAIN_SHUTOFF)
                        member->gone_wait_usec = step->now + REASON_WAIT_USEC;
        }
        if (member->gone_wait_usec && !member->operator_hold && (event->result != 0 || member->gone_signal == 0))
                wait_for_reason(step, member, event->result);
}

static void rebooted(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];

        if (member->failure[0] || step->pair->record.fence_wanted[side])
                return; /* raised more than once for one reset */
        if (member->going_usec && strcmp(member->going, "reboot") == 0) {
                guest_stopped(step, side, "rebooted");
                if (!member->failure[0])
                        member_lost(step, side);
                return;
        }
        if (member->greeted || member->configured)
                member_fail(step, side, "the guest was reset without announcing it");
}

uint64_t engine_region_lost_bytes(const struct engine *engine, const struct region *region, uint64_t bytes) {
        uint64_t lost = bytes > engine->policy->extent_bytes ? bytes : engine->policy->extent_bytes;

        return lost < region->usage_bytes ? lost : region->usage_bytes;
}

/* Memory of the VM became inaccessible. libvirt does not tell where, so one extent of the first hot-standby
 * region there counts as lost: the system that used it cannot be trusted with it any more either way. */
static void memory_failure(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                struct region *region = table_find_application(&step->engine->table, pair_holder(pair, event->side),
                                                               (int) i);
                uint64_t lost, replaced, used;

                if (!region || (event->app >= 0 && event->app != (int) i))
                        continue;
                lost = engine_region_lost_bytes(step->engine, region, event->bytes);
                used = table_reserve(&step->engine->table);
                replaced = table_replace_lost(&step->engine->table, region, lost);
                used -= table_reserve(&step->engine->table);
                step->engine->lost_bytes += lost;
                step->engine->reserve_used_bytes += used;
                pair->record.apps[i].granted_bytes[event->side] = region->usage_bytes;
                pair->record.lost_bytes += lost;
                pair->record.reserve_used_bytes += used;
                pair_dirty(pair);
                step_say(step, RECORD_RESERVE_USED, event->side,
                         "%s lost %" PRIu64 " MiB to a memory error; %" PRIu64 " MiB replaced out of the reserve",
                         region->name, lost / MIB, replaced / MIB);
                break;
        }
        member_fail(step, event->side, "its memory became inaccessible (critical)");
}

static void link_event(struct step *step, const struct event *event) {
        struct member_state *member = &step->pair->members[event->side];

        if (member->link_up != event->up)
                step->again = step->changed = true;
        member->link_up = event->up;
        if (!event->up) {
                member->greeted = member->configured = false;
                if (event->text[0])
                        member_say(step, RECORD_PROTOCOL, event->side, "%s: %s", pair_domain(step->pair, event->side),
                                   event->text);
        }
}

static void keep_findings(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        struct finding found[FINDINGS_MAX];
        size_t n = findings_list(step->engine->policy, step->pair->policy, side, &member->preflight, found);

        member->n_findings = 0;
        member->blocking_finding = 0;
        for (size_t i = 0; i < n && member->n_findings < MEMBER_FINDINGS_MAX; i++) {
                if (found[i].advice)
                        continue;
                snprintf(member->findings[member->n_findings++], EVENT_TEXT_LEN, "%s: %.190s",
                         pair_domain(step->pair, side), found[i].text);
                if (found[i].blocks && !member->blocking_finding)
                        member->blocking_finding = member->n_findings;
        }
}

static void preflight_event(struct step *step, const struct event *event) {
        struct member_state *member = &step->pair->members[event->side];

        /* A later look that comes to nothing does not undo what is known. */
        if (event->preflight->text[0] == 0 || member->preflight_usec == 0) {
                member->preflight = *event->preflight;
                member->preflight_usec = event->preflight->text[0] ? 0 : step->now;
                keep_findings(step, event->side);
        }
        member->look_failed = event->preflight->text[0] != 0;
        if (member->look.id == 0) /* it came after the call had been given up; else the answer to the call ends it */
                request_end(step, &member->look, !member->look_failed);
        step->again = step->changed = true;
}

static void device_size(struct step *step, const struct event *event) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[event->side];

        if (event->app < 0 || (size_t) event->app >= pair->policy->n_applications)
                return;
        if (member->plugged_bytes[event->app] != event->bytes)
                step->changed = true;
        member->plugged_bytes[event->app] = event->bytes;
        member->plugged_usec[event->app] = step->now;
        if (pair_is_memory(pair, event->app) && member->inspect.id) /* perhaps it tells what was so when it began */
                member->plugged_usec[event->app] = member->inspect.sent_usec;
        step->again = true;
}

void pair_event(struct step *step, const struct event *event) {
        switch (event->kind) {
        case EVENT_DOMAIN:
                domain_event(step, event);
                break;
        case EVENT_PROCESS:
                process_event(step, event);
                break;
        case EVENT_REBOOTED:
                rebooted(step, event->side);
                break;
        case EVENT_WATCHDOG:
                member_fail(step, event->side, "its watchdog fired");
                break;
        case EVENT_IO_ERROR:
                if (event->up)
                        member_fail(step, event->side, "QEMU paused it at a disk error%s%s", event->text[0] ? ": " : "",
                                    event->text);
                else
                        member_say(step, RECORD_IGNORED, event->side,
                                   "%s: its guest was told of a disk error%s%s, and runs on: nothing is done",
                                   pair_domain(step->pair, event->side), event->text[0] ? ": " : "", event->text);
                break;
        case EVENT_MEMORY_FAILURE:
                memory_failure(step, event);
                break;
        case EVENT_DEVICE_SIZE:
                device_size(step, event);
                break;
        case EVENT_PREFLIGHT:
                preflight_event(step, event);
                break;
        case EVENT_LINK:
                link_event(step, event);
                break;
        case EVENT_MESSAGE:
                pair_message(step, event->side, event->message);
                break;
        case EVENT_SECOND_PATH:
                if (step->pair->members[event->side].process_alive)
                        detector_path(&step->pair->members[event->side].detector, step->now, event->path,
                                      event->age_usec);
                break;
        case EVENT_WAITED:
                member_waited(step, event->side, event->age_usec);
                break;
        case EVENT_DONE:
                pair_answered(step, event);
                break;
        case EVENT_PAGING:
                member_paged(step, event->side, event->bytes);
                break;
        case EVENT_SPACE:
                member_space(step, event->side, event->up);
                break;
        case EVENT_OVERFLOW:
                app_overflow_event(step, event);
                break;
        case EVENT_USAGE:
                handover_usage(step, event);
                break;
        case EVENT_COMMAND:
                pair_command(step, event->command);
                break;
        default:
                break; /* EVENT_WAKE and engine-wide events: only compare again */
        }
}
