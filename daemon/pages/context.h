/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Contexts: a VM's memory and processor state kept on memory servers, from where it goes on under this or another
 * libvirt (T: a context is saved and another one takes its place).
 *
 * Whatever can fail is done before anything is given up. A VM is paused and its state saved, verified and there to stay
 * before it is ended; a context is fetched and verified as a whole before it takes a VM's place. Until then any
 * failure, Ctrl-C included, leaves the VM running as it was. A program that is killed leaves a paused VM at worst.
 *
 * A context is resumed once: it goes when its VM runs, unless it is kept on purpose. From when it is whole until its VM
 * has ended, and again before the VM is started, the context says that the VM may be there; after a crash just then
 * nobody knows whether it is, and a person has to say.
 */

#include "daemon/pages/context-disk.h"
#include "daemon/pages/context-place.h"
#include "daemon/pages/context-spool.h"
#include "daemon/pages/context-vm.h"

enum context_act {
        CONTEXT_ENDS,   /* the VM is paused, and ended */
        CONTEXT_STARTS, /* it goes on, with whatever it was doing */
};

struct context_job {
        const struct context_servers *servers;
        const char *uri;   /* libvirt */
        const char *spool; /* directory */
        const char *key;   /* file: context-key.h */
        const char *xml;   /* of the VM to resume, in place of its own; NULL: none */
        bool persistent;   /* at servers that have a directory for it */
        bool keep;         /* after it was resumed */
        bool force;        /* a person states what cannot be seen */
        bool dry_run;      /* verify all, do nothing */
        bool live;         /* a checkpoint: the VM is not ended */
        bool guard;        /* the caller alone resumes contexts of that name, here: one that is said to be resumed here
                            * was by an earlier life of the caller's, which came to nothing where the VM is not there */
        const char *overlays; /* of a checkpoint: by what the names of its overlays end; NULL: by its own name */
        const struct context_disk *disks; /* of the context to be resumed, as the caller knows them to be by now, since
                                           * it has merged files of theirs; NULL: as the context says */
        size_t n_disks;
        uint64_t saved_usec; /* what is to be resumed was saved then, and no other is; 0: any */
        struct context_progress progress;
        /* Whether the VM may be ended, or started, here: not where failoverd governs it. Asked before anything is
         * begun, and again right before the VM is paused, ended or started. Negative errno with the reason. */
        int (*permit)(void *userdata, const char *vm, enum context_act act, struct error *error);
        void *userdata;
};

/* The manifests are the caller's. Errors name the VM's state where it is not as before. With `live`, a save is refused
 * (-ENOTSUP) where the VM can write to a disk that is not in a file. */
int context_save(const struct context_job *job, const char *vm, const char *name, struct context_manifest **ret,
                 struct error *error);
int context_resume(const struct context_job *job, const char *name, struct context_manifest **ret,
                   struct error *error);
int context_swap(const struct context_job *job, const char *vm, const char *out, const char *in,
                 struct context_manifest **ret_out, struct context_manifest **ret_in, struct error *error);
/* What is said of it; it is the same afterwards. */
int context_describe(const struct context_job *job, const char *name, struct context_manifest **ret,
                     struct error *error);
/* -EBUSY while somebody saves or resumes it, unless `force`. */
int context_remove(const struct context_job *job, const char *name, struct error *error);

/* What a save and a resume go through, for those who put them together. All are zeroed and CONTEXT_..._INIT at first,
 * and given back by their own function in whatever state they are. */
struct context_saving {
        struct context_vm vm;
        struct context_spool spool;
        struct context_place place;
        struct context_head head;
        struct context_manifest *manifest; /* owned */
        struct context_key key;
        bool opened;                       /* its space is there */
        bool whole;                        /* and in it all that there is of the VM, should that end */
        bool overlaid;                     /* the VM writes into overlays of a checkpoint */
};

struct context_resuming {
        struct context_spool spool;
        struct context_place place;
        struct context_head head;
        struct context_manifest *manifest; /* owned */
        bool taken, vouched; /* by the key */
};

#define CONTEXT_SAVING_INIT \
        (struct context_saving) { .spool = CONTEXT_SPOOL_INIT }
#define CONTEXT_RESUMING_INIT \
        (struct context_resuming) { .spool = CONTEXT_SPOOL_INIT }

/* Asks whether it may be, and connects. */
int context_saving_permit(const struct context_job *job, const char *vm, const char *name, virConnectPtr *ret,
                          struct error *error);
/* All that can be found out before the VM is touched, and a space for it. */
int context_saving_prepare(const struct context_job *job, virConnectPtr connection, const char *vm, const char *name,
                           struct context_saving *saving, struct error *error);
/* Pauses the VM, and saves it until its context is whole. Where this fails, the VM goes on and the space is dropped. */
int context_saving_run(const struct context_job *job, struct context_saving *saving, struct error *error);
/* Ends the VM. The same, but where whether it has ended is not known: then the context stays, claimed. */
int context_saving_end(const struct context_job *job, struct context_saving *saving, struct error *error);
/* Lets the VM go on, and drops the space, where there are any; a whole context only where the VM is seen to be there.
 * What did not work is added to `error`. */
void context_saving_undo(struct context_saving *saving, struct error *error);
void context_saving_deinit(struct context_saving *saving);

/* Finds the context and looks at all that could speak against it; `instead` is a VM in whose place it shall come, or
 * NULL. */
int context_resuming_prepare(const struct context_job *job, virConnectPtr connection, const char *name,
                             const struct context_vm *instead, struct context_resuming *resuming,
                             struct error *error);
/* Whether it is what it says, and of whom: -EBADMSG where it is not the context of that name, VM and time, -EPERM where
 * its overlays are not files beside its disks, and where it is not sealed with our key, unless `force`. */
int context_resuming_trust(const struct context_job *job, const char *name, struct context_resuming *resuming,
                           struct error *error);
/* Fetches it, and believes nothing. */
int context_resuming_fetch(const struct context_job *job, virConnectPtr connection, struct context_resuming *resuming,
                           struct error *error);
/* Starts the VM, and drops the context. Where this fails, it is there as before; where nobody knows whether the VM was
 * started, claimed, with the disks as they are. */
int context_resuming_start(const struct context_job *job, virConnectPtr connection,
                           struct context_resuming *resuming, struct error *error);
void context_resuming_deinit(struct context_resuming *resuming);

/* "VERB it on HOST under URI at TIME", for whoever finds a context claimed. */
void context_claim_text(const struct context_job *job, const char *verb, char ret[static CONTEXT_HOLDER_LEN]);

/* A connection that is closed with its scope. */
void context_connection_close(virConnectPtr *connection);
#define _cleanup_connection_ _cleanup_(context_connection_close)
