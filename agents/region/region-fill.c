/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Filling a region before it is used (R: kinds 3 and 4), with several requests under way. */

#include <errno.h>
#include <semaphore.h>
#include <string.h>

#include "agents/region/region-internal.h"

#define FILL_BYTES MIB /* of one request */
#define FILL_CALLS 8

struct fill_call {
        struct channel_call call;
        sem_t *ended;
        _Atomic int result; /* IN_FLIGHT until it has ended */
};

#define IN_FLIGHT 1

static void fill_ended(struct channel_call *call, int result) {
        struct fill_call *fill = (struct fill_call *) call; /* its first member */
        sem_t *ended = fill->ended;

        fill->result = result < 0 ? result : 0; /* from here on it is used again */
        (void) sem_post(ended);
}

static struct fill_call *find_free(struct fill_call calls[static FILL_CALLS]) {
        for (int i = 0; i < FILL_CALLS; i++)
                if (calls[i].result == 0)
                        return &calls[i];
        return NULL;
}

static int first_error(struct fill_call calls[static FILL_CALLS]) {
        for (int i = 0; i < FILL_CALLS; i++)
                if (calls[i].result < 0)
                        return calls[i].result;
        return 0;
}

int region_fill(struct region_channel *channel, char *to, uint64_t size_bytes, struct error *error) {
        struct fill_call calls[FILL_CALLS] = { 0 };
        uint64_t at = 0, n_under_way = 0;
        sem_t ended;
        int r = 0;

        (void) sem_init(&ended, 0, 0);
        while ((r == 0 && at < size_bytes) || n_under_way > 0) {
                struct fill_call *fill = r == 0 && at < size_bytes ? find_free(calls) : NULL;

                if (fill) {
                        uint64_t n = size_bytes - at < FILL_BYTES ? size_bytes - at : FILL_BYTES;

                        *fill = (struct fill_call) { .call.done = fill_ended, .ended = &ended, .result = IN_FLIGHT };
                        channel_submit(channel->channel, &fill->call, PEER_READ, to + at, n, at);
                        at += n;
                        n_under_way++;
                        continue;
                }
                while (sem_wait(&ended) < 0)
                        ;
                n_under_way--;
                r = first_error(calls);
        }
        (void) sem_destroy(&ended);
        if (r == -ENOTCONN)
                return error_set(error, r, "filling it: the channel was cut, or nothing came within the deadline");
        return r < 0 ? error_set(error, r, "filling it: %s", strerror(-r)) : 0;
}
