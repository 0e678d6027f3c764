/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <pthread.h>

/* Starts a detached thread that takes no signals: they are the loop's. Returns 0 or a negative errno. */
int thread_start(void *(*run)(void *userdata), void *userdata);
/* The same, to be joined by the caller. */
int thread_start_joined(void *(*run)(void *userdata), void *userdata, pthread_t *ret);
