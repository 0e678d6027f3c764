/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One VM is told what it runs, and gets the size that the table says. */

#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define INSPECT_DEADLINE_USEC (5 * USEC_PER_SEC)
#define MISMATCH_USEC (5 * USEC_PER_SEC) /* a guest may take so long to follow a request */
#define RELEASE_POLL_USEC (250 * USEC_PER_MSEC)
#define RESTING_USEC (5 * USEC_PER_SEC) /* what a guest has not given up by then it keeps for now */
#define RESTING_POLL_USEC (5 * USEC_PER_SEC)
#define MISMATCH_POLL_USEC (1 * USEC_PER_SEC)
/* An agent is asked again so often whether it could start an application; pairs a little apart from each other. */
#define CHECK_AGAIN_USEC (30 * USEC_PER_SEC)
#define CHECK_APART_USEC (1 * USEC_PER_SEC)
#define CHECK_UNANSWERED_MAX 3 /* in a row; what it said before is not believed any longer */

/* ---- told what it runs ---------------------------------------------------------------------------------- */

static void fill_spec(struct application_spec *spec, const struct application *policy, enum side side, int node) {
        *spec = (struct application_spec) {
                .node = node,
                .memory_bytes = policy->memory_bytes,
                .run = policy->sides[side], /* borrowed; the message is encoded before the policy can change */
                .stop_timeout_usec = policy->stop_timeout_usec,
                .health_interval_usec = policy->health_interval_usec,
                .health_timeout_usec = policy->health_timeout_usec,
                .health_failures = policy->health_failures,
                .health_grace_usec = policy->health_grace_usec,
                .canary_timeout_usec = policy->canary_timeout_usec,
                .n_addresses = policy->n_addresses,
        };
        snprintf(spec->app, sizeof(spec->app), "%s", policy->name);
        memcpy(spec->addresses, policy->addresses, sizeof(spec->addresses));
}

static void configure(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        struct action *action = update_add(step->update, ACTION_CONFIGURE, pair->slot, side, NO_APP);

        action->id = 0;
        member->configured = true;
        if (!member->operator_hold)
                detector_start(&member->detector, step->now);
        step->again = step->changed = true;
}

size_t pair_fill_configure(const struct pair *pair, enum side side, struct application_spec *specs) {
        const struct preflight *preflight = &pair->members[side].preflight;
        size_t n = 0;

        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                const struct application_side *run = &pair->policy->applications[i].sides[side];

                if (!run->unit && run->start.n_words == 0)
                        continue; /* a plain one stays on its side */
                fill_spec(&specs[n++], &pair->policy->applications[i], side,
                          preflight->apps[i].present ? preflight->apps[i].node : -1);
        }
        return n;
}

/* What it has said once may not be so any more: its guest lost its systemd, or the program. */
static void ask_check(struct step *step, enum side side, int app) {
        struct pair *pair = step->pair;
        struct app_state *a = &pair->apps[app];
        usec_t again = a->checked_usec[side] + CHECK_AGAIN_USEC + (usec_t) (pair->slot % 8) * CHECK_APART_USEC;

        if (request_expire(step, &a->check[side], pair->policy->act_timeout_usec) && a->checked[side] &&
            a->check[side].failures >= CHECK_UNANSWERED_MAX) {
                a->checked[side] = false;
                step->again = step->changed = true;
        }
        if (a->checked[side] && a->check[side].id == 0) {
                if (pair_flow_active(pair))
                        return;
                if (step->now < again) {
                        step_wake_between(step, again, again + pair->policy->beat_usec);
                        return;
                }
        }
        if (request_free(step, &a->check[side]))
                step_ask(step, side, MESSAGE_CHECK, app, &a->check[side]);
}

void advance_agent(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!member->greeted || member->domain == DOMAIN_SHUTOFF)
                return;
        if (!member->configured) {
                if (member->preflight_usec)
                        configure(step, side);
                return;
        }
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner != side)
                        ask_check(step, side, (int) i);
}

