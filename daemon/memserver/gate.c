/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/gate.h"

void gate_init(struct gate *gate) {
        *gate = (struct gate) { 0 };
        (void) pthread_mutex_init(&gate->lock, NULL);
        (void) pthread_cond_init(&gate->changed, NULL);
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

void gate_shut(struct gate *gate) {
        pthread_mutex_lock(&gate->lock);
        while (gate->shut)
                pthread_cond_wait(&gate->changed, &gate->lock);
        gate->shut = true;
        while (gate->inside > 0)
                pthread_cond_wait(&gate->changed, &gate->lock);
        pthread_mutex_unlock(&gate->lock);
}

void gate_reopen(struct gate *gate) {
        pthread_mutex_lock(&gate->lock);
        gate->shut = false;
        pthread_cond_broadcast(&gate->changed);
        pthread_mutex_unlock(&gate->lock);
}
