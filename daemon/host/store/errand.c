/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/errand.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"

struct errand {
        const struct errand_work *work;
        void *data;
        pthread_mutex_t lock;
        unsigned n_refs; /* of the loop and of the thread */
        bool ended;      /* the thread has come back */
        int ended_fd;    /* an eventfd */
        sd_event_source *ended_source, *late_source;
};

static struct errand *errand_unref(struct errand *errand) {
        bool last;

        pthread_mutex_lock(&errand->lock);
        last = --errand->n_refs == 0;
        pthread_mutex_unlock(&errand->lock);
        if (!last)
                return NULL;
        pthread_mutex_destroy(&errand->lock);
        closep(&errand->ended_fd);
        errand->work->release(errand->data);
        free(errand);
        return NULL;
}

DEFINE_CLEANUP(struct errand *, errand_unref)

struct errand *errand_abandon(struct errand *errand) {
        if (!errand)
                return NULL;
        errand->ended_source = sd_event_source_disable_unref(errand->ended_source);
        errand->late_source = sd_event_source_disable_unref(errand->late_source);
        return errand_unref(errand);
}

static void *run(void *userdata) {
        struct errand *errand = userdata;

        errand->work->run(errand->data);
        pthread_mutex_lock(&errand->lock);
        errand->ended = true;
        pthread_mutex_unlock(&errand->lock);
        (void) eventfd_write(errand->ended_fd, 1);
        errand_unref(errand);
        return NULL;
}

static int on_ended(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct errand *errand = userdata;
        bool ended;

        pthread_mutex_lock(&errand->lock);
        ended = errand->ended; /* what the thread has done is seen from here on */
        pthread_mutex_unlock(&errand->lock);
        if (!ended)
                return 0;
        errand->work->ended(errand->data);
        errand_abandon(errand);
        return 0;
}

static int on_late(sd_event_source *source, usec_t usec, void *userdata) {
        struct errand *errand = userdata;

        if (errand->work->late)
                errand->work->late(errand->data);
        return 0;
}

int errand_begin(sd_event *loop, const struct errand_work *work, void *data, usec_t timeout_usec, struct errand **ret) {
        _cleanup_(errand_unrefp) struct errand *errand = calloc(1, sizeof(*errand));
        int r;

        if (!errand) {
                work->release(data);
                return -ENOMEM;
        }
        *errand = (struct errand) { .work = work, .data = data, .n_refs = 1 };
        pthread_mutex_init(&errand->lock, NULL);
        errand->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (errand->ended_fd < 0)
                return -errno;
        r = sd_event_add_io(loop, &errand->ended_source, errand->ended_fd, EPOLLIN, on_ended, errand);
        if (r >= 0 && timeout_usec != USEC_INFINITY)
                r = sd_event_add_time_relative(loop, &errand->late_source, CLOCK_MONOTONIC, timeout_usec, 0, on_late,
                                               errand);
        if (r >= 0) {
                errand->n_refs++; /* the thread's */
                r = thread_start(run, errand);
                if (r < 0)
                        errand->n_refs--;
        }
        if (r < 0) {
                sd_event_source_disable_unref(errand->ended_source);
                sd_event_source_disable_unref(errand->late_source);
                return r;
        }
        *ret = steal_ptr(errand);
        return 0;
}
