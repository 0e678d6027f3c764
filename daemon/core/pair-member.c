/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Goals of one VM: known, watched, fenced when it must not act, rebuilt when it is gone, told what it runs, and
 * of the size that the table says. */

#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"

#define INSPECT_EVERY_USEC (30 * USEC_PER_SEC)
#define LOOK_AGAIN_USEC (30 * USEC_PER_SEC) /* at the XML of a pair that is not armed */
#define INSPECT_DEADLINE_USEC (5 * USEC_PER_SEC)
/* A freeze takes a few milliseconds; a QEMU that has not answered by then is ended without asking. */
#define FREEZE_DEADLINE_USEC (100 * USEC_PER_MSEC)
#define KILL_DEADLINE_USEC (1 * USEC_PER_SEC)
#define KILL_AGAIN_USEC (1 * USEC_PER_SEC)
/* How long fencing waits for the intent to be written before it goes ahead: the write takes well under a
 * millisecond unless something is very wrong, and a freeze can be undone. */
#define INTENT_WAIT_USEC (50 * USEC_PER_MSEC)
#define FENCE_UNCONFIRMED_USEC (5 * USEC_PER_SEC)
#define START_DEADLINE_USEC (60 * USEC_PER_SEC)
/* A guest that has booted but whose agent never speaks is built anew after so long. */
#define GREETING_USEC (300 * USEC_PER_SEC)
/* So long both its agent and its kernel have to be silent where the guest was running before we looked. */
#define FOUND_SILENT_USEC (10 * USEC_PER_SEC)
/* A failed VM whose applications may still go elsewhere is not started anew before. */
#define REBUILD_GRACE_USEC (5 * USEC_PER_SEC)
#define REBUILD_PAUSE_USEC (1 * USEC_PER_SEC) /* doubled with each start that led to no greeting */
#define REBUILD_PAUSE_MAX_USEC (120 * USEC_PER_SEC)
#define MISMATCH_USEC (5 * USEC_PER_SEC) /* a guest may take so long to follow a request */
#define RELEASE_POLL_USEC (250 * USEC_PER_MSEC)

/* ---- watched -------------------------------------------------------------------------------------------- */

static void ask_for_facts(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t due;

        if (!step->engine->hypervisor_up)
                return;
        due = member->domain_usec ? member->domain_usec + INSPECT_EVERY_USEC : 0;
        if (member->gone_wait_usec)
                due = 0;
        if (due > step->now)
                step_wake(step, due);
        else if (request_free(step, &member->inspect))
                step_act(step, ACTION_INSPECT, side, NO_APP, &member->inspect, INSPECT_DEADLINE_USEC);
        if (member->preflight_usec && step->pair->state != PAIR_ARMED && step->pair->state != PAIR_FAILOVER) {
                /* What it found amiss may have been mended since. */
                due = member->preflight_usec + LOOK_AGAIN_USEC;
                if (due > step->now) {
                        step_wake(step, due);
                        return;
                }
        } else if (member->preflight_usec)
                return;
        if (member->domain != DOMAIN_UNKNOWN && request_free(step, &member->look))
                step_act(step, ACTION_PREFLIGHT, side, NO_APP, &member->look, INSPECT_DEADLINE_USEC);
}

/* The process went and nobody said why: after the wait it counts as a failure. While libvirt is away nobody can
 * say, and nothing could be started elsewhere either. */
static void judge_gone(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];

        if (member->gone_wait_usec == 0 || !step->engine->hypervisor_up)
                return;
        if (step->now < member->gone_wait_usec) {
                step_wake(step, member->gone_wait_usec);
                return;
        }
        member->gone_wait_usec = 0;
        member_fail(step, side, "its QEMU process is gone");
        if (member->failure_usec == step->now)
                member->failure_usec = member->process_gone_usec; /* known since then */
}

/* Paused, and nothing else followed: an operator's doing. */
static void judge_pause(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        const char *vm = pair_domain(step->pair, side);

        if (member->pause_wait_usec == 0 || step->pair->record.fence_wanted[side])
                return;
        if (step->now < member->pause_wait_usec) {
                step_wake(step, member->pause_wait_usec);
                return;
        }
        member->pause_wait_usec = 0;
        member->operator_hold = true;
        detector_stop(&member->detector);
        step_say(step, RECORD_IGNORED, side, "%s was suspended (%s), not by failoverd: nothing is done; virsh resume %s to go on",
                 vm, domain_reason_to_string(member->reason), vm);
}