/* ---- of the right size ---------------------------------------------------------------------------------- */

/* False: nothing is to be asked for now. */
static bool wanted_bytes(const struct step *step, enum side side, int app, uint64_t *ret_bytes) {
        const struct record_app *record = &step->pair->record.apps[app];

        if ((record->releasing[side] && record->using_bytes[side]) || handover_stood_in_for(step, app, side))
                return handover_wanted(step, app, side, ret_bytes);
        *ret_bytes = record->granted_bytes[side];
        if (record->releasing[side])
                *ret_bytes = pair_is_memory(step->pair, app) ? assigned_target(step->engine, step->pair, app, side) : 0;
        return true;
}

/* The owner's VM has more of the region than the table knows: what was given out was not written down before
 * failoverd ended. The table takes it in, loudly, where the pool covers it. */
static bool adopt_plugged(struct step *step, enum side side, int app) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        uint64_t plugged = pair->members[side].plugged_bytes[app], more = plugged - record->granted_bytes[side];

        if (record->owner != side || record->ended || record->moving || pair_is_memory(pair, app) ||
            plugged > pair->policy->applications[app].memory_bytes ||
            table_grant_application(&step->engine->table, pair_holder(pair, side), app, more) < 0)
                return false;
        record->granted_bytes[side] = plugged;
        pair_dirty(pair);
        step_say(step, RECORD_TABLE_MISMATCH, side,
                 "%s has %llu MiB more of ua-%s plugged than was recorded; the table takes it in",
                 pair_domain(pair, side), (unsigned long long) (more / MIB), pair->policy->applications[app].name);
        step->again = true;
        return true;
}

/* What is given out is to be known after a crash. A rehearsal can wait for it, and what is left of one is only given
 * back. */
static bool may_grow(struct step *step, enum side side, int app) {
        const struct record_app *record = &step->pair->record.apps[app];

        if (record->owner == side || record->moving || pair_is_memory(step->pair, app))
                return pair_step_written(step);
        return record->rehearsed && pair_step_safe(step->pair);
}

static void resize(struct step *step, enum side side, int app) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        struct action *action;
        uint64_t wanted;

        if (!member->preflight.apps[app].present || !wanted_bytes(step, side, app, &wanted))
                return;
        if (member->plugged_bytes[app] <= wanted)
                pair->apps[app].mismatch[side] = false;
        else if (member->requested_known[app] && member->requested_bytes[app] == wanted &&
                 !pair->record.apps[app].releasing[side] && step->now - member->resize[app].sent_usec > MISMATCH_USEC)
                member->requested_known[app] = false; /* more than was asked for, and not for want of time */
        if (member->requested_known[app] && member->requested_bytes[app] == wanted)
                return;
        if (!pair->record.apps[app].releasing[side] && member->plugged_bytes[app] > wanted) {
                /* More than the table says: an alarm, and no silent correction. It may be in use, unless the agent
                 * says that the application, which is not to run here, does not. */
                enum application_state state = pair->apps[app].state[side];
                bool unused = member->configured &&
                              (pair->record.apps[app].owner != side || pair->record.apps[app].ended ||
                               pair_is_memory(pair, app)) &&
                              (state == APPLICATION_STOPPED || state == APPLICATION_FAILED);

                if (adopt_plugged(step, side, app))
                        return;
                if (!pair->apps[app].mismatch[side])
                        step_say(step, RECORD_TABLE_MISMATCH, side,
                                 "%s has %llu MiB of ua-%s plugged, the table grants %llu MiB; %s",
                                 pair_domain(pair, side), (unsigned long long) (member->plugged_bytes[app] / MIB),
                                 pair->policy->applications[app].name, (unsigned long long) (wanted / MIB),
                                 unused ? "it is not in use there and is taken back"
                                        : "left as it is while it may be in use");
                pair->apps[app].mismatch[side] = true;
                if (!unused)
                        return;
        }
        if (wanted > member->plugged_bytes[app] && !may_grow(step, side, app))
                return;
        if (!request_free(step, &member->resize[app]))
                return;
        action = step_act(step, ACTION_RESIZE, side, app, &member->resize[app], pair->policy->act_timeout_usec);
        action->bytes = wanted;
        member->requested_bytes[app] = wanted;
}

