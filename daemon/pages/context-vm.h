/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The VM of a context, at a libvirt of this host. Its state is taken as libvirt's external memory snapshot, of a VM
 * that is paused meanwhile or, for a checkpoint, goes on: the file is what virDomainSave() would write, but the VM is
 * still there when it is. It is ended only after its context is known to be whole elsewhere.
 */

#include <libvirt/libvirt.h>

#include "daemon/pages/context-image.h"

struct context_vm {
        virConnectPtr connection;
        virDomainPtr domain;
        char name[NAME_LEN];
        char uuid[CONTEXT_UUID_LEN];
        char *xml;      /* as it runs; owned */
        bool paused;    /* before anybody here paused it */
        bool suspended; /* by us */
        uint64_t memory_bytes; /* that it has now */
};

/* -EINVAL for a URI of another host: spool and disks are looked at here. The caller closes it. */
int context_vm_connect(const char *uri, virConnectPtr *ret, struct error *error);

/* The VM of that name, which has to run or be paused. -ENOENT, -ESHUTDOWN. `connection` is borrowed. */
int context_vm_find(virConnectPtr connection, const char *name, struct context_vm *ret, struct error *error);
/* 1 where a VM of that name or UUID runs there, 0 where none does: which one is said in `error`. -EEXIST where a VM of
 * that name is defined with another UUID. */
int context_vm_present(virConnectPtr connection, const char *name, const char *uuid, struct error *error);
/* Its XML as it is now: devices come and go while it runs. */
int context_vm_read_xml(struct context_vm *vm, struct error *error);
void context_vm_deinit(struct context_vm *vm);
/* As domain_xml_alarms(). */
int context_vm_alarms(const struct context_vm *vm, bool *ret_panic, bool *ret_hang, struct error *error);

/* Pauses it, where it is not paused; lets it go on, where it was paused here. */
int context_vm_suspend(struct context_vm *vm, struct error *error);
int context_vm_go_on(struct context_vm *vm, struct error *error);
/* The disks of a VM that runs on, those that it can write with their overlays; borrowed. */
struct context_checkpoint {
        const struct context_disk *disks;
        size_t n_disks;
};

/* Its state into the file at `path`, which libvirt makes. A file that is not whole is left where this fails. With
 * `checkpoint` (NULL: none) the VM runs on meanwhile, but for a moment at the end. Its state is of that, and so are its
 * disks, since it goes on writing into overlays (context-overlay.h). A file that grows past `limit_bytes`, 0: none, is
 * given up with -ENOSPC. */
int context_vm_image(struct context_vm *vm, const char *path, const struct context_checkpoint *checkpoint,
                     uint64_t limit_bytes, const struct context_progress *progress, struct error *error);
/* The XML in such a file: what a VM may be started with from it, with other paths say. The caller frees it. */
int context_vm_image_xml(const struct context_vm *vm, const char *path, char **ret_xml, struct error *error);
/* Ends it, at once. It is gone when this returns 0. Where this fails it may run, have ended, or end in a moment. */
int context_vm_end(struct context_vm *vm, const char *uri, struct error *error);
/* Whether the VM of that UUID is there now, running or paused, as a new connection to `uri` says: 1 or 0. Negative
 * errno where nobody says. */
int context_vm_active(const char *uri, const char *uuid, struct error *error);
/* Whether a VM whose start over `connection` has failed is surely not there: where no answer came (the connection is
 * dead), libvirt may still be about to start it. */
bool context_vm_absent(virConnectPtr connection, const char *uri, const char *uuid);
/* Starts a VM with its state from the file. `xml` NULL: as it was saved. */
int context_vm_start(virConnectPtr connection, const char *path, const char *xml, bool paused,
                     const struct context_progress *progress, struct error *error);
