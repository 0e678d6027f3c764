/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The standby of one VM that stands alone (core/context-standby.h): it looks at the VM twice a second, takes its
 * checkpoints, and lets it go on from the last one when it is lost. It is a process of its own for each VM, since a
 * call of libvirt's and the copying of a VM's memory take their time, and none of that may keep anybody else waiting.
 *
 * It outlives failoverd, which starts it, and reads what it shall do from the copy of the policy that failoverd keeps.
 * Its directory, in a file system that the host's boot empties, holds the lock that says that it lives, and its
 * document (daemon/host/children/standby-document.h).
 */

#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "daemon/host/children/standby-events.h"
#include "daemon/pages/context.h"
#include "daemon/pages/standby-disks.h"
#include "daemon/pages/standby-proof.h"

/* The copy of the events that survives a boot is written aside: the disk may stall. */
struct standby_copying {
        pthread_t thread;
        bool begun;
        _Atomic bool over;
        const char *dir;
        struct standby_events events; /* that are being copied, or were */
        struct error error;
};

/* A question to libvirt, and what it answers: the thread's until that has ended. */
struct standby_asking {
        pthread_t thread;
        char *uri;            /* owned */
        const char *domain;
        usec_t from_usec, begun_usec; /* when it was begun, by CLOCK_BOOTTIME and CLOCK_MONOTONIC */
        virConnectPtr connection; /* the standby's, or another one that the thread has opened */
        enum alone_state found;
        bool answered, active;    /* libvirt has told the state; it has the VM as started */
        usec_t waited_usec;       /* so long that took, over one connection; 0: not known */
        char unseen[STANDBY_TEXT_LEN]; /* what kept it from telling */
};

struct standby {
        const char *domain, *policy_path, *dir, *state_dir; /* of the options */
        const volatile sig_atomic_t *stop; /* set when it is to end */
        struct policy *policy;        /* owned; NULL: not read yet */
        const struct vm_policy *vm;   /* in it */
        struct timespec policy_time;  /* of the file that it was read from */

        virConnectPtr connection;     /* NULL: none, or it is being asked over it */
        struct standby_asking *asking; /* owned; NULL: nothing is being asked */
        usec_t patience_usec;         /* so long a look waits for an answer */
        int phase;                    /* enum context_phase of the work under way, and how far it has come; */
        uint64_t phase_bytes;
        usec_t moved_usec;            /* since when that is so */
        char run_dir[PATH_MAX];       /* where libvirt has the pid files */
        int pidfd;                    /* of the VM's process; -1: none that is known */
        bool active;                  /* libvirt has it as started, in whatever state */

        struct standby_document document; /* as it is kept */
        struct standby_sight sight;
        char unseen[STANDBY_TEXT_LEN]; /* what kept the last look from seeing the VM as it is; empty: nothing */
        usec_t weak_usec;             /* since when it is not armed; 0: it is */
        struct standby_proof proof;
        usec_t proved_usec;           /* when that was asked last */
        char said[STANDBY_TEXT_LEN];  /* what was wrong when that was logged last */
        struct standby_events events; /* as they are kept */
        struct standby_copying copying;

        struct standby_disks disks;   /* as they are kept */
        bool defined;                 /* the VM's definition has the disks that it writes to */
        char undefined[STANDBY_TEXT_LEN]; /* why it has not; empty: it has, or the VM does not run */
        char overlays[CONTEXT_CHAIN_NAME_LEN]; /* by what the names of the next ones end */

        struct context_servers servers; /* of the policy */
        char *spool, *key;            /* owned */
};

/* Its checkpoints, in turn. They have room in a context's name with a domain of VM_DOMAIN_MAX. */
#define STANDBY_CONTEXT_FORMAT "%s.standby-%c"
#define STANDBY_SLOTS 2

#define STANDBY_INIT \
        (struct standby) { .pidfd = -1, .patience_usec = STANDBY_ANSWER_USEC, .servers.cancel_fd = -1, \
                           .proof.cancel_fd = -1 }

/* Looks at the VM: fills in what is seen in `sight`. What keeps it from being seen is in `unseen`. */
void standby_look(struct standby *standby);
/* So long a look waits for libvirt; after that the answer is taken in when it comes, and nobody asks again before. */
#define STANDBY_ANSWER_USEC (5 * USEC_PER_SEC)
/* Libvirt may take a minute to end a VM, and tells nothing of it meanwhile. After that it is stuck, and another life,
 * with a connection of its own, may have an answer. */
#define STANDBY_STUCK_USEC STANDBY_WAIT_USEC
bool standby_stuck(const struct standby *standby);
/* What is asked is waited for, as long as a look does; a thread that is stuck is left behind. */
void standby_asking_end(struct standby *standby);
/* The VM's process, as process_find() does, and which run of the VM it is; 0: not known, or it has ended. */
int standby_find_run(const char *run_dir, const char *domain, int *ret_pidfd, uint64_t *ret_run);
/* Makes it certain that the VM's process ends; whether it has, the next look tells. */
int standby_fence(struct standby *standby, struct error *error);
/* A connection to libvirt, opened anew where there is none that works. */
int standby_connect(struct standby *standby, struct error *error);

/* Takes a checkpoint in place of the one before the newest. The record is written. */
int standby_checkpoint(struct standby *standby, struct error *error);
/* Sees to it that a VM that runs would be started anew with the disks that it writes to; quickly where it would. */
int standby_define(struct standby *standby, struct error *error);
/* Lets the VM go on from the checkpoint, wherever a copy of it is whole. That is noted, for the caller to keep. */
int standby_resume(struct standby *standby, struct error *error);
/* Asks now and then whether memory servers have the checkpoint, and takes the answer into what is seen. */
void standby_prove(struct standby *standby);

/* It is not stuck: for so long nobody ends it. In system mode that is systemd, at a time of its own; else a signal,
 * which ends it unless somebody handles it. */
#define STANDBY_ALARM_SEC 240
void standby_feed(void);

/* Keeps the document: before anything is done that rests on its record, and each second for who reads it. */
int standby_keep(struct standby *standby, struct error *error);
/* The events of the lives before this one, also of those before the host's boot. What cannot be read is logged. */
void standby_events_load(struct standby *standby);
/* For history and for people: noted in the document, and with that kept before it is told, so that nothing is told of
 * what is not kept, and what is kept is told, once, though the program is killed between the two. */
void __attribute__((format(printf, 3, 4))) standby_note(struct standby *standby, enum standby_news news,
                                                        const char *format, ...);
/* What was noted and not told yet is logged, and kept for failoverd. */
void standby_tell(struct standby *standby);
/* Sees to their copy on the disk; called now and then. */
void standby_events_copy(struct standby *standby);
/* Waits for it. */
void standby_events_end(struct standby *standby);

/* Reads the policy again where its file is another one. 1: the VM has this standby; 0: it has none any more. */
int standby_policy_read(struct standby *standby, struct error *error);
/* Whether the policy as it is now still has the VM stand alone; what was read before is not changed. -EAGAIN where it
 * does not, and where that cannot be told. */
int standby_policy_wants(const struct standby *standby, struct error *error);

/* Runs until the policy does not want it any more, or `*stop` is set. 0, or what keeps it from beginning. */
int standby_run(struct standby *standby, struct error *error);
void standby_deinit(struct standby *standby);