static unsigned *suspects(struct step *step) {
        return &step->engine->n_suspected;
}

/* Many silent at once: the host is the suspect. Held back for one more full look; and when it comes back, guests
 * answer one after the other, so that those that are still silent then get one too. */
static bool mass_silence(struct step *step, struct member_state *member) {
        struct pair *pair = step->pair;
        struct engine *engine = step->engine;
        usec_t look = pair->policy->beat_usec * pair->policy->beats_missed + pair->policy->confirm_usec;
        usec_t until = engine->mass_usec + look;

        if (engine->n_suspected >= 2 && engine->n_suspected * 2 > engine->n_watched) {
                if (engine->mass_usec == 0 || step->now >= until)
                        step_say(step, RECORD_DOUBT, SIDE_INVALID,
                                 "%u of %u guests are silent at once: the host itself is the suspect; looking again before anything is done",
                                 engine->n_suspected, engine->n_watched);
                engine->mass_usec = step->now;
                if (member->mass_hold_usec == 0)
                        member->mass_hold_usec = step->now;
                until = member->mass_hold_usec + 2 * look;
        } else if (engine->mass_usec == 0) {
                member->mass_hold_usec = 0;
                return false;
        }
        if (step->now >= until)
                return false;
        step_wake(step, until);
        return true;
}

static bool suspicious(enum verdict verdict) {
        return verdict == VERDICT_SUSPECTED || verdict == VERDICT_HUNG;
}

static void verdict_changed(struct step *step, enum side side, enum verdict before, enum verdict now) {
        struct member_state *member = &step->pair->members[side];
        const char *vm = pair_domain(step->pair, side);

        if (member->failure[0] || step->pair->record.fence_wanted[side])
                step->changed = true; /* what is known of it is worse than that */
        else if (suspicious(now) && !suspicious(before))
                step_say(step, RECORD_SUSPECTED, side, "%s: %u heartbeats are missing; asking its kernel", vm,
                         member->detector.beats_missed);
        else if (now == VERDICT_SILENT)
                step_say(step, RECORD_IGNORED, side, "%s: its agent is silent but its kernel answers: no failure of the system",
                         vm);
        else if (now == VERDICT_ALIVE && before != VERDICT_UNKNOWN)
                step_say(step, RECORD_CLEARED, side, "%s: answers again", vm);
        step->changed = true;
}

void member_leave(struct step *step, enum side side) {
        struct detector *detector = &step->pair->members[side].detector;

        if (step->pair->members[side].counted_suspect)
                step->engine->n_suspected--;
        if (step->pair->members[side].counted_watched)
                step->engine->n_watched--;
        step->pair->members[side].counted_suspect = step->pair->members[side].counted_watched = false;
        detector_stop(detector);
}

/* Keeps the engine's counts of watched and suspected members. */
static void count_member(struct step *step, struct member_state *member) {
        bool watched = member->detector.watching, suspect = watched && suspicious(member->detector.verdict);

        if (watched != member->counted_watched) {
                step->engine->n_watched += watched ? 1 : (unsigned) -1;
                member->counted_watched = watched;
        }
        if (suspect != member->counted_suspect) {
                *suspects(step) += suspect ? 1 : (unsigned) -1;
                member->counted_suspect = suspect;
        }
}

/* A failure that nothing could be done about (paused, libvirt away) and that is over: the guest answers again. */
static void forget_failure(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        bool answers = member->greeted_usec > member->failure_usec ||
                       (member->detector.verdict == VERDICT_ALIVE && member->detector.last_pong_usec > member->failure_usec);

        if (member->failure[0] == 0 || !answers || member->domain != DOMAIN_RUNNING || !member->process_alive ||
            member->fence != FENCE_NONE || step->pair->record.fence_wanted[side])
                return;
        step_say(step, RECORD_CLEARED, side, "%s answers again; what was seen of it before (%.120s) is over",
                 pair_domain(step->pair, side), member->failure);
        member->failure[0] = 0;
        step->pair->blocked[0] = 0;
        step->again = true;
}

