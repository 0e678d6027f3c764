/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/context-standby.h"

static const char *const alone_state_table[ALONE_STATE_MAX] = {
        [ALONE_UNKNOWN] = "unknown", [ALONE_RUNS] = "running",    [ALONE_RESTS] = "resting",
        [ALONE_OFF] = "off",         [ALONE_CRASHED] = "crashed", [ALONE_LOST] = "lost",
        [ALONE_ENDED] = "ended",
};
DEFINE_ENUM_TABLE(alone_state, alone_state_table)

static const char *const standby_work_table[STANDBY_WORK_MAX] = {
        [STANDBY_REST] = "rest",   [STANDBY_CHECKPOINT] = "checkpoint", [STANDBY_DECIDE] = "decide",
        [STANDBY_HOLD] = "hold",   [STANDBY_FENCE] = "fence",           [STANDBY_RESUME] = "resume",
        [STANDBY_SETTLE] = "settle",
};
DEFINE_ENUM_TABLE(standby_work, standby_work_table)

static const char *const standby_state_table[STANDBY_STATE_MAX] = {
        [STANDBY_UNKNOWN] = "unknown",   [STANDBY_UNARMED] = "unarmed", [STANDBY_ARMED] = "armed",
        [STANDBY_FAILOVER] = "failover", [STANDBY_HELD] = "held",       [STANDBY_OFF] = "off",
        [STANDBY_DEGRADED] = "degraded",
};
DEFINE_ENUM_TABLE(standby_state, standby_state_table)

static const char *const standby_news_table[STANDBY_NEWS_MAX] = {
        [NEWS_ARMED] = "armed",     [NEWS_UNPROTECTED] = "unprotected", [NEWS_DECIDED] = "decided",
        [NEWS_STARTED] = "started", [NEWS_HELD] = "held",               [NEWS_RESUMED] = "resumed",
        [NEWS_CLEARED] = "cleared",
};
DEFINE_ENUM_TABLE(standby_news, standby_news_table)

static const char *const standby_kept_table[STANDBY_KEPT_MAX] = {
        [KEPT_UNASKED] = "unasked", [KEPT_SILENT] = "silent", [KEPT_GONE] = "gone",
        [KEPT_ALONE] = "alone",     [KEPT_WHOLE] = "whole",
};
DEFINE_ENUM_TABLE(standby_kept, standby_kept_table)

static usec_t later(usec_t a, usec_t b) {
        return a > b ? a : b;
}

/* What was said is of the checkpoint that counts. */
static bool is_told(const struct standby_record *record, const struct standby_sight *sight) {
        return sight->kept != KEPT_UNASKED && sight->kept_saved_usec == record->saved_usec;
}

/* A new checkpoint would be a better one: what there was is not what it was, and all servers are there to take it. */
static bool is_worn(const struct standby_record *record, const struct standby_sight *sight) {
        return is_told(record, sight) && sight->reachable && (sight->kept == KEPT_GONE || sight->kept == KEPT_ALONE);
}

/* How long it is let be after an attempt that failed. Each may have cost the guest a save. Where nothing counts yet,
 * the pause stays short at first, and never becomes very long: the VM has no other protection. */
static usec_t pause_after(const struct vm_policy *policy, const struct standby_record *record,
                          const struct standby_sight *sight) {
        const bool counts = record->run == sight->run;
        const usec_t longest = !counts && policy->checkpoint_usec > STANDBY_FIRST_PAUSE_USEC ? STANDBY_FIRST_PAUSE_USEC
                                                                                             : policy->checkpoint_usec;
        usec_t pause = STANDBY_PAUSE_USEC;

        for (unsigned i = counts ? 1 : STANDBY_TRIES_MAX; i < sight->failed && pause < longest; i++)
                pause *= 2;
        return pause < longest ? pause : later(longest, STANDBY_PAUSE_USEC);
}

/* Between two attempts the VM has as much time to itself as one takes. */
static bool is_due(const struct vm_policy *policy, const struct standby_record *record,
                   const struct standby_sight *sight, usec_t now) {
        usec_t due = 0;

        if (record->run == sight->run && !is_worn(record, sight))
                due = record->taken_usec + policy->checkpoint_usec;
        if (record->run == sight->run && record->resumed_usec > 0)
                due = later(due, record->resumed_usec + (policy->checkpoint_usec < STANDBY_TRIAL_USEC
                                                                 ? policy->checkpoint_usec : STANDBY_TRIAL_USEC));
        if (sight->saved_usec > 0)
                due = later(due, sight->saved_usec + sight->saving_usec);
        if (sight->saved_usec > 0 && (record->run != sight->run || record->taken_usec < sight->saved_usec -
                                                                           sight->saving_usec))
                due = later(due, sight->saved_usec + pause_after(policy, record, sight)); /* it failed */
        return now >= due;
}

