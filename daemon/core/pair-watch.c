/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One VM is watched: its facts are asked for, its heart is listened to, and silence and pauses are judged. */

#include <stdio.h>
#include <string.h>

#include "daemon/core/pair-internal.h"
#include "policy/worst-case.h"

#define INSPECT_EVERY_USEC (30 * USEC_PER_SEC)
#define GONE_LOOK_USEC (50 * USEC_PER_MSEC) /* while the reason of its end is waited for long */
#define LOOK_AGAIN_USEC (30 * USEC_PER_SEC) /* at the XML of a pair that is not armed */
#define INSPECT_DEADLINE_USEC (5 * USEC_PER_SEC)
/* So long after the host was last seen in trouble a guest may still suffer from it. */
#define STARVED_USEC (10 * USEC_PER_SEC)

/* Whether a QEMU gets its processor is judged over so long, by looks that are no further apart than that. */
#define DELAY_LOOK_USEC (400 * USEC_PER_MSEC)
#define DELAY_FORGET_USEC (2 * USEC_PER_SEC)

static void ask_for_facts(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        usec_t due;

        if (!step->engine->hypervisor_up)
                return;
        due = member->domain_usec ? member->domain_usec + INSPECT_EVERY_USEC : 0;
        if (member->gone_wait_usec) /* at once; again and again where that takes long */
                due = member->gone_wait_usec > member->process_gone_usec + WORST_CASE_GONE_USEC
                              ? member->inspect.sent_usec + GONE_LOOK_USEC : 0;
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

/* The process went, killed or nobody said why: after the wait it counts as a failure. While libvirt is away nobody can
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
        if (member->gone_signal < 0 && member->going_usec)
                return; /* its guest has said so: waited for as its announced stop */
        if (member->gone_signal < 0)
                member_fail(step, side, "its QEMU process has ended as it was asked to, and libvirt does not say by "
                            "whom");
        else if (member->gone_signal)
                member_fail(step, side, "its QEMU process was ended by signal %d", member->gone_signal);
        else
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
        if (member->reason == REASON_SAVED || member->reason == REASON_MIGRATED || member->reason == REASON_SNAPSHOT)
                step_say(step, RECORD_IGNORED, side, "%s was suspended (%s), not by failoverd: nothing is done", vm,
                         domain_reason_to_string(member->reason));
        else
                step_say(step, RECORD_IGNORED, side,
                         "%s was suspended (%s), not by failoverd: nothing is done; virsh resume %s to go on", vm,
                         domain_reason_to_string(member->reason), vm);
}

/* Until when the guest may have been waiting for memory servers; 0: it was not. */
static usec_t stalled_until(const struct member_state *member, usec_t now) {
        usec_t rest = STALL_MAX_USEC - member->excused_usec;

        if (member->stalled_usec == 0 || rest == 0)
                return member->served_usec;
        return now < member->stalled_usec + rest ? now : member->stalled_usec + rest;
}

usec_t member_excuse_usec(const struct member_state *member, usec_t now) {
        usec_t until = member->stalled_usec + STALL_MAX_USEC - member->excused_usec;

        return member->stalled_usec && now < until ? until - now : 0;
}

/* Has it answered once more after its pages had been there for long enough to tell a hang? Else a server that comes and
 * goes would excuse one that has died for ever. */
static bool answered_since(const struct pair *pair, const struct member_state *member) {
        const struct detector *detector = &member->detector;
        usec_t sign = detector->last_pong_usec;

        for (size_t i = 0; i < SECOND_PATH_MAX; i++)
                if (detector->last_path_usec[i] > sign)
                        sign = detector->last_path_usec[i];
        return sign >= member->serving_usec + pair->policy->beat_usec * pair->policy->beats_missed +
                               pair->policy->confirm_usec;
}

usec_t member_void_usec(const struct engine *engine, const struct member_state *member) {
        usec_t since = member->paged_usec > engine->void_usec ? member->paged_usec : engine->void_usec;
        usec_t stalled = stalled_until(member, engine->now_usec);

        return stalled > since ? stalled : since;
}

bool member_starved(const struct step *step, enum side side) {
        const struct member_state *member = &step->pair->members[side];
        const usec_t seen[] = { member->paged_usec, member->delayed_usec, step->engine->pressure_usec,
                                stalled_until(member, step->now) };

        for (size_t i = 0; i < sizeof(seen) / sizeof(seen[0]); i++)
                if (seen[i] && step->now - seen[i] < STARVED_USEC)
                        return true;
        return false;
}

