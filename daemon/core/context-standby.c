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
};
DEFINE_ENUM_TABLE(standby_state, standby_state_table)

static usec_t later(usec_t a, usec_t b) {
        return a > b ? a : b;
}

/* Between two attempts the VM has as much time to itself as one takes. */
static bool is_due(const struct vm_policy *policy, const struct standby_record *record,
                   const struct standby_sight *sight, usec_t now) {
        usec_t due = 0;

        if (record->run == sight->run)
                due = record->taken_usec + policy->checkpoint_usec;
        if (sight->saved_usec > 0)
                due = later(due, sight->saved_usec + sight->saving_usec);
        if (sight->saved_usec > 0 && (record->run != sight->run || record->taken_usec < sight->saved_usec -
                                                                           sight->saving_usec))
                due = later(due, sight->saved_usec + STANDBY_PAUSE_USEC); /* it failed */
        return now >= due;
}

static bool is_flapping(const struct vm_policy *policy, const struct standby_record *record, usec_t now) {
        unsigned n = 0;

        for (size_t i = 0; i < record->n_flaps; i++)
                n += record->flaps_usec[i] + policy->flap_window_usec > now;
        return n >= policy->flap_limit;
}

const char *standby_reason(const struct vm_policy *policy, const struct standby_record *record,
                           const struct standby_sight *sight, usec_t now_usec) {
        if (record->wanted && sight->refused)
                return "its checkpoint cannot be resumed";
        if (record->wanted && sight->tries >= STANDBY_TRIES_MAX)
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
        if (!record->wanted && is_flapping(policy, record, now_usec))
                return "it has failed over as often as the policy lets it";
        return NULL;
}

static enum standby_work fail_over(const struct standby_record *record, const struct standby_sight *sight, usec_t now) {
        if (!record->wanted)
                return STANDBY_DECIDE;
        if (!sight->gone)
                return STANDBY_FENCE;
        if (sight->tries > 0 && now < sight->tried_usec + STANDBY_RETRY_USEC)
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

void standby_decided(struct standby_record *record, usec_t now_usec) {
        if (record->n_flaps == POLICY_FLAPS_MAX) {
                memmove(record->flaps_usec, record->flaps_usec + 1, sizeof(usec_t) * (POLICY_FLAPS_MAX - 1));
                record->n_flaps--;
        }
        record->flaps_usec[record->n_flaps++] = now_usec;
        record->wanted = true;
        record->wanted_usec = now_usec;
}

/* The checkpoint stays: a person may still resume it. */
void standby_held(struct standby_record *record) {
        record->wanted = false;
        record->held = true;
}

void standby_settled(struct standby_record *record) {
        record->wanted = record->held = false;
        record->run = 0;
}

/* That nobody is there says something only to who has looked not long ago. */
void standby_seen(struct standby_record *record, const struct standby_sight *sight, usec_t now_usec) {
        if (sight->run != 0 ? sight->run == record->run
                            : sight->gone && record->wanted && now_usec <= record->seen_usec + STANDBY_GAP_USEC)
                record->seen_usec = now_usec;
}

void standby_worked(struct standby_record *record, usec_t now_usec) {
        if (record->wanted)
                record->seen_usec = now_usec;
}

usec_t standby_watched(usec_t seen_usec, uint64_t run, const struct standby_sight *sight, usec_t now_usec) {
        if (sight->run != 0 ? sight->run == run : sight->gone && now_usec <= seen_usec + STANDBY_GAP_USEC)
                return later(seen_usec, now_usec);
        return seen_usec;
}

void standby_waited(struct standby_record *record, usec_t waited_usec) {
        if (record->seen_usec > 0 && waited_usec <= STANDBY_WAIT_USEC)
                record->seen_usec += waited_usec;
}

void standby_taken(struct standby_record *record, uint64_t run, usec_t begun_usec) {
        record->run = run;
        record->slot = !record->slot;
        record->taken_usec = begun_usec;
        record->seen_usec = later(record->seen_usec, begun_usec);
}

void standby_resumed(struct standby_record *record, uint64_t run, usec_t now_usec) {
        record->wanted = false;
        record->run = run;
        record->seen_usec = now_usec;
        record->failovers++;
}

enum standby_state standby_state(const struct standby_record *record, const struct standby_sight *sight) {
        if (record->held)
                return STANDBY_HELD;
        if (record->wanted)
                return STANDBY_FAILOVER;
        switch (sight->vm) {
        case ALONE_RUNS:
                return record->run != 0 && record->run == sight->run ? STANDBY_ARMED : STANDBY_UNARMED;
        case ALONE_RESTS:
                return record->run != 0 ? STANDBY_ARMED : STANDBY_UNARMED;
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
