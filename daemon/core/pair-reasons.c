/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The state that the operator sees, and the reasons why a pair is not armed: both follow from the facts, each round. */

#include <stdarg.h>
#include <stdio.h>

#include "daemon/core/pair-internal.h"
#include "daemon/core/readiness.h"
#include "daemon/core/retired.h"

/* What libvirt told of a domain is renewed every half minute; older than this, nobody knows whether it could be acted
 * on. */
#define STALE_USEC (75 * USEC_PER_SEC)

/* What is ready for a failover is looked at again after so long, where nothing that was seen has changed it: limits
 * run out, and what was told grows old. */
#define READINESS_USEC (5 * USEC_PER_SEC)

static void reason(struct pair *pair, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void reason(struct pair *pair, const char *format, ...) {
        va_list ap;

        if (pair->n_reasons == REASONS_MAX)
                return;
        va_start(ap, format);
        vsnprintf(pair->reasons[pair->n_reasons++], sizeof(pair->reasons[0]), format, ap);
        va_end(ap);
}

bool member_left_for_good(const struct pair *pair, enum side side) {
        return pair->policy->retired && pair->members[side].operator_hold &&
               pair->members[side].domain == DOMAIN_SHUTOFF;
}

bool member_trouble(const struct pair *pair, enum side side, usec_t now_usec, char text[EVENT_TEXT_LEN]) {
        const struct member_state *m = &pair->members[side];
        const char *vm = pair_domain(pair, side);

#define TROUBLE(...) (snprintf(text, EVENT_TEXT_LEN, __VA_ARGS__), true)
        if (m->domain == DOMAIN_UNDEFINED)
                return TROUBLE("%s: libvirt knows no such domain", vm);
        if (member_left_for_good(pair, side))
                return TROUBLE("%s: stopped by an operator after its pair was taken out; it may be started for other "
                               "uses",
                               vm);
        if (m->operator_hold && m->domain != DOMAIN_PAUSED && m->reason == REASON_MIGRATED)
                return TROUBLE("%s: migrated to another host by an operator; migrate it back to go on", vm);
        if (m->operator_hold)
                return TROUBLE("%s: %s by an operator; start or resume it there to go on", vm,
                               m->domain == DOMAIN_PAUSED ? "suspended" : "stopped");
        if (pair->record.fence_wanted[side] && m->fence == FENCE_GONE && !member_is_gone(m))
                return TROUBLE("%s: stated to be dead, but its QEMU process (pid %d) is not seen to end; end it", vm,
                               m->pid);
        if (m->fence == FENCE_FAILED)
                return TROUBLE("%s: not proven stopped; end its QEMU process (pid %d) or the host, nothing starts "
                               "elsewhere before",
                               vm, m->pid);
        if (m->fence_late)
                return TROUBLE(
                        "%s: frozen, but its QEMU process (pid %d) does not end; the disks that it holds stay there",
                        vm, m->pid);
        if (m->failure[0])
                return TROUBLE("%s: %.190s", vm, m->failure);
        if (m->gone_wait_usec)
                return TROUBLE("%s: its QEMU process has ended; libvirt or the kernel is to say why, which is waited "
                               "for %u ms", vm,
                               (unsigned) ((m->gone_wait_usec - m->process_gone_usec) / USEC_PER_MSEC));
        if (m->going_usec)
                return TROUBLE("%s: its guest is on an orderly %s", vm, m->going);
        if (m->domain == DOMAIN_UNKNOWN)
                return TROUBLE("%s: state not known yet", vm);
        if (m->domain != DOMAIN_RUNNING && m->start_failure[0])
                return TROUBLE("%s: not running, does not start: %.150s", vm, m->start_failure);
        if (m->domain != DOMAIN_RUNNING)
                return TROUBLE("%s: not running yet", vm);
        if (m->domain_usec && now_usec - m->domain_usec > STALE_USEC)
                return TROUBLE("%s: libvirt has told nothing of it for %u s; it may hang on this domain", vm,
                               (unsigned) ((now_usec - m->domain_usec) / USEC_PER_SEC));
        if (!m->greeted && m->old_protocol)
                return TROUBLE("%s: its agent is too old (protocol %u, this failoverd speaks %d and later); update "
                               "failover-agent there",
                               vm, m->old_protocol - 1, PROTOCOL_VERSION_MIN);
        if (!m->greeted)
                return TROUBLE("%s: no agent answers on its channel; is failover-agent running in the guest?", vm);
        if (!m->configured)
                return TROUBLE("%s: its domain has not been looked at yet%s%.150s", vm,
                               m->preflight.text[0] ? ": " : "", m->preflight.text);
        if (m->detector.verdict == VERDICT_SILENT)
                return TROUBLE("%s: its agent is silent, its kernel answers; see failover-agent in the guest", vm);
        if (m->detector.verdict != VERDICT_ALIVE)
                return TROUBLE("%s: heartbeats are missing", vm);
#undef TROUBLE
        return false;
}

/* What keeps one VM from playing its part. */
static void member_reasons(struct pair *pair, enum side side, usec_t now_usec) {
        const struct member_state *m = &pair->members[side];
        const char *vm = pair_domain(pair, side);
        char text[EVENT_TEXT_LEN];

        if (!member_left_for_good(pair, side) && member_trouble(pair, side, now_usec, text))
                reason(pair, "%s", text);
        if (m->domain == DOMAIN_UNDEFINED)
                return; /* what a look finds says the same */
        for (size_t i = 0; m->greeted && i < pair->policy->n_applications; i++)
                if (!app_state_understood(pair, (int) i, side)) {
                        reason(pair, "%s: its agent is too old for the shared regions of %s (protocol %u, they take "
                               "%d); update failover-agent there", vm, pair_app_name(pair, (int) i), m->protocol,
                               PROTOCOL_VERSION_REMOTE);
                        break;
                }
        for (unsigned i = 0; m->preflight_usec && i < m->n_findings; i++)
                reason(pair, "%s", m->findings[i]);
}

static void app_reasons(const struct step *step, int app) {
        struct pair *pair = step->pair;
        const struct application *policy = &pair->policy->applications[app];
        const struct record_app *record = &pair->record.apps[app];
        const struct app_state *state = &pair->apps[app];
        enum side owner = record->owner, other = side_other(owner);
        bool hot = pair_is_hot(pair, app);
        char text[EVENT_TEXT_LEN];

        if (record->ended)
                return;
        if (state->refused && hot)
                reason(pair, "%s: memory refused: %s", policy->name, state->refusal);
        else if (pair_lacks_state(pair, app))
                reason(pair, "%s: not to be started before its state is its own to write: %s", policy->name,
                       state->state_failure);
        else if (hot && state->state[owner] != APPLICATION_RUNNING &&
                 retired_reason(step->engine, pair, app, text))
                reason(pair, "%s", text);
        else if (hot && member_usable(pair, owner) && state->state[owner] != APPLICATION_RUNNING)
                reason(pair, "%s: not running on %s%s%s", policy->name, pair_domain(pair, owner),
                       state->failure[0] ? ": " : "", state->failure);
        if (hot && member_usable(pair, other) && !state->checked[other] && state->check_text[other][0])
                reason(pair, "%s: could not be started on %s: %s", policy->name, pair_domain(pair, other),
                       state->check_text[other]);
        else if (hot && member_usable(pair, other) && !state->checked[other])
                reason(pair, "%s: %s has not confirmed yet that it could start it", policy->name,
                       pair_domain(pair, other));
}

/* A VM whose agent cannot be asked keeps what is in it for as long as it runs. */
static void retired_reasons(struct pair *pair) {
        reason(pair, "it was taken out of the policy: its applications are stopped and their memory comes back");
        for (enum side side = 0; side < SIDE_MAX && retired_holds(pair); side++)
                if (pair->members[side].domain == DOMAIN_RUNNING && !pair->members[side].configured)
                        reason(pair, "%s: what it still has comes back when its agent answers, or with its end: virsh "
                               "destroy %s", pair_domain(pair, side), pair_domain(pair, side));
}

static bool anything_known(const struct step *step) {
        for (enum side side = 0; side < SIDE_MAX; side++)
                if (step->pair->members[side].domain == DOMAIN_UNKNOWN)
                        return false;
        return true;
}

static bool running_somewhere(const struct pair *pair) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->apps[i].state[pair->record.apps[i].owner] == APPLICATION_RUNNING)
                        return true;
        return false;
}

