/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Whether the memory servers still have the checkpoint: one that was restarted has lost it, and nobody tells. They are
 * asked by a thread, since one that is silent takes its time to be given up, and the VM is looked at meanwhile.
 */

#include <pthread.h>

#include "daemon/core/context-standby.h"
#include "daemon/pages/context-place.h"

struct standby_proof {
        pthread_t thread;
        bool begun;
        _Atomic bool over;
        int cancel_fd; /* -1: nothing was ever asked */

        char *controls[CONTEXT_SERVERS_MAX]; /* the sockets of those who are asked; owned, while it is under way */
        size_t n;
        char name[NAME_LEN];   /* of the context */
        uint64_t saved_usec;

        enum standby_kept kept; /* what came of it */
        unsigned copies;
        bool reachable;
};

#define STANDBY_PROOF_INIT \
        (struct standby_proof) { .cancel_fd = -1 }

/* Begins to ask `servers`, of which nothing is used afterwards. */
int standby_proof_begin(struct standby_proof *proof, const struct context_servers *servers, const char *name,
                        uint64_t saved_usec);
/* True once, when the answer is there. */
bool standby_proof_ended(struct standby_proof *proof);
/* Gives up what is under way. */
void standby_proof_deinit(struct standby_proof *proof);

/* What `list`, of so many servers, says of the context. */
enum standby_kept standby_proof_judge(const struct context_list *list, size_t n_servers, const char *name,
                                      uint64_t saved_usec, unsigned *ret_copies, bool *ret_reachable);