void advance_watch(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        struct detector_wants wants;
        enum verdict before = member->detector.verdict, now;

        ask_for_facts(step, side);
        judge_gone(step, side);
        judge_pause(step, side);
        forget_failure(step, side);

        now = detector_look(&member->detector, step->now, step->engine->void_usec, &wants);
        count_member(step, member);
        step_wake(step, wants.wake_usec);
        if (wants.ping)
                step_send(step, side, MESSAGE_PING, NO_APP)->nonce = member->detector.nonce;
        if (wants.probe)
                update_add(step->update, ACTION_PROBE, pair->slot, side, NO_APP);
        if (now != before)
                verdict_changed(step, side, before, now);
        if (now != VERDICT_HUNG) {
                if (now == VERDICT_ALIVE && pair->members[side_other(side)].detector.verdict != VERDICT_HUNG)
                        member->mass_hold_usec = 0;
                return;
        }
        if (mass_silence(step, member))
                return;
        member_fail(step, side, "guest hang: neither its agent nor its kernel has answered for %llu ms",
                    (unsigned long long) (detector_silence(&member->detector, step->now) / USEC_PER_MSEC));
        count_member(step, member);
}

/* ---- fenced --------------------------------------------------------------------------------------------- */

static void fence_enter(struct step *step, enum side side, enum fence_state state) {
        struct member_state *member = &step->pair->members[side];

        if (member->fence == state)
                return;
        member->fence = state;
        member->fence_usec = step->now;
        member->fence_late = false;
        step->again = step->changed = true;
        if (state == FENCE_GONE)
                step_say(step, RECORD_FENCED, side, "%s is fenced: its process is gone", pair_domain(step->pair, side));
}

static bool process_is_gone(const struct member_state *member) {
        return member->process_known && !member->process_alive;
}

static void fence_kill(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];

        /* The signal was taken; the process takes a while to go. */
        if (member->kill.failures == 0 && member->kill.sent_usec >= member->fence_usec &&
            step->now - member->kill.sent_usec < KILL_AGAIN_USEC) {
                step_wake(step, member->kill.sent_usec + KILL_AGAIN_USEC);
                return;
        }
        if (!request_free(step, &member->kill))
                return;
        step_act(step, ACTION_KILL, side, NO_APP, &member->kill, KILL_DEADLINE_USEC);
}

static void fence_begin(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        struct action *evidence;

        if (!pair_step_safe(pair)) {
                usec_t until = member->fence_usec + INTENT_WAIT_USEC;

                if (step->now < until) {
                        step_wake(step, until);
                        return;
                }
        }
        if (!request_free(step, &member->freeze))
                return;
        evidence = update_add(step->update, ACTION_EVIDENCE, pair->slot, side, NO_APP);
        snprintf(evidence->text, sizeof(evidence->text), "%s",
                 flow_id(pair->policy, &pair->record.flow, (char[FAILOVER_ID_LEN]){ 0 }));
        step_act(step, ACTION_FREEZE, side, NO_APP, &member->freeze, FREEZE_DEADLINE_USEC);
        fence_enter(step, side, FENCE_FREEZING);
}

/* Makes certain that a VM can act no more: freeze it (QEMU confirms that its processors are stopped and its disks
 * drained), end it at once, and believe only the process that is seen to be gone. */
