/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is this guest alive? Two independent ways have to be silent before a guest counts as hung: its agent's
 * answers to heartbeats, and a second path that the guest's kernel answers by itself. Silence is measured from
 * the latest of: the last answer, and the last instant at which failoverd doubted itself (a late loop, a
 * suspended or starved host, a clock step), less the time in which its QEMU waited for a processor: a guest that
 * does not run cannot answer. Processor time used never decides. Pure.
 */

#include <stdbool.h>

#include "daemon/core/event.h"

enum verdict {
        VERDICT_UNKNOWN,   /* never heard, or nobody listens yet */
        VERDICT_ALIVE,
        VERDICT_SUSPECTED, /* beats are missing; the second path is being asked */
        VERDICT_SILENT,    /* the agent is silent, the guest's kernel answers: no failure of the system */
        VERDICT_HUNG,      /* both are silent, long enough */
        VERDICT_MAX,
        VERDICT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(verdict);

struct detector {
        /* settings */
        usec_t beat_usec, confirm_usec;
        unsigned beats_missed;

        /* evidence, all on CLOCK_BOOTTIME, 0: never */
        usec_t last_pong_usec;
        usec_t last_path_usec[SECOND_PATH_MAX]; /* latest sign of life on each path */
        usec_t told_usec[SECOND_PATH_MAX];      /* when a path last answered, whatever it said */
        bool path_known[SECOND_PATH_MAX];       /* this path has worked since the guest booted */
        usec_t suspected_usec;                  /* since when, 0: not */
        usec_t waited_usec;                     /* of the suspicion, since its kernel was last heard: so long its QEMU
                                                 * waited for a processor */
        bool waited_begun;                      /* the first look has been taken, from which on that is told */
        unsigned asked; /* probes of the suspicion, since its kernel was last heard */
        usec_t next_beat_usec;
        usec_t next_probe_usec;
        uint64_t nonce;       /* of the last ping */
        bool watching;        /* agent is up and configured */
        enum verdict verdict;
};

void detector_init(struct detector *detector, const struct pair_policy *policy);
/* The agent has said hello: from here on beats are expected. */
void detector_start(struct detector *detector, usec_t now_usec);
/* Nobody is expected to answer (VM off, paused by an operator, rebooting). */
void detector_stop(struct detector *detector);
void detector_pong(struct detector *detector, usec_t now_usec, uint64_t nonce);
/* Between the last two looks its QEMU waited so long for a processor. Counts on suspicion alone. */
void detector_waited(struct detector *detector, usec_t waited_usec);
void detector_path(struct detector *detector, usec_t now_usec, enum second_path path, usec_t age_usec);

struct detector_wants {
        bool ping, probe;
        usec_t wake_usec;   /* when to ask again ... */
        usec_t latest_usec; /* ... and at the latest: beats may be late by a little, so that many share a wake-up */
};

/* Looks at the evidence. `void_usec`: silence before this instant does not count. Fills what to do and returns
 * the verdict, which the detector also keeps. */
enum verdict detector_look(struct detector *detector, usec_t now_usec, usec_t void_usec, struct detector_wants *ret);

/* What a look weighs, as numbers: for the verdict, and for people. Without a suspicion, of the path as if it began
 * now. */
struct detector_evidence {
        usec_t silent_usec, limit_usec; /* the agent: for so long, of so long */
        bool voided;                    /* failoverd doubted itself since its last answer: counted from there */
        enum second_path path;          /* the one that counts */
        bool path_known;
        bool path_unheard;              /* it has not been heard, or not been asked enough, on the suspicion */
        bool balloon_speaks;            /* the echo is silent, and the balloon is not */
        usec_t path_silent_usec, path_limit_usec;
        usec_t waited_usec;             /* taken off that: its QEMU waited for a processor */
        bool starved;                   /* for most of it: the limit is a longer one */
};
void detector_weigh(const struct detector *detector, usec_t now_usec, usec_t void_usec, struct detector_evidence *ret);
/* Has its kernel been heard beside its agent, so that a hang can be told from a silent agent? */
bool detector_can_tell(const struct detector *detector, usec_t now_usec);
/* Time since the last sign of life on any way; USEC_INFINITY: never heard. */
usec_t detector_silence(const struct detector *detector, usec_t now_usec);
