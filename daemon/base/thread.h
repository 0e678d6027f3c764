/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

#include "daemon/base/units.h"

/* Starts a detached thread that takes no signals: they are the loop's. Returns 0 or a negative errno. */
int thread_start(void *(*run)(void *userdata), void *userdata);
/* The same, to be joined by the caller. */
int thread_start_joined(void *(*run)(void *userdata), void *userdata, pthread_t *ret);

/* A condition that is waited for at most so long, on CLOCK_MONOTONIC. May return early. */
void condition_init(pthread_cond_t *condition);
void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, usec_t timeout_usec);