void advance_fence(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!pair->record.fence_wanted[side])
                return;
        if (process_is_gone(member)) {
                fence_enter(step, side, FENCE_GONE);
                return;
        }
        switch (member->fence) {
        case FENCE_NONE:
        case FENCE_GONE: /* it came back */
                if (member->fence == FENCE_GONE)
                        fence_enter(step, side, FENCE_NONE);
                if (member->fence_usec == 0)
                        member->fence_usec = step->now;
                fence_begin(step, side);
                break;
        case FENCE_FREEZING:
                break; /* its answer or deadline comes */
        case FENCE_FROZEN:
        case FENCE_KILLING:
        case FENCE_FAILED:
                fence_kill(step, side);
                if (step->now - member->fence_usec < FENCE_UNCONFIRMED_USEC)
                        step_wake(step, member->fence_usec + FENCE_UNCONFIRMED_USEC);
                else if (member->fence == FENCE_FROZEN && !member->fence_late) {
                        member->fence_late = step->again = true;
                        step_say(step, RECORD_FENCE_FAILED, side,
                                 "%s is frozen and can act no more, but its QEMU (pid %d) does not end: the disks that it holds stay there",
                                 pair_domain(pair, side), member->pid);
                } else if (member->fence == FENCE_KILLING) {
                        fence_enter(step, side, FENCE_FAILED);
                        step_say(step, RECORD_FENCE_FAILED, side,
                                 "%s is not proven stopped (QEMU pid %d); nothing that it may hold is started elsewhere before it is",
                                 pair_domain(pair, side), member->pid);
                }
                step_wake(step, step->now + USEC_PER_SEC);
                break;
        default:
                break;
        }
}

/* ---- rebuilt -------------------------------------------------------------------------------------------- */

/* A flow that still works towards its start comes first: booting a VM beside it would only slow it down. */
static bool recovery_comes_first(const struct pair *pair) {
        return pair_flow_active(pair) && pair->record.flow.phase_usec[PHASE_STARTED] == 0 &&
               member_usable(pair, pair->record.flow.to);
}

static bool owns_hot(const struct pair *pair, enum side side) {
        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair_is_hot(pair, (int) i) && pair->record.apps[i].owner == side)
                        return true;
        return false;
}

/* A guest on its announced way down is waited for so long; then it counts as failed. */
static bool still_waited_for(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t until;

        if (member->failure[0] || step->pair->record.fence_wanted[side])
                member->going_usec = 0; /* it failed on its way down: it is rebuilt as any other */
        if (member->going_usec == 0)
                return false;
        if (member->domain == DOMAIN_SHUTOFF && strcmp(member->going, "reboot") == 0)
                return false; /* on_reboot is destroy, so that a reboot does not take its memory back: start it */
        until = member->going_usec + step->pair->policy->guest_stop_timeout_usec;
        if (step->now < until) {
                step_wake(step, until);
                return true;
        }
        member->going_usec = 0;
        member_fail(step, side, "the guest announced its %s and has not come back in time", member->going);
        return true; /* where its applications go is decided first */
}

/* A guest whose agent has not greeted, or not since its link was lost, and that nobody watches: it may have hung
 * before failoverd looked. Only its kernel can tell; silent for long by a way that is known to have worked, it counts as hung. */
static void watch_found(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t silence = detector_silence(&member->detector, step->now), since;

        if (member->greeted || member->detector.watching || !member->process_alive || member->domain != DOMAIN_RUNNING || member->failure[0] ||
            member->going_usec || step->pair->record.fence_wanted[side]) {
                member->found_usec = 0;
                return;
        }
        if (member->found_usec == 0)
                member->found_usec = step->now;
        if (step->now >= member->detector.next_probe_usec) {
                member->detector.next_probe_usec = step->now + USEC_PER_SEC;
                update_add(step->update, ACTION_PROBE, step->pair->slot, side, NO_APP);
        }
        step_wake(step, member->detector.next_probe_usec);
        since = member->found_usec > step->engine->void_usec ? member->found_usec : step->engine->void_usec;
        if (silence == USEC_INFINITY || silence < FOUND_SILENT_USEC || step->now - since < FOUND_SILENT_USEC)
                return;
        member_fail(step, side, "it runs, but neither its agent nor its kernel has answered for %u s",
                    (unsigned) (silence / USEC_PER_SEC));
}

static void watch_greeting(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t since = member->process_alive && member->greeted_usec < member->started_usec ? member->started_usec : 0;

        if (since == 0 || member->greeted || member->failure[0])
                return;
        if (step->now - since < GREETING_USEC) {
                step_wake(step, since + GREETING_USEC);
                return;
        }
        member_fail(step, side, "it was started, but no agent has answered for %u s",
                    (unsigned) (GREETING_USEC / USEC_PER_SEC));
}

/* What was wrong with the old life ends with it: the process of the new one may be seen before libvirt says that
 * the domain runs, and must not be taken for the old one. */
