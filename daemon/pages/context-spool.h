/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A file for libvirt to save into and to restore from, in a directory of its own: libvirt wants a file that it can seek
 * in; a pipe blocks it. The file is never the only place of a VM's state. It holds the guest's memory, so nobody else
 * may read it. What a program that was killed has left behind is removed by the next one.
 */

#include "daemon/base/error.h"

#include <stdint.h>

struct context_spool {
        char *directory, *path; /* owned; path: the file, which need not be there yet */
        int directory_fd;       /* locked while it is in use */
};

#define CONTEXT_SPOOL_INIT \
        (struct context_spool) { .directory_fd = -1 }

/* Where this user has it when nobody says otherwise, and the key of contexts (context-key.h): below /var/cache for
 * root, of others in their cache. The caller frees both. -ENOENT where neither XDG_CACHE_HOME nor HOME is set;
 * -ENOMEM. */
int context_spool_default(char **ret_parent, char **ret_key);

/* `parent` is made where it is not there (its own parent is). -ENOSPC where it has no room for so many bytes beside
 * what is kept free for others. */
int context_spool_open(const char *parent, uint64_t bytes, struct context_spool *ret, struct error *error);
/* Removes file and directory. */
void context_spool_close(struct context_spool *spool);