static enum pair_state judge_state(struct step *step) {
        struct pair *pair = step->pair;

        if (pair_flow_active(pair))
                return PAIR_FAILOVER;
        if (pair->record.held)
                return PAIR_HELD;
        if (!step->engine->hypervisor_up || !anything_known(step))
                return PAIR_UNKNOWN;
        if (pair->n_reasons == 0)
                return PAIR_ARMED;
        return running_somewhere(pair) || pair->armed_usec ? PAIR_UNPROTECTED : PAIR_STARTING;
}

static void collect_reasons(struct step *step) {
        struct pair *pair = step->pair;

        pair->n_reasons = 0;
        if (!step->engine->hypervisor_up)
                reason(pair, "libvirt does not answer; guests run on untouched, state is as last seen");
        if (pair->policy->retired)
                retired_reasons(pair);
        if (pair->record.held)
                reason(pair, "held: %s", pair->record.held_reason);
        if (pair->record.paused)
                reason(pair, "paused%s%s; failoverctl resume %s", pair->record.pause_reason[0] ? ": " : "",
                       pair->record.pause_reason, pair->policy->name);
        for (enum side side = 0; side < SIDE_MAX; side++)
                member_reasons(pair, side, step->now);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                app_reasons(step, (int) i);
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                for (enum side side = 0; side < SIDE_MAX; side++)
                        if (pair->apps[i].mismatch[side])
                                reason(pair,
                                       "%s: more memory is plugged on %s than the table grants; find out by whom, then "
                                       "virsh update-memory-device",
                                       pair->policy->applications[i].name, pair_domain(pair, side));
        if (pair->unsettled && !pair->record.held)
                reason(pair, "where its applications run is not known before both VMs have been looked at");
        if (pair->store_late)
                reason(pair, "the store is not written in time; a power loss now may forget the latest owner");
}

