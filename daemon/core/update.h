/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What engine_step() wants done. The shell carries the actions out in their order; every action marked (done)
 * is answered by one EVENT_DONE with its id, also when it fails or passes its deadline. Actions own nothing but
 * what the update owns; the shell copies what it keeps.
 *
 * Order within one update matters in one way only: a PERSIST stands before what relies on it, and what must
 * wait for the write to be safe is not in the same update but follows the write's EVENT_DONE.
 */

#include <stddef.h>

#include "daemon/core/event.h"
#include "daemon/core/record.h"

enum action_kind {
        ACTION_PERSIST,      /* (done) pair, level, record */
        ACTION_FREEZE,       /* (done) pair, side: stop the processors, drain the disks; done means QEMU said so */
        ACTION_DUMP,         /* (done) pair, side, bytes, failover id in text: dump the memory of a frozen guest,
                              * `bytes` at most; it ends when the guest is killed */
        ACTION_KILL,         /* (done) pair, side: SIGKILL through the pidfd. Gone is EVENT_PROCESS, not this */
        ACTION_STOP_PROCESS, /* (done) pair, side: SIGSTOP, drills only */
        ACTION_START_DOMAIN, /* (done) pair, side: boot it with nothing requested */
        ACTION_RESIZE,       /* (done) pair, side, app, bytes: requested size of the app's virtio-mem device */
        ACTION_VCPUS,        /* (done) pair, side, count: processors plugged, base ones included */
        ACTION_TAKE_VCPUS,   /* (done) pair, side, count: processors left, base ones included; under KVM only */
        ACTION_ATTACH_DISK,  /* (done) pair, side, app, text: target name */
        ACTION_DETACH_DISK,  /* (done) pair, side, app, text; done means seen to be gone */
        ACTION_GRANT_STATE,  /* (done) pair, side, app, bytes: token; offset: the one under which they were granted
                              * last, as record_app.state_granted; count: bits of the regions that may be new; moved:
                              * of those that were elsewhere at that grant, so that what is there under a lower token
                              * is not the latest. The holders of the app's regions, or their mirrors, give them to
                              * that side: who had them before can write no more. Where one knows a token that is no
                              * lower, -ESTALE and that token in the event's bytes. alone: whoever had them can write
                              * no more anyway, so that the policy may make do without a holder that is out of reach;
                              * -ENOTUNIQ where only that is missing */
        ACTION_INSPECT,      /* (done) pair, side: re-read state, process and device sizes; they come as events */
        ACTION_PREFLIGHT,    /* (done) pair, side: look at the XML; comes as EVENT_PREFLIGHT */
        ACTION_FOLLOW,       /* pair, side, app, count: look at a region's memory in both QEMUs again and again, as
                              * EVENT_USAGE, while its management has moved from that side and usage follows (N);
                              * count 0 ends it. As often as it is needed: nothing happens twice */
        ACTION_PAGE_OUT,     /* (done) pair, side, app, offset, bytes: the kernel pages this stretch of the region out
                              * of that side's QEMU; done has `bytes` */
        ACTION_PROBE,        /* pair, side, count: ask every second path; answers come as EVENT_SECOND_PATH. With count
                              * 1 EVENT_WAITED too */
        ACTION_SEND,         /* pair, side, message: to the agent; lost without notice when the link is down */
        ACTION_CONFIGURE,    /* pair, side: send `configure` made by pair_fill_configure() */
        ACTION_DROP_LINK,    /* pair, side: the agent broke the protocol; disconnect, connect anew later */
        ACTION_EVIDENCE,     /* pair, side, in text the failover's id, or PAIR+DOMAIN: keep what tells why, before it is
                              * destroyed */
        ACTION_WAKE,         /* pair or NO_PAIR, due_usec: send EVENT_WAKE then, or up to deadline_usec later; replaces
                              * the pair's last wake. USEC_INFINITY cancels it */
        ACTION_RECORD,       /* pair, record_kind, side, text: a line of history and of the journal */
        ACTION_PHASE,        /* pair, phase, flow: a phase was reached */
        ACTION_FLOW_ENDED,   /* pair, flow, result, text: into history */
        ACTION_DRILL_ENDED,  /* pair, drill, command_id: into history; before the command's REPLY */
        ACTION_CHANGED,      /* pair: its state has changed; tell who listens on the bus */
        ACTION_REPLY,        /* command_id, result, text: outcome of an operator command */
        ACTION_KIND_MAX,
        ACTION_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(action_kind);

/* How safe a write must be before it counts. */
enum persist_level {
        PERSIST_STEP,  /* survives a crash of failoverd: memory-backed, in the run-time directory */
        PERSIST_OWNER, /* survives power loss: on disk, synced */
        PERSIST_LEVEL_MAX,
        PERSIST_LEVEL_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(persist_level);

/* What a history line is about; each has its journal MESSAGE_ID and catalog entry. */
enum record_kind {
        RECORD_ARMED,
        RECORD_UNPROTECTED,
        RECORD_SUSPECTED,
        RECORD_CLEARED,       /* a suspicion that did not hold */
        RECORD_DECIDED,       /* to act */
        RECORD_IGNORED,       /* decided not to act, and why */
        RECORD_FENCED,
        RECORD_FENCE_FAILED,
        RECORD_GRANTED,
        RECORD_REFUSED,
        RECORD_STARTED,
        RECORD_RESTARTED,     /* in place */
        RECORD_APP_FAILED,
        RECORD_ENDED,         /* a plain application ended with its OS, or its budget is used up; or the policy took
                               * one out, and it has stopped */
        RECORD_HANDED_OVER,   /* the old user uses nothing of a region any more */
        RECORD_RECLAIM,       /* memory can, or can no longer, be taken back by force */
        RECORD_RESERVE_USED,
        RECORD_HELD,
        RECORD_PAUSED,
        RECORD_RESUMED,
        RECORD_DOUBT,         /* failoverd or the host is the suspect */
        RECORD_TABLE_MISMATCH,
        RECORD_STORE,         /* a write failed or is late; the store is lost */
        RECORD_PROTOCOL,      /* an agent broke the protocol */
        RECORD_DRILL,
        RECORD_DRILL_MISSED,  /* it failed, or was slower than the objective */
        RECORD_OVERFLOW,      /* a VM may use memory of other hosts, or not any more, and what becomes of it there */
        RECORD_KIND_MAX,
        RECORD_KIND_INVALID = -EINVAL,
};
DECLARE_ENUM_TABLE(record_kind);

struct action {
        enum action_kind kind;
        uint64_t id; /* of (done) actions, rising, never 0 */
        int pair;
        enum side side;
        int app;
        uint64_t offset, bytes;
        unsigned count;
        bool alone; /* GRANT_STATE */
        unsigned moved; /* GRANT_STATE */
        usec_t due_usec;
        usec_t deadline_usec; /* span that a (done) action may take */
        enum persist_level level;
        enum record_kind record_kind;
        enum phase phase;
        uint64_t command_id;
        int result;
        char text[EVENT_TEXT_LEN];
        char app_name[NAME_LEN]; /* name of `app` where there is one */
        struct message *message; /* ACTION_SEND; owned by the update */
        struct record *record;   /* ACTION_PERSIST; owned by the update */
        struct flow flow;        /* ACTION_PHASE, ACTION_FLOW_ENDED */
        struct drill_result drill; /* ACTION_DRILL_ENDED */
};

struct update {
        struct action *actions; /* owned */
        size_t n_actions, n_allocated;
        struct action scratch; /* where additions go once memory has run out; never carried out */
        bool failed; /* out of memory: the shell must stop (fail static) and start again from the store */
};

#define UPDATE_INIT \
        (struct update) { 0 }

/* Empties an update for the next step, keeping its room. */
void update_clear(struct update *update);
void update_deinit(struct update *update);

/* Appends one action of a kind and returns it for the rest to be filled in; pair, side and app are set, all else
 * is zero (app_name and message empty). Never NULL: when memory runs out, `failed` is set and a scratch action
 * inside the update is returned. */
struct action *update_add(struct update *update, enum action_kind kind, int pair, enum side side, int app);
