/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A context in and out of its space: the image goes through zstd chunk by chunk, and nothing is believed that its sum
 * does not bear out. */

#include "daemon/pages/context-key.h"

/* The space. Negative errnos; a call is of at most CONTEXT_IO_MAX bytes. */
#define CONTEXT_IO_MAX (4 * MIB)
struct context_io {
        int (*read)(void *userdata, void *buffer, uint64_t length, uint64_t offset);
        int (*write)(void *userdata, const void *buffer, uint64_t length, uint64_t offset);
        int (*flush)(void *userdata); /* what was written is where it shall be, at the mirror too */
        void *userdata;
        uint64_t size_bytes;
};

enum context_phase {
        CONTEXT_STATE_OUT,  /* libvirt writes the VM's memory and processors into the spool */
        CONTEXT_SAVE,       /* from there to the memory server */
        CONTEXT_VERIFY,     /* what is there is read again */
        CONTEXT_FETCH,      /* from the memory server into the spool */
        CONTEXT_STATE_IN,   /* libvirt starts the VM with it */
        CONTEXT_MERGE,      /* files of a disk become one (context-chain.h) */
        CONTEXT_PHASE_MAX,
        CONTEXT_PHASE_INVALID = -EINVAL,
};
/* "writing memory", "saving", "verifying", "fetching", "starting", "merging disks" */
DECLARE_ENUM_TABLE(context_phase);

/* Told now and then how far it is; `total_bytes` 0: nobody knows. Non-zero: it is to be given up, with -ECANCELED. NULL
 * members are not called. */
struct context_progress {
        int (*tell)(void *userdata, enum context_phase phase, uint64_t done_bytes, uint64_t total_bytes);
        void *userdata;
};
int context_tell(const struct context_progress *progress, enum context_phase phase, uint64_t done_bytes,
                 uint64_t total_bytes);

/* Puts the image that the file `fd` holds into the space, and what it is like into the manifest. -ENOSPC where it does
 * not fit, or the server has no room. */
int context_image_write(const struct context_io *io, int fd, struct context_manifest *manifest,
                        const struct context_progress *progress, struct error *error);
/* Makes it a context: the manifest, then, once all is there to stay, the head. `head` is zeroed, or the one that counts
 * now: then another manifest takes the place of its own. `holder` as for context_mark(). `key` NULL: nobody vouches. */
int context_commit(const struct context_io *io, const struct context_manifest *manifest, const struct context_key *key,
                   const char *holder, struct context_head *head, struct error *error);
/* Says that its VM may be there, and where, or that it is not: "". */
int context_mark(const struct context_io *io, struct context_head *head, const char *holder, struct error *error);

/* Head and manifest, each whole: errors of context_head_decode() and context_manifest_decode(), and of reading. */
int context_open(const struct context_io *io, struct context_head *ret_head, struct context_manifest **ret_manifest,
                 struct error *error);
/* Checks every chunk and the whole, and writes the image into `fd`, -1: only checks. -EBADMSG where anything is not as
 * it was saved; then what is in `fd` is worth nothing. */
int context_image_read(const struct context_io *io, const struct context_manifest *manifest, int fd,
                       enum context_phase phase, const struct context_progress *progress, struct error *error);
