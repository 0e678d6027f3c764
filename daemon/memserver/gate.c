/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/gate.h"

#include <errno.h>

#include "daemon/base/thread.h"

#define LOOK_USEC (100 * USEC_PER_MSEC) /* how soon it is noticed that an asker has gone */

void gate_init(struct gate *gate) {
        *gate = (struct gate) { 0 };
        (void) pthread_mutex_init(&gate->lock, NULL);
        condition_init(&gate->changed);
}

void gate_deinit(struct gate *gate) {
        (void) pthread_cond_destroy(&gate->changed);
        (void) pthread_mutex_destroy(&gate->lock);
}

void gate_enter(struct gate *gate) {
        pthread_mutex_lock(&gate->lock);
        while (gate->shut)
                pthread_cond_wait(&gate->changed, &gate->lock);
        gate->inside++;
        pthread_mutex_unlock(&gate->lock);
}

void gate_leave(struct gate *gate) {
        pthread_mutex_lock(&gate->lock);
        gate->inside--;
        if (gate->shut && gate->inside == 0)
                pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->lock);
}

/* With the lock held. False when the asker has gone. */
static bool wait_for_change(struct gate *gate, const struct gate_asker *asker) {
        if (!asker)
                pthread_cond_wait(&gate->changed, &gate->lock);
        else
                condition_wait(&gate->changed, &gate->lock, LOOK_USEC);
        return !asker || !asker->gone(asker->userdata);
}

void gate_shut(struct gate *gate) {
        (void) gate_shut_for(gate, NULL);
}

int gate_shut_for(struct gate *gate, const struct gate_asker *asker) {
        int r = 0;

        pthread_mutex_lock(&gate->lock);
        while (r == 0 && gate->shut)
                r = wait_for_change(gate, asker) ? 0 : -ECANCELED;
        if (r == 0)
                gate->shut = true;
        while (r == 0 && gate->inside > 0)
                if (!wait_for_change(gate, asker)) {
                        gate->shut = false; /* those who wait outside have waited for nothing */
                        pthread_cond_broadcast(&gate->changed);
                        r = -ECANCELED;
                }
        pthread_mutex_unlock(&gate->lock);
        return r;
}

void gate_reopen(struct gate *gate) {
        pthread_mutex_lock(&gate->lock);
        gate->shut = false;
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->lock);
}
