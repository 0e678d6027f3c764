/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The connection to the host: lines in, a bounded queue of messages out. A message gets its session and number
 * when it is written, so what waits in the queue survives the host's reconnecting under a new session. The link
 * comes back by itself after every loss.
 */

#include "agents/guest/loop.h"
#include "agents/guest/transport.h"
#include "agents/protocol/message.h"

struct link;

struct link_handler {
        void (*line)(void *userdata, const char *line, size_t length);
        void *userdata;
};

/* The transport is borrowed. Begins to connect at once. */
int link_new(struct loop *loop, const struct transport *transport, const struct link_handler *handler,
             struct link **ret);
struct link *link_free(struct link *link);

/* The host has opened a session: what is queued goes out under it, except answers that only the old one
 * awaited (hello, pong) and reports that the agent makes again from its state (failed, request). */
void link_begin_session(struct link *link, const char *session);

/* Has the host opened a session that is still open? */
bool link_has_session(const struct link *link);

/* Queues a copy; with `urgent` before everything else. When the queue is full its oldest entry goes. */
void link_send(struct link *link, const struct message *message, bool urgent);

/* Writes what can be written within `timeout_usec`, blocking: for the last words before the end. */
void link_flush(struct link *link, usec_t timeout_usec);
