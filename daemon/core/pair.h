/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One pair: two VMs, the applications between them, and the flow under way.
 *
 * The machine does not walk through a script. Every event changes facts (what is known of each member and each
 * application); after each event pair_advance() compares the facts with the goals (fence this side, give that
 * region to the other side, start the application there, build the standby anew, arm) and asks for the next
 * step of each goal that is open. A goal whose facts hold asks for nothing. So a crash between any two steps, a
 * late or repeated answer, or a second fault in the middle of the first are no special cases: the facts are
 * read again, and the same comparison goes on.
 *
 * Each application has an owner side of its own, since only what failed moves (H: application-failure flow).
 */

#include <stdbool.h>

#include "daemon/core/detector.h"
#include "daemon/core/event.h"
#include "daemon/core/handover.h"
#include "daemon/core/record.h"
#include "daemon/core/table.h"
#include "daemon/core/update.h"

/* What the operator sees. */
enum pair_state {
        PAIR_UNKNOWN,     /* the hypervisor has not told yet, or not for too long */
        PAIR_STARTING,    /* coming up: VMs boot, applications start */
        PAIR_UNPROTECTED, /* applications run, a failover is not possible now (reasons say why) */
        PAIR_ARMED,
        PAIR_FAILOVER,    /* a flow is under way */
        PAIR_HELD,        /* stopped in a stated, safe state; a person is needed */
        PAIR_REMOVED,     /* slot is free */
        PAIR_STATE_MAX,
        PAIR_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(pair_state);

/* How well a single failure is covered, or the worst of all, best first (readiness.h). */
enum readiness_level {
        READINESS_NONE,      /* nothing that could fail over is concerned */
        READINESS_COVERED,
        READINESS_LIMITED,   /* it is, but late or with less, or the pair is not armed */
        READINESS_UNCOVERED,
        READINESS_LEVEL_MAX,
        READINESS_LEVEL_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(readiness_level); /* "none", "covered", "limited", "uncovered" */

enum fence_state {
        FENCE_NONE,
        FENCE_FREEZING,
        FENCE_DUMPING, /* frozen, and its memory is being dumped: not fenced before that is over */
        FENCE_FROZEN, /* QEMU confirmed: processors stopped, disks drained; held until killed */
        FENCE_KILLING,
        FENCE_GONE,   /* the process is gone */
        FENCE_FAILED, /* not confirmed past the deadline; tried again, the standby does not start */
        FENCE_STATE_MAX,
        FENCE_STATE_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(fence_state);

/* What keeps a member from being of use, for status; kept as text made by the pair. */
#define REASONS_MAX 16
#define MEMBER_FINDINGS_MAX 4 /* the worst; status lists them all */

/* An asynchronous request: at most one of each kind is out per member or application. */
struct request {
        uint64_t id;         /* action or message id that is out; 0: none */
        usec_t sent_usec;
        usec_t retry_usec;   /* not before this; 0: at once */
        unsigned failures;   /* in a row */
};

struct member_state {
        enum domain_state domain;
        enum domain_reason reason;
        usec_t domain_usec; /* when that was learned */
        bool process_alive, process_known;
        usec_t process_gone_usec;
        int gone_signal; /* that ended it then, or PROCESS_ENDED_AS_ASKED; 0: not known */
        usec_t lost_usec; /* what lived there ended then: an answer to something asked before is of no use */
        int pid;

        bool link_up;
        bool greeted;       /* hello received */
        bool configured;
        usec_t greeted_usec;
        char boot[40];
        char agent_version[MESSAGE_TEXT_LEN];
        unsigned protocol;  /* the highest version that its agent speaks */
        char system[NAME_LEN];
        uint64_t total_bytes; /* the guest's MemTotal at hello */
        uint64_t available_bytes; /* its MemAvailable at the latest pong that told; 0: not known */
        usec_t available_usec;
        unsigned old_protocol;    /* one more than what its agent speaks, which was refused as too old; 0: it was not */

        struct detector detector;
        usec_t mass_hold_usec; /* held back because many went silent at once, since then */
        usec_t paged_usec;     /* the host was last seen to swap its memory; 0: never */
        usec_t delayed_usec;   /* its QEMU was last seen to wait for a processor most of the time; 0: never */
        usec_t delay_since_usec, delay_told_usec; /* looked at for that since then, and up to then; 0: it is not */
        usec_t delay_usec;     /* so long it waited in that time */
        usec_t stalled_usec;   /* since then no memory server answers for what it has there; 0: they do */
        usec_t served_usec;    /* silence before that is excused: they did not until then, or its excuse was used up
                                * then; 0: they always did */
        usec_t serving_usec;   /* since then they do again */
        usec_t excused_usec;   /* so much of the excuse was used up by stalls before this one */

        struct preflight preflight;
        usec_t preflight_usec; /* 0: not looked at since the last start */
        bool look_failed;      /* the latest look came to nothing */
        char findings[MEMBER_FINDINGS_MAX][EVENT_TEXT_LEN]; /* what it found that keeps the pair from being armed */
        unsigned n_findings;
        unsigned blocking_finding; /* number, from 1 on, of the first that a failover to here would come to a stop at;
                                    * 0: none */

