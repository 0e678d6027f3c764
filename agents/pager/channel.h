/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A pager's channel to one space at one server, under one grant: several connections, since a server may carry out the
 * requests of one connection one after the other, with a deadline for answers and a limit of bandwidth (I: quality of
 * service per channel). It breaks as a whole, for good.
 */

#include "daemon/memserver/peer.h"

#define CHANNEL_CONNECTIONS_MAX 16

struct channel_options {
        struct peer_options peer; /* the URI has the capability */
        unsigned n_connections;
        uint64_t bandwidth_bytes; /* a second, both ways together; 0: no limit */
};

struct channel;

/* Waits until all connections are there. Errors as in peer.h. */
int channel_new(const struct channel_options *options, struct channel **ret, struct error *error);
/* No call is under way. */
struct channel *channel_free(struct channel *channel);

/* Any number of threads may call at once. -ENOTCONN where the channel is broken, -EPERM where the space was granted
 * anew, or what the server answered. */
int channel_call(struct channel *channel, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset);

/* A call that is waited for by `done`, from whatever thread, instead of by the caller. Zero-initialise, fill in
 * `done`; it stays where it is, and the buffer too, until then. `done` may hold up the channel's other answers, and
 * may not call the channel. The rest is the channel's. */
struct channel_call {
        struct peer_call call;
        void (*done)(struct channel_call *call, int result);
        struct channel *channel;
        unsigned connection;
        usec_t asked_usec;
};

void channel_submit(struct channel *channel, struct channel_call *call, enum peer_kind kind, void *buffer,
                    uint64_t length, uint64_t offset);

/* Of the space, and whether the server lets it be written to over this channel. */
uint64_t channel_size(struct channel *channel);
bool channel_read_only(struct channel *channel);

/* The stretches of the range, of GiB at most, where pages are, over a channel whose options say `extents`. Errors as
 * above, or -EOPNOTSUPP. */
int channel_list(struct channel *channel, uint64_t length, uint64_t offset,
                 void (*found)(void *userdata, uint64_t offset, uint64_t length), void *userdata);
/* Ends what is under way. */
void channel_break(struct channel *channel);
bool channel_broken(struct channel *channel);
/* When the last answer came, CLOCK_BOOTTIME, or later; once no call is under way. */
usec_t channel_answered_usec(struct channel *channel);
/* Whether a call has ended without an answer for as long as the deadline. */
bool channel_stalled(struct channel *channel);
