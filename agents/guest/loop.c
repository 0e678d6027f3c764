/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/loop.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

struct loop {
        int epoll_fd, timer_fd;
        usec_t armed_usec; /* what the timerfd is set to, 0: nothing */
        struct timer *timers; /* earliest first */
        bool quit;
};

usec_t loop_now(void) {
        return clock_usec(CLOCK_BOOTTIME);
}

struct loop *loop_free(struct loop *loop) {
        if (!loop)
                return NULL;
        closep(&loop->epoll_fd);
        closep(&loop->timer_fd);
        free(loop);
        return NULL;
}

DEFINE_CLEANUP(struct loop *, loop_free)

int loop_new(struct loop **ret) {
        _cleanup_(loop_freep) struct loop *loop = calloc(1, sizeof(struct loop));
        struct epoll_event event = { .events = EPOLLIN };

        if (!loop)
                return -ENOMEM;
        loop->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (loop->epoll_fd < 0 || loop->timer_fd < 0)
                return -errno;
        if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->timer_fd, &event) < 0)
                return -errno;
        *ret = steal_ptr(loop);
        return 0;
}

int loop_watch(struct loop *loop, struct source *source, int fd, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = source };
        int operation = source->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

        if (epoll_ctl(loop->epoll_fd, operation, fd, &event) < 0)
                return -errno;
        source->fd = fd;
        return 0;
}

void loop_unwatch(struct loop *loop, struct source *source) {
        if (source->fd < 0)
                return;
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
        source->fd = -1;
}

void loop_disarm(struct loop *loop, struct timer *timer) {
        if (timer->at_usec == 0)
                return;
        for (struct timer **p = &loop->timers; *p; p = &(*p)->next)
                if (*p == timer) {
                        *p = timer->next;
                        break;
                }
        timer->at_usec = 0;
        timer->next = NULL;
}

void loop_arm(struct loop *loop, struct timer *timer, usec_t at_usec) {
        struct timer **p = &loop->timers;

        loop_disarm(loop, timer);
        timer->at_usec = at_usec > 0 ? at_usec : 1;
        while (*p && (*p)->at_usec <= timer->at_usec)
                p = &(*p)->next;
        timer->next = *p;
        *p = timer;
}

static void set_timerfd(struct loop *loop) {
        usec_t at = loop->timers ? loop->timers->at_usec : 0;
        struct itimerspec spec = {
                .it_value = { .tv_sec = (time_t) (at / USEC_PER_SEC), .tv_nsec = (long) (at % USEC_PER_SEC) * 1000 },
        };

        if (at == loop->armed_usec)
                return;
        timerfd_settime(loop->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
        loop->armed_usec = at;
}

static void run_timers(struct loop *loop) {
        usec_t now = loop_now();
        uint64_t expirations;

        if (read(loop->timer_fd, &expirations, sizeof(expirations)) > 0)
                loop->armed_usec = 0;
        while (loop->timers && loop->timers->at_usec <= now) {
                struct timer *timer = loop->timers;

                loop_disarm(loop, timer);
                timer->handle(timer->userdata);
        }
}

int loop_run(struct loop *loop) {
        while (!loop->quit) {
                struct epoll_event event;
                int n;

                set_timerfd(loop);
                n = epoll_wait(loop->epoll_fd, &event, 1, -1);
                if (n < 0 && errno != EINTR)
                        return -errno;
                if (n <= 0)
                        continue;
                if (event.data.ptr) {
                        struct source *source = event.data.ptr;
                        source->handle(source->userdata, event.events);
                } else
                        run_timers(loop);
        }
        loop->quit = false;
        return 0;
}

void loop_quit(struct loop *loop) {
        loop->quit = true;
}