int standby_flaps_left(const struct vm_policy *policy, const struct standby_record *record, usec_t now_usec) {
        unsigned n = 0;

        for (size_t i = 0; policy && i < record->n_flaps; i++)
                n += record->flaps_usec[i] + policy->flap_window_usec > now_usec;
        return policy && n < policy->flap_limit ? (int) (policy->flap_limit - n) : 0;
}

static unsigned tries_max(const struct standby_record *record) {
        return record->other_taken_usec == 0 ? STANDBY_TRIES_MAX : 2 * STANDBY_TRIES_MAX;
}

const char *standby_reason(const struct vm_policy *policy, const struct standby_record *record,
                           const struct standby_sight *sight, usec_t now_usec) {
        if (record->wanted && sight->refused)
                return "its checkpoint cannot be resumed";
        if (record->wanted && !record->aside && sight->tries >= tries_max(record))
                return "its checkpoint could not be resumed again and again";
        if (sight->vm == ALONE_ENDED && !record->wanted)
                return "it has ended, and libvirt does not know whether somebody wished that";
        if (record->run == 0)
                return "there is no checkpoint of this run of the VM";
        if (sight->run != 0 && sight->run != record->run)
                return "the checkpoint is of an earlier run of the VM";
        if (sight->run == 0 && now_usec > record->seen_usec + STANDBY_GAP_USEC)
                return "it was lost while its standby did not look, so that it may have been a later run than the "
                       "checkpoint's";
        if (!record->wanted && standby_flaps_left(policy, record, now_usec) == 0)
                return "it has failed over as often as the policy lets it";
        return NULL;
}

static enum standby_work fail_over(const struct standby_record *record, const struct standby_sight *sight, usec_t now) {
        if (!record->wanted)
                return STANDBY_DECIDE;
        if (!sight->gone)
                return STANDBY_FENCE;
        if (sight->tries > 0 && !record->aside && now < sight->tried_usec + STANDBY_RETRY_USEC)
                return STANDBY_REST;
        return STANDBY_RESUME;
}

enum standby_work standby_next(const struct vm_policy *policy, const struct standby_record *record,
                               const struct standby_sight *sight, usec_t now_usec) {
        switch (sight->vm) {
        case ALONE_RUNS:
                if (record->wanted || record->held)
                        return STANDBY_SETTLE;
                return sight->run != 0 && is_due(policy, record, sight, now_usec) ? STANDBY_CHECKPOINT : STANDBY_REST;
        case ALONE_ENDED:
                if (!record->wanted)
                        return record->run != 0 && !record->held ? STANDBY_HOLD : STANDBY_REST;
                break;
        case ALONE_OFF:
                if (!record->wanted)
                        return record->run != 0 && !record->held ? STANDBY_SETTLE : STANDBY_REST;
                break;
        case ALONE_CRASHED:
        case ALONE_LOST:
                break;
        default:
                return STANDBY_REST;
        }
        if (record->held)
                return STANDBY_REST;
        return standby_reason(policy, record, sight, now_usec) ? STANDBY_HOLD : fail_over(record, sight, now_usec);
}

/* Nothing where there is no other. */
static void exchange(struct standby_record *record) {
        const usec_t taken = record->taken_usec, saved = record->saved_usec;

        if (record->other_taken_usec == 0)
                return;
        record->slot = !record->slot;
        record->taken_usec = record->other_taken_usec;
        record->saved_usec = record->other_saved_usec;
        record->other_taken_usec = taken;
        record->other_saved_usec = saved;
}

void standby_replacing(struct standby_record *record) {
        record->other_taken_usec = record->other_saved_usec = 0;
        record->aside = false;
}

static void turn(struct standby_record *record) {
        exchange(record);
        record->aside = !record->aside;
}

bool standby_failed(struct standby_record *record, struct standby_sight *sight, bool final) {
        standby_worked(record, sight->tried_usec);
        sight->tries += !record->aside;
        sight->refused = final && record->other_taken_usec == 0;
        if (record->other_taken_usec == 0)
                return false;
        if (!final && (record->aside || sight->tries >= STANDBY_TRIES_MAX))
                turn(record);
        if (!final)
                return false;
        exchange(record);
        standby_replacing(record);
        sight->tries = 0;
        sight->refused = false;
        return true;
}

void standby_decided(struct standby_record *record, usec_t now_usec) {
        if (record->n_flaps == POLICY_FLAPS_MAX) {
                memmove(record->flaps_usec, record->flaps_usec + 1, sizeof(usec_t) * (POLICY_FLAPS_MAX - 1));
                record->n_flaps--;
        }
        record->flaps_usec[record->n_flaps++] = now_usec;
        record->wanted = true;
        record->wanted_usec = now_usec;
        if (record->resumed_usec > 0)
                exchange(record); /* what it went on from has led here */
}

/* The checkpoint stays: a person may still resume it, but where files of its disks were merged since. */
void standby_held(struct standby_record *record) {
        if (record->aside)
                turn(record);
        record->wanted = false;
        record->held = true;
}

void standby_settled(struct standby_record *record) {
        record->wanted = record->held = false;
        record->run = record->resumed_usec = 0;
        standby_replacing(record);
}