/* Processors that the VM's applications take along. They are taken from a living VM only under KVM (QEMU 7.2 dies of it
 * under emulation, where a VM gives them up when it is rebuilt), and only what is known to have been plugged for them:
 * after failoverd's start a VM has what it has, and what its persistent XML says by now is for its next life. libvirt
 * waits for the guest to let go of them, and for some seconds nothing else can be asked of the VM: not while a flow is
 * under way, and not again of a guest that did not. */
static void set_vcpus(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        unsigned wanted;
        struct action *action;
        bool more;

        if (member->vcpus == 0)
                member->vcpus = member->vcpus_base = member->preflight.vcpus;
        wanted = member->vcpus_base;
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].granted_bytes[side] > 0 && pair->record.apps[i].owner == side)
                        wanted += pair->policy->applications[i].vcpus;
        if (wanted > member->preflight.vcpus_max)
                wanted = member->preflight.vcpus_max;
        more = wanted > member->vcpus;
        if (wanted == member->vcpus || !request_free(step, &member->vcpu))
                return;
        if (!more && (!member->preflight.kvm || member->vcpus_stay || wanted < member->vcpus_base ||
                      pair_flow_active(pair)))
                return;
        action = step_act(step, more ? ACTION_VCPUS : ACTION_TAKE_VCPUS, side, NO_APP, &member->vcpu,
                          pair->policy->act_timeout_usec);
        action->count = wanted;
        member->vcpus = wanted;
}

static void look_again(struct step *step, enum side side, usec_t every_usec) {
        struct member_state *member = &step->pair->members[side];

        if (member->inspect.id == 0 && step->now - member->inspect.sent_usec >= every_usec)
                step_act(step, ACTION_INSPECT, side, NO_APP, &member->inspect, INSPECT_DEADLINE_USEC);
        step_wake(step, step->now + every_usec);
}

/* An old user has given up what its guest was asked for, or cannot be asked for anything now, and keeps the rest as
 * long as that is in use there. */
static bool rests(const struct step *step, enum side side, int app) {
        const struct member_state *member = &step->pair->members[side];
        uint64_t wanted;

        if (!wanted_bytes(step, side, app, &wanted))
                return member->plugged_usec[app] && step->now - member->resize[app].sent_usec > RESTING_USEC;
        return member->requested_known[app] && member->requested_bytes[app] > 0 &&
               member->plugged_bytes[app] <= member->requested_bytes[app];
}

void advance_memory(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!step->engine->hypervisor_up || member->domain != DOMAIN_RUNNING || member->preflight_usec == 0 ||
            pair->record.fence_wanted[side] || pair->unsettled || member_is_gone(member))
                return;
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                bool awaited = pair_is_memory(pair, (int) i) && step->engine->assigning.plan.running &&
                               member->plugged_bytes[i] < pair->record.apps[i].granted_bytes[side];

                resize(step, side, (int) i);
                if (awaited || (pair->record.apps[i].releasing[side] && !rests(step, side, (int) i)))
                        look_again(step, side, RELEASE_POLL_USEC); /* QEMU tells sizes once a second */
                else if (pair->record.apps[i].releasing[side])
                        look_again(step, side, RESTING_POLL_USEC);
                else if (pair->apps[i].mismatch[side]) /* it may be over, and was told before a look that knew less */
                        look_again(step, side, MISMATCH_POLL_USEC);
        }
        set_vcpus(step, side);
}
