/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/thread.h"

#include <signal.h>
#include <time.h>

#include "daemon/base/clock.h"

static int start(void *(*run)(void *userdata), void *userdata, int detached, pthread_t *ret) {
        sigset_t all, before;
        pthread_attr_t attributes;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        (void) pthread_attr_setdetachstate(&attributes, detached);
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(ret, &attributes, run, userdata);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        (void) pthread_attr_destroy(&attributes);
        return -r;
}

int thread_start(void *(*run)(void *userdata), void *userdata) {
        pthread_t thread;

        return start(run, userdata, PTHREAD_CREATE_DETACHED, &thread);
}

int thread_start_joined(void *(*run)(void *userdata), void *userdata, pthread_t *ret) {
        return start(run, userdata, PTHREAD_CREATE_JOINABLE, ret);
}

void condition_init(pthread_cond_t *condition) {
        pthread_condattr_t attributes;

        (void) pthread_condattr_init(&attributes);
        (void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void) pthread_cond_init(condition, &attributes);
        (void) pthread_condattr_destroy(&attributes);
}

void condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, usec_t timeout_usec) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + timeout_usec;
        struct timespec deadline = { .tv_sec = (time_t) (until / USEC_PER_SEC),
                                     .tv_nsec = (long) (until % USEC_PER_SEC) * 1000 };

        (void) pthread_cond_timedwait(condition, lock, &deadline);
}
