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
 * The checkpoint before the newest one is kept too: the newest may be of a state that leads to the same end again.
 * Where the VM is lost once more before another one was taken, and where the newest turns out to be damaged, it goes on
 * from the other.
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

/* A resume that failed for a reason that may pass is tried again so often, so far apart; and as often again where there
 * is another checkpoint, which then has its turn after each. */
#define STANDBY_TRIES_MAX 5
#define STANDBY_RETRY_USEC (5 * USEC_PER_SEC)
/* A VM that was seen within this time was not ended and started anew meanwhile. */
#define STANDBY_GAP_USEC (5 * USEC_PER_SEC)
/* More waiting for libvirt than this in one look counts as not having looked. */
#define STANDBY_WAIT_USEC (60 * USEC_PER_SEC)
/* A checkpoint that failed is not tried again before; where there is one that counts, it is twice as long after each
 * further one, up to checkpoint.every; where there is none, from the sixth on, up to the second of these. */
#define STANDBY_PAUSE_USEC (5 * USEC_PER_SEC)
#define STANDBY_FIRST_PAUSE_USEC (300 * USEC_PER_SEC)
/* So long, or as long as there is between two checkpoints, a VM that has just gone on shows that it stays, before a new
 * checkpoint takes the place of the one before. */
#define STANDBY_TRIAL_USEC (30 * USEC_PER_SEC)
/* A VM that is not armed for so long is told of. */
#define STANDBY_WEAK_USEC (60 * USEC_PER_SEC)
/* What nobody has said for so long at memory servers is not known any more. */
#define STANDBY_KEPT_USEC (60 * USEC_PER_SEC)
/* A checkpoint that is older than so many times what the policy says, or what one takes with the pause after it, is too
 * old. */
#define STANDBY_OLD_TIMES 3

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

/* What the memory servers say of a checkpoint. */
enum standby_kept {
        KEPT_UNASKED,
        KEPT_SILENT, /* none that answers has it, and not all answer */
        KEPT_GONE,   /* all answer, and none has it */
        KEPT_ALONE,  /* there are fewer copies than wanted */
        KEPT_WHOLE,
        STANDBY_KEPT_MAX,
        STANDBY_KEPT_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(standby_kept); /* "unasked", "silent", "gone", "alone", "whole" */

/* What is known of it for sure; kept by the caller before it acts on it. */
struct standby_record {
        uint64_t run;       /* of which the checkpoint is; 0: there is none that counts */
        int slot;           /* 0 or 1: the place where it is */
        usec_t seen_usec;   /* until when it is known that no other run of the VM was there since */
        usec_t taken_usec;  /* of this moment is its state, or earlier */
        uint64_t saved_usec;       /* CLOCK_REALTIME, by which it is known at the servers; 0: of an older program */
        usec_t other_taken_usec;   /* the same of the one in the other slot; 0: there is none that counts */
        uint64_t other_saved_usec;
        bool aside;          /* these two have changed places for one attempt, and do so again when it fails */
        usec_t resumed_usec; /* when the VM went on from it, and no other was taken since; 0: it did not */
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
        unsigned failed;        /* so many of them have failed since the last that did not */
        usec_t tried_usec;      /* when the last attempt to resume ended */
        unsigned tries;         /* attempts to resume that failed, of this failover, the other one's turns aside */
        bool refused;           /* the last one for a reason that does not pass */
        enum standby_kept kept; /* of the checkpoint of that saved_usec */
        uint64_t kept_saved_usec;
        usec_t kept_usec;       /* when servers last said that they have it */
        bool reachable;         /* all servers answered */
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

/* So many failovers more, as far as the policy's limit goes. */
int standby_flaps_left(const struct vm_policy *policy, const struct standby_record *record, usec_t now_usec);

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
 * `seen_usec`. That nobody is there says so only where that was not long ago. 0, and then for good: another one was. */
usec_t standby_watched(usec_t seen_usec, uint64_t run, const struct standby_sight *sight, usec_t now_usec);
/* A checkpoint of that run is whole, and in the other slot than the one before. `begun_usec`: when it was begun;
 * `saved_usec`: as the servers know it. */
void standby_taken(struct standby_record *record, uint64_t run, usec_t begun_usec, uint64_t saved_usec);
/* The other slot is emptied for a new one. */
void standby_replacing(struct standby_record *record);
/* The VM goes on from the checkpoint, as that run; 0: which one could not be seen, and no checkpoint counts for it. */
void standby_resumed(struct standby_record *record, uint64_t run, usec_t now_usec);

/* What is told of it, each word also that of a record in history. */
enum standby_news {
        NEWS_ARMED,
        NEWS_UNPROTECTED, /* for a while now */
        NEWS_DECIDED,     /* to fail over */
        NEWS_STARTED,     /* it goes on */
        NEWS_HELD,
        NEWS_RESUMED,     /* by somebody, after it was held or had to go on */
        NEWS_CLEARED,     /* ended by somebody */
        STANDBY_NEWS_MAX,
        STANDBY_NEWS_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(standby_news); /* "armed", "unprotected", "decided", "started", "held", "resumed", "cleared" */

/* An attempt to resume it has failed at `sight->tried_usec`; `final`: for a reason that does not pass. True where the
 * checkpoint is given up for the other one, which is tried anew. What may pass gives none up: once the first one has
 * been tried for a while, the other has its turn each time that the first one has just failed. */
bool standby_failed(struct standby_record *record, struct standby_sight *sight, bool final);

/* How it is with the standby, for people. */
enum standby_state {
        STANDBY_UNKNOWN,   /* nobody says how the VM is */
        STANDBY_UNARMED,   /* the VM runs or rests, and has no checkpoint of its own */
        STANDBY_ARMED,
        STANDBY_DEGRADED,  /* armed, but standby_weakness() */
        STANDBY_FAILOVER,
        STANDBY_HELD,
        STANDBY_OFF,       /* the VM was ended by somebody */
        STANDBY_STATE_MAX,
        STANDBY_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(standby_state); /* "unknown", "unarmed", "armed", "degraded", "failover", "held", "off" */
enum standby_state standby_state(const struct vm_policy *policy, const struct standby_record *record,
                                 const struct standby_sight *sight, usec_t now_usec);
/* Why an armed standby is degraded, or unarmed though there was a checkpoint; a constant text. NULL: it is not. */
const char *standby_weakness(const struct vm_policy *policy, const struct standby_record *record,
                             const struct standby_sight *sight, usec_t now_usec);
/* Whether it is to be told how the VM is protected: NEWS_ARMED, NEWS_UNPROTECTED or STANDBY_NEWS_INVALID. `told`: the
 * latest news, STANDBY_NEWS_INVALID: none; `weak_usec`: since when it is not armed, 0: it is. */
enum standby_news standby_protection_news(enum standby_state state, enum standby_news told, usec_t weak_usec,
                                          usec_t now_usec);
