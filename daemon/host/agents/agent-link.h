/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The channel to one guest's agent: a unix socket on which QEMU listens (virtio-serial port
 * org.failover1.agent.0, mode bind). QEMU accepts whether or not anything in the guest has the port open, so a
 * connection says nothing; the link is up when the agent has answered our `welcome` with `hello`.
 *
 * `welcome` opens a session. It is sent at once on connecting and again each second while no line has come for a
 * second and the guest has read all that was sent before: so an agent that starts late, or anew, is found. An
 * agent answers a welcome with `hello` unless it has greeted in that very session before; its hello begins its
 * numbering (seq) anew. A hello on a link that is up means a new agent: the link is reported down and up again.
 *
 * The guest is not trusted: lines and rates are limited (a guest that sends too much is read more slowly), and one
 * that sends nonsense is disconnected for a while.
 *
 * Every function is called on the loop's thread. The sink is called from the loop, never from within one of these
 * functions, and may call all of them but agent_link_free().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "agents/protocol/message.h"
#include "daemon/host/agents/agent-poll.h"
#include "daemon/host/sink.h"

struct agent_link;

/* How long it waits. Tests are quicker. */
struct agent_link_pace {
        usec_t silence_usec; /* without a line, before a welcome; between two welcomes */
        usec_t pause_usec;   /* after nonsense */
};
extern const struct agent_link_pace agent_link_pace;

/* A link without a path. Events carry `pair` and `side`. Poll, sink and pace are borrowed for the link's life. */
int agent_link_new(sd_event *event, struct agent_poll *poll, const struct sink *sink, int pair, enum side side,
                   const struct agent_link_pace *pace, struct agent_link **ret);
/* Disconnects without an event. Takes NULL; returns NULL. */
struct agent_link *agent_link_free(struct agent_link *link);

/* Connects to a socket, now or when it comes to be (tried every 50 ms to 1 s); NULL disconnects. The same path
 * again changes nothing. -ENAMETOOLONG, -ENOMEM. */
int agent_link_set_path(struct agent_link *link, const char *path);

/* Sends one message; session and seq are filled in. -ENOTCONN while the link is not up, -EAGAIN for a ping that
 * was not sent because the guest does not read, -ENOBUFS where too much waits (the link is then dropped), and
 * the codec's errors. */
int agent_link_send(struct agent_link *link, const struct message *message);

/* Disconnects and stays so for `pause_usec`; `reason` is the text of the EVENT_LINK that follows. */
void agent_link_drop(struct agent_link *link, usec_t pause_usec, const char *reason);

bool agent_link_is_up(const struct agent_link *link);

struct agent_link_counts {
        uint64_t received;   /* messages handed on */
        uint64_t malformed;  /* lines that were no message, or one that only the host may send */
        uint64_t unknown;    /* of an unknown type: a newer agent's */
        uint64_t stale;      /* of another session, or before hello */
        uint64_t replayed;   /* whose number did not rise */
        uint64_t throttled;  /* times that reading was held back */
        uint64_t pings_dropped;
        uint64_t dropped;    /* times that the link was dropped by us */
};
const struct agent_link_counts *agent_link_get_counts(const struct agent_link *link);

/* The last lines from the agent (agent_recent_text()). */
char *agent_link_get_recent(const struct agent_link *link);