/* Judged over a stretch of DELAY_LOOK_USEC and more; a look after a long time tells nothing of now. */
void member_waited(struct step *step, enum side side, usec_t waited_usec) {
        struct member_state *member = &step->pair->members[side];
        bool known = member->delay_told_usec && step->now - member->delay_told_usec < DELAY_FORGET_USEC;

        detector_waited(&member->detector, waited_usec);
        member->delay_told_usec = step->now;
        if (!known) {
                member->delay_since_usec = step->now;
                member->delay_usec = 0;
                return;
        }
        member->delay_usec += waited_usec;
        if (step->now - member->delay_since_usec < DELAY_LOOK_USEC)
                return;
        if (member->delay_usec >= (step->now - member->delay_since_usec) / 2) {
                if (member->delayed_usec == 0 || step->now - member->delayed_usec >= STARVED_USEC)
                        step_say(step, RECORD_DOUBT, side,
                                 "QEMU of %s waits for a processor most of the time: the host has too much to do; "
                                 "failed checks meanwhile do not count",
                                 pair_domain(step->pair, side));
                member->delayed_usec = step->now;
                step->changed = true;
        }
        member->delay_since_usec = step->now;
        member->delay_usec = 0;
}

/* A guest whose memory the host has to fetch page by page answers late or not at all, and it is not its fault. One that
 * hangs asks for few pages: what is held against it then counts again. */
void member_paged(struct step *step, enum side side, uint64_t pages_per_sec) {
        struct member_state *member = &step->pair->members[side];

        if (member->paged_usec == 0 || step->now - member->paged_usec >= STARVED_USEC)
                step_say(step, RECORD_DOUBT, side,
                         "the host swaps memory of %s (%llu pages a second are brought back); its silence and failed "
                         "checks meanwhile do not count",
                         pair_domain(step->pair, side), (unsigned long long) pages_per_sec);
        member->paged_usec = step->now;
        step->changed = true;
}

/* A guest that swaps to a memory server which does not answer stands still, and it is not its fault: the server's
 * mirror takes its place, or the pages are given up, and then it goes on. */
void member_space(struct step *step, enum side side, bool served) {
        struct member_state *member = &step->pair->members[side];
        char excuse[EVENT_TEXT_LEN / 2] = "that has excused it for as long as it can: its silence counts";
        usec_t rest;

        if (served == (member->stalled_usec == 0))
                return;
        if (served) {
                member->served_usec = stalled_until(member, step->now);
                member->excused_usec = STALL_MAX_USEC - member_excuse_usec(member, step->now);
                member->serving_usec = step->now;
                member->stalled_usec = 0;
                step_say(step, RECORD_CLEARED, side, "%s: memory servers answer again", pair_domain(step->pair, side));
        } else {
                member->stalled_usec = step->now;
                if (answered_since(step->pair, member))
                        member->excused_usec = 0;
                rest = member_excuse_usec(member, step->now);
                if (rest > 0)
                        snprintf(excuse, sizeof(excuse),
                                 "its silence and failed checks meanwhile do not count, for %llu s at most",
                                 (unsigned long long) ((rest + USEC_PER_SEC - 1) / USEC_PER_SEC));
                step_say(step, RECORD_DOUBT, side,
                         "%s: no memory server answers for what it has there (space stalled); %s",
                         pair_domain(step->pair, side), excuse);
        }
        step->changed = true;
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
                                 "%u of %u guests are silent at once: the host itself is the suspect; looking again "
                                 "before anything is done",
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
                step_say(step, RECORD_IGNORED, side,
                         member->detector.waited_usec
                                 ? "%s: its agent is silent, and its QEMU waits for a processor; the host has too much "
                                   "to do: no failure of the system"
                                 : "%s: its agent is silent but its kernel answers: no failure of the system",
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
                step->engine->n_suspected += suspect ? 1 : (unsigned) -1;
                member->counted_suspect = suspect;
        }
}

/* A failure that nothing could be done about (paused, libvirt away) and that is over: the guest answers again. */
static void forget_failure(struct step *step, enum side side) {
        struct member_state *member = &step->pair->members[side];
        bool answers =
                member->greeted_usec > member->failure_usec ||
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

        now = detector_look(&member->detector, step->now, member_void_usec(step->engine, member), &wants);
        count_member(step, member);
        step_wake_between(step, wants.wake_usec, wants.latest_usec);
        if (wants.ping)
                step_send(step, side, MESSAGE_PING, NO_APP)->nonce = member->detector.nonce;
        if (wants.probe)
                update_add(step->update, ACTION_PROBE, pair->slot, side, NO_APP)->count = now != VERDICT_ALIVE;
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