        char failure[EVENT_TEXT_LEN]; /* why this side's system counts as failed; empty: it does not */
        usec_t failure_usec;
        usec_t going_usec;  /* an orderly stop was announced then; 0: no */
        char going[16];     /* "shutdown", "reboot" */
        bool operator_hold; /* an operator suspended, destroyed, migrated or saved it: hands off */
        usec_t pause_wait_usec; /* it was paused; an operator's doing unless more is heard until then */
        usec_t gone_wait_usec; /* the process went; wait until then for libvirt's reason */

        enum fence_state fence;
        usec_t fence_usec;  /* when the present fence state was entered */
        bool fence_late;    /* it is frozen, and its process does not end; said once */

        uint64_t plugged_bytes[POLICY_APPLICATIONS_MAX]; /* as QEMU reports */
        usec_t plugged_usec[POLICY_APPLICATIONS_MAX];      /* when that was learned, 0: never */
        uint64_t requested_bytes[POLICY_APPLICATIONS_MAX]; /* as last asked and done */
        bool requested_known[POLICY_APPLICATIONS_MAX];
        unsigned vcpus;     /* plugged now, 0 unknown */
        unsigned vcpus_base; /* of them those that it had when that was learned */
        bool vcpus_stay;    /* its guest did not let go of some: none are taken any more */

        usec_t asked_usec;  /* its guest asked for memory by itself then, 0: never */
        usec_t said_usec;   /* lines of history that its guest can cause at will: since then, so many */
        unsigned n_said;
        unsigned rebuilds;  /* starts by failoverd since its agent last greeted */
        usec_t started_usec; /* the latest of them */
        char start_failure[EVENT_TEXT_LEN]; /* why it did not start when it was last tried; empty: it runs, or did */
        usec_t found_usec;   /* it runs, and nobody watches it: since then; 0: otherwise */
        bool counted_watched, counted_suspect; /* in the engine's counts */
        struct request inspect, look, start, freeze, dump, kill, resize[POLICY_APPLICATIONS_MAX], vcpu;
};

struct app_state {
        /* as the agents report it */
        enum application_state state[SIDE_MAX];
        usec_t state_usec[SIDE_MAX];
        uint64_t used_bytes[SIDE_MAX];
        usec_t needed_usec[SIDE_MAX]; /* when the agent last told of the region's node there, 0: not since it greeted */
        uint64_t needed_bytes[SIDE_MAX]; /* what others than the application need of that node */
        bool attached[SIDE_MAX];   /* its region's memory is online there, as granted */
        bool checked[SIDE_MAX];    /* the agent says that it could be started there */
        usec_t checked_usec[SIDE_MAX]; /* when it last said whether, 0: it has not */
        char check_text[SIDE_MAX][MESSAGE_TEXT_LEN];
        bool healthy;

        usec_t restarts_usec[32]; /* of this failure window */
        unsigned n_restarts;
        unsigned n_starved;    /* failed checks in a row that a starved host excused */
        usec_t starved_usec;   /* the latest on a starved host, excused or not; 0: never */
        bool restart_wanted;
        /* the agent's latest severity report, until it has been dealt with */
        bool failed;
        enum failure_cause failed_cause;
        int failed_code;
        bool failed_hard;
        usec_t failed_usec;
        bool refused;              /* its request for memory was refused */
        char refusal[MESSAGE_TEXT_LEN];
        char failure[EVENT_TEXT_LEN]; /* the latest, for people */

        usec_t release_usec;       /* a release was asked for then */
        bool mismatch[SIDE_MAX];   /* QEMU reports more than the table grants; said once */
        unsigned disks_detached, disks_attached; /* how many of its disks, in order: from the flow's old side, and
                                                  * to disk_side */
        enum side disk_side; /* the side that they are being attached to */
        bool told_start;       /* flow: its new side was told to start it, or may have been before failoverd's start */
        bool disks_let_go;   /* flow: they are free on its old side */
        bool disks_there[SIDE_MAX]; /* a disk was asked for there, or may have been, and is not seen to be gone again */
        bool disk_stale;     /* the call that is out was for another purpose: its answer does not count */

        /* to the agents, by side */
        struct request attach[SIDE_MAX], start[SIDE_MAX], stop[SIDE_MAX], check[SIDE_MAX];
        struct request disk;
        struct request grant;      /* of its regions, at their holders */
        uint64_t state_token;      /* the one under which they were granted last, by this failoverd; 0: none */
        uint64_t state_spent;      /* what was started under it has ended since, or it was of another policy: nothing
                                    * is started under it again. 0: none */
        bool state_shared;         /* the policy would make do without a holder that is out of reach, but the other side
                                    * may write there */
        unsigned n_outrun;         /* times in a row that a holder knew a token as high as the one it was asked with */
        char state_failure[MESSAGE_TEXT_LEN]; /* why that does not come about; empty: it does */
        usec_t state_failed_usec;  /* since when */
        bool overflow[SIDE_MAX];   /* its overflow disk is attached there */
        usec_t overflow_usec;      /* since then its start waits for that alone; 0: it does not, USEC_INFINITY: it has
                                    * come for the start that is about to be told, or was waited for in vain */
        struct request touch, canary; /* to the standby's, in a rehearsal */
        bool touched, tried;          /* their answers were good */

