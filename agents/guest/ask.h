/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Somebody in the guest asks for memory of this VM, or to be rid of some: an application, or who operates it. The
 * request goes to the host, whose policy decides, and its answer comes back. One at a time.
 */

#include "agents/guest/link.h"
#include "agents/guest/loop.h"

#define ASK_TEXT_LEN (MESSAGE_TEXT_LEN + 16)

/* What the agent holds of it. */
struct ask {
        struct loop *loop;
        struct link *link; /* borrowed */
        int listen_fd, client_fd;
        struct source listener, client;
        struct timer deadline;
        bool sent;   /* the client's request has gone to the host */
        uint64_t id; /* of the last one that was sent */
};

/* Takes requests at RUN_DIR/ask, which only its owner reaches. 0 or -errno; ask_deinit() also after a failure. */
int ask_init(struct ask *ask, struct loop *loop, const char *run_dir);
void ask_deinit(struct ask *ask);
/* The host's answer. One that nobody waits for is ignored. */
void ask_answered(struct ask *ask, const struct message *message);
/* The link has a new session: what was asked in the last one may not have come through. */
void ask_interrupted(struct ask *ask);

/* The other end: asks the agent that runs, and waits for the answer, at most half a minute. 0 or a negative errno, with
 * a text for people in `ret` in either case. */
int ask_send(const char *run_dir, const char *change, char ret[ASK_TEXT_LEN]);
