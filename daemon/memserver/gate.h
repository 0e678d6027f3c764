/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What requests pass on their way to a space. Whoever changes who may use the space, or how, shuts the gate: requests
 * that are inside are waited for, new ones wait outside. So when gate_shut() returns nothing of before is under way any
 * more, and what they find after gate_reopen() is all new.
 */

#include <pthread.h>
#include <stdbool.h>

struct gate {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        unsigned inside;
        bool shut;
};

void gate_init(struct gate *gate);
void gate_deinit(struct gate *gate);
/* Waits while the gate is shut. */
void gate_enter(struct gate *gate);
void gate_leave(struct gate *gate);
/* Not from inside. One at a time: a second one waits for the first to reopen. */
void gate_shut(struct gate *gate);

/* For whom somebody waits at a gate. */
struct gate_asker {
        int (*gone)(void *userdata); /* non-zero: nobody is there any more who would hear of it. Must not wait */
        void *userdata;
};

/* The same, for as long as the asker is there; NULL: without end. -ECANCELED once he has gone: the gate is as it
 * was. */
int gate_shut_for(struct gate *gate, const struct gate_asker *asker);
void gate_reopen(struct gate *gate);
