/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What to do next about a VM whose standby is no second VM but its own last checkpoint, kept on memory servers (I: a
 * context resumes at the same point). While the VM runs, checkpoints are taken; when it is lost, it is fenced, and goes
 * on from the newest one. All that it has done since is lost.
 *
 * Each look compares what is seen with a record that outlives the program, though not the host's boot: a crash between
 * any two steps is no special case. A failover is in the record before anything is done for it, and nothing is resumed
 * before it is proven that no process of the VM is there.
 *
 * A checkpoint counts for one run of the VM only, the one that it was taken of and those that went on from it. A VM
 * that was ended by somebody and started anew must not be thrown back to what it was before; so where it is in doubt of
 * which run a checkpoint is, it counts no more, and the next one is awaited. And where a VM is found lost after nobody
 * has looked for longer than it takes to end it and start it anew, it is not known what was lost, and a person has to
 * say.
 *
 * It is pure: no I/O, no clock. Times are of one clock, and 0 is never.
 */

#include <stdbool.h>
#include <stdint.h>

#include "policy/policy.h"

/* A resume that failed for a reason that may pass is tried again so often, so far apart. */
#define STANDBY_TRIES_MAX 5
#define STANDBY_RETRY_USEC (5 * USEC_PER_SEC)
/* A VM that was seen within this time was not ended and started anew meanwhile. */
#define STANDBY_GAP_USEC (5 * USEC_PER_SEC)
/* More waiting for libvirt than this in one look counts as not having looked. */
#define STANDBY_WAIT_USEC (60 * USEC_PER_SEC)
/* A checkpoint that failed is not tried again before. */
#define STANDBY_PAUSE_USEC (5 * USEC_PER_SEC)

enum alone_state {
        ALONE_UNKNOWN, /* nobody says */
        ALONE_RUNS,
        ALONE_RESTS,   /* paused, or something is being done with it: neither to be saved nor lost */
        ALONE_OFF,     /* as somebody wished */
        ALONE_CRASHED, /* the guest's system; QEMU is there */
        ALONE_LOST,    /* QEMU ended by itself */
        ALONE_ENDED,   /* nobody says by whose doing */
        ALONE_STATE_MAX,
        ALONE_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(alone_state); /* "unknown", "running", "resting", "off", "crashed", "lost", "ended" */

/* What is known of it for sure; kept by the caller before it acts on it. */
struct standby_record {
        uint64_t run;       /* of which the checkpoint is; 0: there is none that counts */
        int slot;           /* 0 or 1: the place where it is */
        usec_t seen_usec;   /* until when it is known that no other run of the VM was there since */
        usec_t taken_usec;  /* of this moment is its state, or earlier */
        bool wanted;        /* a failover was decided, and is not over */
        usec_t wanted_usec; /* when */
        bool held;          /* nothing is done until somebody starts the VM */
        usec_t flaps_usec[POLICY_FLAPS_MAX]; /* the latest failovers, newest last */
        size_t n_flaps;
        uint64_t failovers; /* that ended with the VM running again */
};

/* What is seen now, and what this life of the program has tried. */
struct standby_sight {
        enum alone_state vm;
        uint64_t run;           /* which start of the VM runs; 0: none, or not known */
        bool gone;              /* proven: no process of the VM is there */
        usec_t saved_usec;      /* when the last attempt at a checkpoint ended */
        usec_t saving_usec;     /* how long it took */
        usec_t tried_usec;      /* when the last attempt to resume ended */
        unsigned tries;         /* attempts to resume that failed, of this failover */
        bool refused;           /* the last one for a reason that does not pass */
};

enum standby_work {
        STANDBY_REST,
        STANDBY_CHECKPOINT,
        STANDBY_DECIDE, /* on a failover: record it */
        STANDBY_HOLD,   /* record that nothing can be done; standby_reason() says why */
        STANDBY_FENCE,
        STANDBY_RESUME,
        STANDBY_SETTLE, /* it runs, or was ended, by somebody else's doing: record that */
        STANDBY_WORK_MAX,
        STANDBY_WORK_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(standby_work); /* "rest", "checkpoint", "decide", "hold", "fence", "resume", "settle" */

enum standby_work standby_next(const struct vm_policy *policy, const struct standby_record *record,
                               const struct standby_sight *sight, usec_t now_usec);
/* Why STANDBY_HOLD; a constant text. */
const char *standby_reason(const struct vm_policy *policy, const struct standby_record *record,
                           const struct standby_sight *sight, usec_t now_usec);

/* What each of them makes of the record. */
void standby_decided(struct standby_record *record, usec_t now_usec);
void standby_held(struct standby_record *record);
void standby_settled(struct standby_record *record);
/* What the look says of which runs there were; and the same of a call that kept the program from looking, in which it
 * has itself ended the VM, or tried to start it. */
void standby_seen(struct standby_record *record, const struct standby_sight *sight, usec_t now_usec);
void standby_worked(struct standby_record *record, usec_t now_usec);
/* A look had to wait for libvirt: while it ends a lost VM it tells nobody of that VM, nor starts it. The time since the
 * run was seen is then what it was before. `waited_usec`: in one call on a connection that was there before and after,
 * by a clock that stands still while the host is suspended; what is longer than STANDBY_WAIT_USEC counts nothing. */
void standby_waited(struct standby_record *record, usec_t waited_usec);
/* A watch that looks at the VM's process all the while: until when no other run than `run` was there, if it was until
 * `seen_usec`. That nobody is there says so only where that was not long ago. */
usec_t standby_watched(usec_t seen_usec, uint64_t run, const struct standby_sight *sight, usec_t now_usec);
/* A checkpoint of that run is whole, and in the other slot than the one before. `begun_usec`: when it was begun. */
void standby_taken(struct standby_record *record, uint64_t run, usec_t begun_usec);
/* The VM goes on from the checkpoint, as that run; 0: which one could not be seen, and no checkpoint counts for it. */
void standby_resumed(struct standby_record *record, uint64_t run, usec_t now_usec);

/* How it is with the standby, for people. */
enum standby_state {
        STANDBY_UNKNOWN,   /* nobody says how the VM is */
        STANDBY_UNARMED,   /* the VM runs or rests, and has no checkpoint of its own */
        STANDBY_ARMED,
        STANDBY_FAILOVER,
        STANDBY_HELD,
        STANDBY_OFF,       /* the VM was ended by somebody */
        STANDBY_STATE_MAX,
        STANDBY_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(standby_state); /* "unknown", "unarmed", "armed", "failover", "held", "off" */
enum standby_state standby_state(const struct standby_record *record, const struct standby_sight *sight);
