/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/overflow.h"

static const char *const overflow_work_table[OVERFLOW_WORK_MAX] = {
        [OVERFLOW_REST] = "rest",     [OVERFLOW_CONFIGURE] = "configure", [OVERFLOW_START] = "start",
        [OVERFLOW_ATTACH] = "attach", [OVERFLOW_ASK] = "ask",             [OVERFLOW_DETACH] = "detach",
        [OVERFLOW_END] = "end",       [OVERFLOW_FORGET] = "forget",
};
DEFINE_ENUM_TABLE(overflow_work, overflow_work_table)

static bool passed(usec_t since, usec_t span, usec_t now) {
        return since > 0 && now >= since + span;
}

/* A disk that is to go. One whose pager is dead is worth nothing to the guest: its pages are lost, and each access is
 * an error until another takes its place. A guest lets go of a disk that it swaps on, so that has to be certain. */
static enum overflow_work take_off(const struct overflow_sight *sight, usec_t now) {
        if (!sight->alive)
                return passed(sight->dead_usec, OVERFLOW_DEAD_USEC, now) ? OVERFLOW_DETACH : OVERFLOW_REST;
        if (sight->told && sight->held_bytes == 0 && passed(sight->asked_usec, OVERFLOW_ASKED_USEC, now))
                return OVERFLOW_DETACH;
        return OVERFLOW_ASK;
}

/* A pager that is to go, attached nowhere. One that does not tell how it is has perhaps a client. */
static enum overflow_work clear_away(const struct overflow_sight *sight, usec_t now) {
        if (!sight->alive)
                return sight->configured ? OVERFLOW_FORGET : OVERFLOW_REST;
        return sight->told && sight->clients == 0 && passed(sight->idle_usec, OVERFLOW_IDLE_USEC, now) ? OVERFLOW_END
                                                                                                     : OVERFLOW_REST;
}

static enum overflow_work bring_about(const struct overflow_sight *sight, usec_t now) {
        if (!sight->current && sight->alive)
                return clear_away(sight, now);
        if (!sight->current)
                return OVERFLOW_CONFIGURE;
        if (!sight->alive)
                return sight->started_usec > 0 && !passed(sight->started_usec, OVERFLOW_START_USEC, now)
                               ? OVERFLOW_REST
                               : OVERFLOW_START;
        return sight->told && sight->serving && sight->vm_ready ? OVERFLOW_ATTACH : OVERFLOW_REST;
}

enum overflow_work overflow_next(const struct overflow_sight *sight, usec_t now_usec) {
        if (!sight->vm_known || !sight->pager_known)
                return OVERFLOW_REST;
        if (sight->attached)
                return sight->wanted && sight->bearable && sight->alive ? OVERFLOW_REST : take_off(sight, now_usec);
        return sight->wanted ? bring_about(sight, now_usec) : clear_away(sight, now_usec);
}

bool overflow_stalls(const struct overflow_sight *sight) {
        return sight->attached && sight->pager_known && sight->alive && (!sight->told || sight->recovering) &&
               (sight->held_bytes > 0 || sight->waiting > 0);
}