static void update_readiness(struct step *step) {
        struct pair *pair = step->pair;
        uint64_t unused = table_unused(&step->engine->table);
        struct readiness readiness;

        if (!step->changed && unused == pair->readiness_unused_bytes &&
            step->now - pair->readiness_asked_usec < READINESS_USEC)
                return;
        readiness_list(step->engine, pair, &readiness);
        pair->readiness_asked_usec = step->now;
        pair->readiness_unused_bytes = unused;
        if (readiness.level == pair->readiness)
                return;
        pair->readiness = readiness.level;
        pair->readiness_usec = step->now;
        step->changed = true;
}

static void update_state(struct step *step) {
        struct pair *pair = step->pair;
        enum pair_state state;

        collect_reasons(step);
        state = judge_state(step);
        if (pair->state_usec == 0) /* that nothing is known has an age, too */
                pair->state_usec = step->now;
        if (state == pair->state)
                return;
        step->changed = true;
        if (state == PAIR_ARMED) {
                pair->armed_usec = step->now;
                step_say(step, RECORD_ARMED, pair_active(pair), "%s is armed: %s active, %s standby",
                         pair->policy->name, pair_domain(pair, pair_active(pair)),
                         pair_domain(pair, side_other(pair_active(pair))));
                if (pair->rejoin_pending) {
                        struct action *action =
                                update_add(step->update, ACTION_PHASE, pair->slot, SIDE_INVALID, NO_APP);

                        pair->rejoin_pending = false;
                        pair->last_flow.phase_usec[PHASE_REJOINED] = step->now;
                        action->phase = PHASE_REJOINED;
                        action->flow = pair->last_flow;
                }
        } else if (pair->state == PAIR_ARMED && state != PAIR_FAILOVER)
                step_say(step, RECORD_UNPROTECTED, SIDE_INVALID, "%s is not protected: %s", pair->policy->name,
                         pair->n_reasons ? pair->reasons[0] : "state not known");
        pair->state = state;
        pair->state_usec = step->now;
}

void pair_judge(struct step *step) {
        update_state(step);
        update_readiness(step);
}