/* That nobody is there says something only to who has looked not long ago. Once another run was seen, whoever is lost
 * next is not the one that the checkpoint is of. */
void standby_seen(struct standby_record *record, const struct standby_sight *sight, usec_t now_usec) {
        if (sight->run != 0 && sight->run != record->run)
                record->seen_usec = 0;
        else if (sight->run != 0 || (sight->gone && record->wanted &&
                                     now_usec <= record->seen_usec + STANDBY_GAP_USEC))
                record->seen_usec = now_usec;
}

void standby_worked(struct standby_record *record, usec_t now_usec) {
        if (record->wanted)
                record->seen_usec = now_usec;
}

usec_t standby_watched(usec_t seen_usec, uint64_t run, const struct standby_sight *sight, usec_t now_usec) {
        if (seen_usec == 0 || (sight->run != 0 && sight->run != run))
                return 0;
        if (sight->run != 0 || (sight->gone && now_usec <= seen_usec + STANDBY_GAP_USEC))
                return later(seen_usec, now_usec);
        return seen_usec;
}

void standby_waited(struct standby_record *record, usec_t waited_usec) {
        if (record->seen_usec > 0 && waited_usec <= STANDBY_WAIT_USEC)
                record->seen_usec += waited_usec;
}

void standby_taken(struct standby_record *record, uint64_t run, usec_t begun_usec, uint64_t saved_usec) {
        const bool same = record->run != 0 && record->run == run;

        record->other_taken_usec = same ? record->taken_usec : 0;
        record->other_saved_usec = same ? record->saved_usec : 0;
        record->run = run;
        record->slot = !record->slot;
        record->taken_usec = begun_usec;
        record->saved_usec = saved_usec;
        record->seen_usec = later(record->seen_usec, begun_usec);
        record->resumed_usec = 0;
}

void standby_resumed(struct standby_record *record, uint64_t run, usec_t now_usec) {
        record->wanted = false;
        record->run = run;
        record->seen_usec = now_usec;
        record->resumed_usec = now_usec;
        record->aside = false;
        record->failovers++;
}

const char *standby_weakness(const struct vm_policy *policy, const struct standby_record *record,
                             const struct standby_sight *sight, usec_t now_usec) {
        if (is_told(record, sight) && sight->kept == KEPT_GONE)
                return "the memory servers do not have its checkpoint any more";
        if (is_told(record, sight) && sight->kept == KEPT_ALONE)
                return "only one memory server has its checkpoint";
        if (is_told(record, sight) && sight->kept == KEPT_SILENT &&
            now_usec > later(sight->kept_usec, record->taken_usec) + STANDBY_KEPT_USEC)
                return "no memory server says that it has its checkpoint";
        if (sight->vm == ALONE_RUNS &&
            now_usec > record->taken_usec + STANDBY_OLD_TIMES * later(policy->checkpoint_usec, 2 * sight->saving_usec))
                return "its checkpoint is older than it should be";
        return NULL;
}

static enum standby_state armed(const struct vm_policy *policy, const struct standby_record *record,
                                const struct standby_sight *sight, usec_t now) {
        if (is_told(record, sight) && sight->kept == KEPT_GONE)
                return STANDBY_UNARMED;
        return policy && standby_weakness(policy, record, sight, now) ? STANDBY_DEGRADED : STANDBY_ARMED;
}

enum standby_state standby_state(const struct vm_policy *policy, const struct standby_record *record,
                                 const struct standby_sight *sight, usec_t now_usec) {
        if (record->held)
                return STANDBY_HELD;
        if (record->wanted)
                return STANDBY_FAILOVER;
        switch (sight->vm) {
        case ALONE_RUNS:
                return record->run != 0 && record->run == sight->run ? armed(policy, record, sight, now_usec)
                                                                     : STANDBY_UNARMED;
        case ALONE_RESTS:
                return record->run != 0 ? armed(policy, record, sight, now_usec) : STANDBY_UNARMED;
        case ALONE_OFF:
        case ALONE_ENDED:
                return STANDBY_OFF;
        case ALONE_CRASHED:
        case ALONE_LOST:
                return STANDBY_FAILOVER;
        default:
                return STANDBY_UNKNOWN;
        }
}

enum standby_news standby_protection_news(enum standby_state state, enum standby_news told, usec_t weak_usec,
                                          usec_t now_usec) {
        switch (state) {
        case STANDBY_ARMED:
                return told == NEWS_ARMED || told == NEWS_STARTED ? STANDBY_NEWS_INVALID : NEWS_ARMED;
        case STANDBY_UNKNOWN:
        case STANDBY_UNARMED:
        case STANDBY_DEGRADED:
                if (weak_usec == 0 || now_usec < weak_usec + STANDBY_WEAK_USEC || told == NEWS_UNPROTECTED ||
                    told == NEWS_HELD)
                        return STANDBY_NEWS_INVALID;
                return NEWS_UNPROTECTED;
        default:
                return STANDBY_NEWS_INVALID;
        }
}
