/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/pager/channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define BURST_USEC (100 * USEC_PER_MSEC) /* of its bandwidth that an idle channel may use at once */

struct channel {
        struct peer *peers[CHANNEL_CONNECTIONS_MAX];
        _Atomic unsigned n_under_way[CHANNEL_CONNECTIONS_MAX];
        unsigned n_peers;
        usec_t deadline_usec;
        _Atomic usec_t answered_usec;
        _Atomic bool stalled, broken;

        uint64_t bandwidth_bytes;
        pthread_mutex_t pace_lock;
        pthread_cond_t pace_over; /* it broke */
        usec_t free_usec; /* when what was let through so far has had its time */
};

DEFINE_CLEANUP(struct channel *, channel_free)

int channel_new(const struct channel_options *options, struct channel **ret, struct error *error) {
        _cleanup_(channel_freep) struct channel *channel = calloc(1, sizeof(*channel));

        if (!channel)
                return error_set(error, -ENOMEM, "out of memory");
        channel->deadline_usec = options->peer.deadline_usec;
        channel->bandwidth_bytes = options->bandwidth_bytes;
        (void) pthread_mutex_init(&channel->pace_lock, NULL);
        condition_init(&channel->pace_over);
        while (channel->n_peers < options->n_connections) {
                struct peer_options peer = options->peer;
                int r;

                /* One is enough for the few who ask, and it is the last that choose() comes to. */
                peer.extents = peer.extents && channel->n_peers + 1 == options->n_connections;
                r = peer_new(&peer, &channel->peers[channel->n_peers], error);
                if (r < 0)
                        return r;
                channel->n_peers++;
        }
        channel->answered_usec = clock_usec(CLOCK_BOOTTIME);
        *ret = steal_ptr(channel);
        return 0;
}

struct channel *channel_free(struct channel *channel) {
        for (unsigned i = 0; i < channel->n_peers; i++)
                (void) peer_free(channel->peers[i]);
        (void) pthread_cond_destroy(&channel->pace_over);
        (void) pthread_mutex_destroy(&channel->pace_lock);
        free(channel);
        return NULL;
}

/* Waits until the channel's bandwidth has room. */
static void pace(struct channel *channel, uint64_t bytes) {
        usec_t now = clock_usec(CLOCK_MONOTONIC), turn;

        if (channel->bandwidth_bytes == 0)
                return;
        pthread_mutex_lock(&channel->pace_lock);
        if (channel->free_usec + BURST_USEC < now)
                channel->free_usec = now - BURST_USEC;
        turn = channel->free_usec;
        channel->free_usec += bytes * USEC_PER_SEC / channel->bandwidth_bytes;
        for (; now < turn && !channel->broken; now = clock_usec(CLOCK_MONOTONIC))
                condition_wait(&channel->pace_over, &channel->pace_lock, turn - now);
        pthread_mutex_unlock(&channel->pace_lock);
}

/* The latest of all answers, in whatever order the threads come here. */
static void note_answer(struct channel *channel, usec_t now) {
        usec_t latest = channel->answered_usec;

        while (latest < now && !atomic_compare_exchange_weak(&channel->answered_usec, &latest, now))
                ;
}

/* The connection with the least under way; that for extents is the last. */
static unsigned choose(struct channel *channel, enum peer_kind kind) {
        unsigned best = 0;

        if (kind == PEER_EXTENTS)
                return channel->n_peers - 1;
        for (unsigned i = 1; i < channel->n_peers; i++)
                if (channel->n_under_way[i] < channel->n_under_way[best])
                        best = i;
        return best;
}

/* The call over this connection has ended. */
static void note_end(struct channel *channel, unsigned connection, usec_t asked_usec, int result) {
        usec_t now = clock_usec(CLOCK_BOOTTIME);

        channel->n_under_way[connection]--;
        if (result != -ENOTCONN)
                note_answer(channel, now);
        else if (now - asked_usec >= channel->deadline_usec)
                channel->stalled = true;
}

static void submitted_ended(struct peer_call *ended) {
        struct channel_call *call = (struct channel_call *) ended; /* its first member */
        int r = ended->result;

        note_end(call->channel, call->connection, call->asked_usec, r);
        call->done(call, r);
}

void channel_submit(struct channel *channel, struct channel_call *call, enum peer_kind kind, void *buffer,
                    uint64_t length, uint64_t offset) {
        if (kind == PEER_READ || kind == PEER_WRITE)
                pace(channel, length);
        if (channel->broken) {
                call->done(call, -ENOTCONN);
                return;
        }
        call->channel = channel;
        call->call = (struct peer_call) { .done = submitted_ended };
        call->connection = choose(channel, kind);
        channel->n_under_way[call->connection]++;
        call->asked_usec = clock_usec(CLOCK_BOOTTIME);
        peer_submit(channel->peers[call->connection], &call->call, kind, buffer, length, offset);
}

uint64_t channel_size(struct channel *channel) {
        return peer_size(channel->peers[0]);
}

bool channel_read_only(struct channel *channel) {
        return peer_read_only(channel->peers[0]);
}

int channel_call(struct channel *channel, enum peer_kind kind, void *buffer, uint64_t length, uint64_t offset) {
        usec_t asked;
        unsigned i;
        int r;

        if (kind == PEER_READ || kind == PEER_WRITE)
                pace(channel, length);
        if (channel->broken)
                return -ENOTCONN;
        i = choose(channel, kind);
        channel->n_under_way[i]++;
        asked = clock_usec(CLOCK_BOOTTIME);
        r = peer_call(channel->peers[i], kind, buffer, length, offset);
        note_end(channel, i, asked, r);
        return r;
}

int channel_list(struct channel *channel, uint64_t length, uint64_t offset,
                 void (*found)(void *userdata, uint64_t offset, uint64_t length), void *userdata) {
        struct peer_extents extents = { .found = found, .userdata = userdata, .told_to = offset };
        uint64_t end = offset + length, before;
        int r = 0;

        while (extents.told_to < end && r == 0) {
                before = extents.told_to;
                r = channel_call(channel, PEER_EXTENTS, &extents, end - before, before);
                if (r == 0 && extents.told_to == before)
                        r = -EOPNOTSUPP;
        }
        return r;
}

void channel_break(struct channel *channel) {
        pthread_mutex_lock(&channel->pace_lock);
        channel->broken = true;
        pthread_cond_broadcast(&channel->pace_over);
        pthread_mutex_unlock(&channel->pace_lock);
        for (unsigned i = 0; i < channel->n_peers; i++)
                peer_break(channel->peers[i]);
}

bool channel_broken(struct channel *channel) {
        for (unsigned i = 0; i < channel->n_peers; i++)
                if (peer_broken(channel->peers[i]))
                        return true;
        return channel->broken;
}

usec_t channel_answered_usec(struct channel *channel) {
        return channel->answered_usec;
}

bool channel_stalled(struct channel *channel) {
        return channel->stalled;
}