static void begin_life(struct member_state *member) {
        member->failure[0] = 0;
        member->fence = FENCE_NONE;
        member->preflight_usec = 0;
        member->going_usec = 0;
}

/* The side that would take over lives, but is out of reach for a moment (its agent's link was cut, failoverd has just
 * come up): a failover is much quicker than a boot, so it gets a little time. */
static bool failover_may_follow(struct step *step, enum side side) {
        const struct member_state *member = &step->pair->members[side];
        const struct member_state *other = &step->pair->members[side_other(side)];
        usec_t until = member->failure_usec + REBUILD_GRACE_USEC;

        if (member->failure[0] == 0 || !owns_hot(step->pair, side) || !other->process_alive || other->failure[0] ||
            other->operator_hold || step->now >= until)
                return false;
        step_wake(step, until);
        return true;
}

/* A VM that is built anew again and again without its agent ever speaking is given more time each time. */
static bool rebuilt_often(struct step *step, enum side side) {
        const struct member_state *member = &step->pair->members[side];
        usec_t pause, until;

        if (member->rebuilds == 0)
                return false;
        pause = member->rebuilds >= 7 ? REBUILD_PAUSE_MAX_USEC : REBUILD_PAUSE_USEC << member->rebuilds;
        until = member->started_usec + pause;
        if (step->now >= until)
                return false;
        step_wake(step, until);
        return true;
}

/* A failed VM that no flow fences is fenced for its own rebuilding; a VM that is gone is started as a small
 * standby, with nothing requested. */
void advance_rebuild(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!step->engine->hypervisor_up || pair->record.paused || pair->record.held || member->operator_hold ||
            pair->policy->retired)
                return;
        watch_greeting(step, side);
        watch_found(step, side);
        if (member->domain == DOMAIN_RUNNING && !pair->record.fence_wanted[side] && member->failure[0] == 0) {
                if (member->going_usec)
                        still_waited_for(step, side);
                return;
        }
        if (still_waited_for(step, side) || recovery_comes_first(pair))
                return;
        if (member->failure[0] && !pair->record.fence_wanted[side] && !process_is_gone(member)) {
                pair->record.fence_wanted[side] = true;
                member->fence_usec = step->now;
                pair_dirty(pair);
                step->again = true;
                return;
        }
        if (member->domain != DOMAIN_SHUTOFF || !process_is_gone(member)) {
                /* libvirt has not reaped it yet, does not know it, or gave up on a process that lives: look again */
                if (member->inspect.id == 0 && step->now - member->inspect.sent_usec >= RELEASE_POLL_USEC)
                        step_act(step, ACTION_INSPECT, side, NO_APP, &member->inspect, INSPECT_DEADLINE_USEC);
                step_wake(step, step->now + USEC_PER_SEC);
                return;
        }
        if (pair->record.fence_wanted[side]) {
                if (member->fence != FENCE_GONE)
                        return;
                pair->record.fence_wanted[side] = pair->record.fence_frozen[side] = false;
                pair_dirty(pair);
        }
        if (member->failure[0] && owns_hot(pair, side) && pair_too_early(step, side_other(side)))
                return; /* its applications may go elsewhere; a new life would forget that it failed */
        if (member->freeze.id != 0)
                return; /* asked of the old life and still on its way: it would stop the new one */
        if (failover_may_follow(step, side) || rebuilt_often(step, side))
                return;
        if (!request_free(step, &member->start))
                return;
        step_act(step, ACTION_START_DOMAIN, side, NO_APP, &member->start, START_DEADLINE_USEC);
        begin_life(member);
        member->started_usec = step->now;
}

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

