/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/thread.h"

#include <signal.h>

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
