/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A lane runs calls that may take long, or for ever, beside the loop. It has workers (threads), connections to
 * libvirt of its own, and one rule: a call that gets stuck delays nobody but later calls for the same domain.
 *
 * - Of each domain one call runs at a time; later ones wait for it in their order. Calls for other domains run
 *   beside it.
 * - A call past its deadline is answered on the loop with -ETIMEDOUT. Its worker stays with it, the lane may start
 *   another one in its place; calls that wait for the same domain, and new ones, are refused with -EBUSY until it
 *   ends. What it says then is dropped, but the owner hears that it has ended.
 * - A connection carries one call at a time: seen with libvirt 9.0, further calls on the connection of a stuck one
 *   wait with it, long before the five that libvirtd takes of one client. What an overdue call has held is closed
 *   when it ends.
 * - Connections are opened by workers too. While libvirt cannot be reached, calls fail at once with -ENOTCONN.
 *
 * A lane without a URI has no connections; its calls do other slow things.
 */

#include <libvirt/libvirt.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <systemd/sd-event.h>

#include "daemon/core/event.h"

#define LANE_WORKERS_MAX 32
#define LANE_CONNECTIONS_WARM 2    /* opened ahead */
#define LANE_CONNECTIONS_IDLE_MAX 4 /* kept for the next calls */
#define LANE_DOMAIN_CALLS_MAX 32   /* waiting for one domain */

struct lane;
struct lane_connection;

enum lane_call_state { LANE_CALL_WAITING, LANE_CALL_RUNNING, LANE_CALL_RETURNED };

/* One call, embedded in what the owner needs to know of it. */
struct lane_call {
        /* Filled in by the owner: */
        char domain[NAME_LEN];
        usec_t timeout_usec;
        /* On a worker: does it and returns 0 or a negative errno, with the reason in `text`. `connection` is NULL
         * in a lane without a URI. */
        int (*run)(struct lane_call *call, virConnectPtr connection);
        /* On the loop, exactly once: how it ended. After -ETIMEDOUT the worker may still be writing to the call:
         * only what the owner wrote before it was submitted may be read. May submit further calls. */
        void (*done)(struct lane_call *call, int result, const char *text);
        /* On the loop, after a `done` with -ETIMEDOUT: it has ended at last. NULL where nobody asks. */
        void (*late)(struct lane_call *call);
        /* Frees the call. On the loop; on a worker when the lane is gone. */
        void (*release)(struct lane_call *call);

        /* For `run`: */
        usec_t deadline_usec;      /* CLOCK_MONOTONIC */
        char text[EVENT_TEXT_LEN]; /* printable */

        /* The lane's own: */
        struct lane *lane;
        sd_event_source *timer;
        enum lane_call_state state;
        struct lane_connection *connection;
        bool overdue;              /* written by the loop only, and for `done` to read */
        int result;
        TAILQ_ENTRY(lane_call) link;
};

/* `uri` may be NULL, see above. `max_workers` is 1..LANE_WORKERS_MAX. Returns 0 or a negative errno. */
int lane_new(sd_event *loop, const char *uri, unsigned max_workers, struct lane **ret_lane);
/* Gives calls under way a second to end; none is answered any more. Threads that are stuck are left behind and
 * clean up when they get free. Takes NULL; returns NULL. */
struct lane *lane_free(struct lane *lane);

/* Hands a call over. Returns 0; -EBUSY when one for the same domain is overdue, or too many wait for it; -ENOMEM
 * or another errno when it could not be queued. On failure the call stays the caller's. */
int lane_submit(struct lane *lane, struct lane_call *call);
/* Opens connections ahead of the first calls. */
void lane_warm(struct lane *lane);
/* True while a call for this domain is overdue. */
bool lane_stuck(struct lane *lane, const char *domain);

/* Makes the library ready, and quiet: it prints errors unless told otherwise. Any number of times. Returns 0 or
 * -EIO. */
int libvirt_init(void);

/* Now, on CLOCK_MONOTONIC. */
usec_t lane_now(void);