static void ask_check(struct step *step, enum side side, int app) {
        struct app_state *a = &step->pair->apps[app];

        request_expire(step, &a->check[side], step->pair->policy->act_timeout_usec);
        if (!a->checked[side] && request_free(step, &a->check[side]))
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

static uint64_t wanted_bytes(const struct pair *pair, enum side side, int app) {
        return pair->record.apps[app].releasing[side] ? 0 : pair->record.apps[app].granted_bytes[side];
}

/* The owner's VM has more of the region than the table knows: what was given out was not written down before
 * failoverd ended. The table takes it in, loudly, where the pool covers it. */
static bool adopt_plugged(struct step *step, enum side side, int app) {
        struct pair *pair = step->pair;
        struct record_app *record = &pair->record.apps[app];
        uint64_t plugged = pair->members[side].plugged_bytes[app], more = plugged - record->granted_bytes[side];

        if (record->owner != side || record->ended || record->moving || plugged > pair->policy->applications[app].memory_bytes ||
            table_grant(&step->engine->table, pair_holder(pair, side), more) < 0)
                return false;
        record->granted_bytes[side] = plugged;
        pair_dirty(pair);
        step_say(step, RECORD_TABLE_MISMATCH, side, "%s has %llu MiB more of ua-%s plugged than was recorded; the table takes it in",
                 pair_domain(pair, side), (unsigned long long) (more / MIB), pair->policy->applications[app].name);
        step->again = true;
        return true;
}

static void resize(struct step *step, enum side side, int app) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        uint64_t wanted = wanted_bytes(pair, side, app);
        struct action *action;

        if (!member->preflight.apps[app].present)
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
                bool unused = member->configured && (pair->record.apps[app].owner != side || pair->record.apps[app].ended) &&
                              (state == APPLICATION_STOPPED || state == APPLICATION_FAILED);

                if (adopt_plugged(step, side, app))
                        return;
                if (!pair->apps[app].mismatch[side])
                        step_say(step, RECORD_TABLE_MISMATCH, side,
                                 "%s has %llu MiB of ua-%s plugged, the table grants %llu MiB; %s",
                                 pair_domain(pair, side), (unsigned long long) (member->plugged_bytes[app] / MIB),
                                 pair->policy->applications[app].name, (unsigned long long) (wanted / MIB),
                                 unused ? "it is not in use there and is taken back" : "left as it is while it may be in use");
                pair->apps[app].mismatch[side] = true;
                if (!unused)
                        return;
        }
        if (wanted > member->plugged_bytes[app] && !pair_step_written(step))
                return; /* what is given out is to be known after a crash */
        if (!request_free(step, &member->resize[app]))
                return;
        action = step_act(step, ACTION_RESIZE, side, app, &member->resize[app], pair->policy->act_timeout_usec);
        action->bytes = wanted;
        member->requested_bytes[app] = wanted;
}

static void plug_vcpus(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];
        unsigned wanted = member->preflight.vcpus;
        struct action *action;

        for (size_t i = 0; i < pair->policy->n_applications; i++)
                if (pair->record.apps[i].granted_bytes[side] > 0 && pair->record.apps[i].owner == side)
                        wanted += pair->policy->applications[i].vcpus;
        if (wanted > member->preflight.vcpus_max)
                wanted = member->preflight.vcpus_max;
        if (member->vcpus == 0)
                member->vcpus = member->preflight.vcpus;
        /* Processors are not taken from a living VM: QEMU 7.2 dies of it under emulation. A VM that lost its
         * applications gives them up when it is rebuilt. */
        if (wanted <= member->vcpus || !request_free(step, &member->vcpu))
                return;
        action = step_act(step, ACTION_VCPUS, side, NO_APP, &member->vcpu, pair->policy->act_timeout_usec);
        action->count = wanted;
        member->vcpus = wanted;
}

void advance_memory(struct step *step, enum side side) {
        struct pair *pair = step->pair;
        struct member_state *member = &pair->members[side];

        if (!step->engine->hypervisor_up || member->domain != DOMAIN_RUNNING || member->preflight_usec == 0 ||
            pair->record.fence_wanted[side] || pair->unsettled || (member->process_known && !member->process_alive))
                return;
        for (size_t i = 0; i < pair->policy->n_applications; i++) {
                resize(step, side, (int) i);
                if (!pair->record.apps[i].releasing[side])
                        continue;
                /* QEMU tells sizes once a second; a look tells sooner. */
                if (member->inspect.id == 0 && step->now - member->inspect.sent_usec >= RELEASE_POLL_USEC)
                        step_act(step, ACTION_INSPECT, side, NO_APP, &member->inspect, INSPECT_DEADLINE_USEC);
                step_wake(step, step->now + RELEASE_POLL_USEC);
        }
        plug_vcpus(step, side);
}
