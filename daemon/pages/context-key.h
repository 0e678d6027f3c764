/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Who made a context. Its sums find damage; that it is not the work of somebody else who can write at the memory
 * server, and with it make this host start any VM and touch any file, is borne out by a key that never leaves the
 * hosts. The manifest's sum is sealed with it, and the manifest has the sum of the image.
 */

#include "daemon/pages/context-format.h"

struct context_key {
        unsigned char bytes[CONTEXT_SUM_BYTES];
};

/* The key in the file at `path`, which is made where it is not there, in a directory that is made too (its parent is
 * there). -EPERM where others can read or write it, -EBADMSG where it is no key. */
int context_key_load(const char *path, struct context_key *ret, struct error *error);
/* `sum` says it all of what is sealed: of a context its manifest's. -ENOMEM. */
int context_key_seal(const struct context_key *key, const unsigned char sum[static CONTEXT_SUM_BYTES],
                     unsigned char ret[static CONTEXT_SUM_BYTES]);
/* Whether it was sealed with this key. */
bool context_key_vouches(const struct context_key *key, const unsigned char sum[static CONTEXT_SUM_BYTES],
                         const unsigned char seal[static CONTEXT_SUM_BYTES]);
