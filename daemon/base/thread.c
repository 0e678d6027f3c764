/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/base/thread.h"

#include <pthread.h>
#include <signal.h>

int thread_start(void *(*run)(void *userdata), void *userdata) {
        sigset_t all, before;
        pthread_attr_t attributes;
        pthread_t thread;
        int r;

        r = pthread_attr_init(&attributes);
        if (r != 0)
                return -r;
        (void) pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        (void) sigfillset(&all);
        (void) pthread_sigmask(SIG_SETMASK, &all, &before);
        r = pthread_create(&thread, &attributes, run, userdata);
        (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
        (void) pthread_attr_destroy(&attributes);
        return -r;
}
