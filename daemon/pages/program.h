/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Programs that are started out of server memory (I: new applications may be loaded into server memory and migrate to
 * the client as they run).
 *
 * A program's image is put into a space of a memory server, and mirrored at a second one; from there it is started on
 * any host that reaches them. Nothing of it is copied beforehand: a process of its own serves the image as a file of a
 * file system (FUSE) that only this start has, the kernel maps that file as any program's, and a page is fetched when
 * the program first touches it. What the kernel drops when memory is short is fetched again.
 *
 * An image is never written to once it is there. So any number of programs read one at the same time, each beside the
 * others' (they look at the space, and nobody has a grant); and where its primary is lost while they run, they go on
 * at the mirror, whoever of them promotes it, since a copy that lacked anything would fail its sums.
 *
 * The program keeps its own memory here, as any does, or has that too at a memory server (failover-region(3)).
 */

#include "daemon/pages/context-place.h"
#include "daemon/pages/program-image.h"

struct program_job {
        const struct context_servers *servers; /* of kind CONTEXT_PROGRAM */
        const char *key;                       /* file: context-key.h */
        bool persistent;                       /* at servers that have a directory for it */
        bool force;                            /* a person vouches for it */
        struct context_progress progress;
};

/* Puts the executable at `path` there. -ENOEXEC for what is none, -EFBIG past PROGRAM_IMAGE_MAX, -EEXIST. Where this
 * fails, nothing remains. */
int program_put(const struct program_job *job, const char *path, const char *name, struct program_head *ret,
                struct error *error);

/* How long a touched page is waited for when no server that has it answers. */
#define PROGRAM_PATIENCE_USEC (30 * USEC_PER_SEC)
#define PROGRAM_DEADLINE_USEC (2 * USEC_PER_SEC) /* for an answer: then the mirror is looked at */

/* A program that is read, wherever it is. */
struct program_source {
        const struct program_job *job;
        struct space_name name;
        struct context_place place;
        struct program_image image;
        size_t primary; /* that it was read from last */
        void (*moved)(void *userdata, const char *control); /* it goes on at another server; NULL: nobody is told */
        void *userdata;
};

/* Finds it, and looks at whose it is: -EPERM where it is not sealed with our key, unless `force`; -EBADMSG where it is
 * not whole, as far as can be told before its blocks come. The job outlives the source. */
int program_source_open(const struct program_job *job, const char *name, struct program_source *ret,
                        struct error *error);
/* As program_image_read(). Where its server is lost, another one is looked for: -EIO once none was found for as long as
 * PROGRAM_PATIENCE_USEC, and at once where all answer and none has it. Blocks that are damaged at its server are read
 * at another one that has them whole: -EBADMSG or -EIO, at once, where none has. */
int program_source_read(struct program_source *source, void *buffer, uint64_t length, uint64_t offset,
                        struct error *error);
/* All of it is there, and is as it was put there. */
int program_source_verify(struct program_source *source, struct error *error);
void program_source_deinit(struct program_source *source);