        bool prefaulted;   /* its region's memory has been touched where it was started last, or need not be */

        struct handover *handover; /* owned; while the old side still uses the region. NULL: not so */
        struct request page_out;
};

/* What is known of the rehearsal under way beside the record; void after a crash. */
struct rehearsal {
        uint64_t command_id;    /* the operator command that waits for it; 0: none */
        usec_t begun_usec, since_usec; /* all of it, and its present state */
        usec_t asked_usec;      /* when the memory was last asked back */
        uint64_t unused_bytes;  /* of the pool, when it began */
        uint64_t touched_bytes; /* what the agent could take of what was plugged */
        struct drill_result result; /* as far as it has come */
        int error;              /* negative errno of its answer where it comes to nothing; 0: the usual one */
        bool give_way;          /* its memory is wanted for something that is no rehearsal */
        bool cut_off;           /* failoverd was started in the middle of it */
};

struct engine;

struct pair {
        int slot;
        enum pair_state state;
        usec_t state_usec; /* since when */
        const struct pair_policy *policy; /* into the engine's copy */
        struct record record;
        bool record_dirty; /* record changed since the last persist was asked for */
        uint64_t owner_seq;    /* seq in which an owner or token last changed */
        uint64_t flow_seq;     /* seq in which the flow under way began */
        bool flow_dirty;       /* it began since the last persist was asked for */
        bool owner_dirty;      /* it changed since the last persist was asked for */
        uint64_t persist_seq[PERSIST_LEVEL_MAX]; /* highest seq known to be safe at each level */
        uint64_t persist_sent[PERSIST_LEVEL_MAX]; /* seq of the write that is out */
        bool store_late;       /* the last owner write failed or passed its deadline; said once */
        struct request persist[PERSIST_LEVEL_MAX];
        bool restored;     /* a record came from the store */
        bool unsettled;    /* without a record: where its applications run is not known before both sides have
                            * been looked at, and nothing is started before */

        struct member_state members[SIDE_MAX];
        struct app_state apps[POLICY_APPLICATIONS_MAX];

        usec_t drill_usec;        /* a drill caused its fault then and no flow has come of it yet; 0: none */
        uint64_t drill_command_id;
        struct rehearsal rehearsal;
        char blocked[EVENT_TEXT_LEN]; /* why a failure was not followed by a failover; said once */

        char reasons[REASONS_MAX][EVENT_TEXT_LEN]; /* why it is not armed */
        unsigned n_reasons;
        usec_t armed_usec;   /* since when, 0: not */
        enum readiness_level readiness; /* could it fail over for each single failure? (readiness.h) */
        usec_t readiness_usec;          /* since when */
        usec_t readiness_asked_usec;    /* when that was looked at last, and the pool's unused memory then */
        uint64_t readiness_unused_bytes;
        struct flow last_flow; /* the latest that ended well; its REJOINED is still to come */
        bool rejoin_pending;
        usec_t wake_usec;       /* last asked for */
        usec_t wake_slack_usec; /* and how much later it may be */
};

/* The side that is active: where the hot-standby applications are owned; the home side where they are split or
 * there are none. */
enum side pair_active(const struct pair *pair);
/* True while hot-standby applications are owned by both sides. */
bool pair_split(const struct pair *pair);
/* Its start waits for the right to write its shared regions, which their holders have refused (app_state). */
bool pair_lacks_state(const struct pair *pair, int app);
/* Kind of an application with AUTO resolved (plain until told otherwise). */
enum application_kind pair_application_kind(const struct pair *pair, int app);
/* So much of the region in this row the pool has not: it is overflow, at memory servers (I: part 6). 0 for other rows,
 * and where the policy does not want that. */
uint64_t pair_remote_bytes(const struct pair *pair, const struct region *row);
/* Is the application to have an overflow disk in that side's VM? */
bool pair_wants_overflow(const struct engine *engine, const struct pair *pair, int app, enum side side);
/* Is a start on its way that one is wanted for, and not there? */
bool pair_awaits_overflow(const struct engine *engine, const struct pair *pair);
/* Restarts in place within the window of its budget. */
unsigned pair_recent_restarts(const struct pair *pair, int app, usec_t now_usec);
/* "PAIR-NUMBER" of a flow. Returns `buffer`. */
const char *flow_id(const struct pair_policy *policy, const struct flow *flow, char buffer[FAILOVER_ID_LEN]);
/* Fills one spec for each application that can be started on that side, for a `configure` message. What they point
 * to is borrowed from the policy. Returns how many. */
size_t pair_fill_configure(const struct pair *pair, enum side side, struct application_spec *specs);
