/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/standby-watch.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/pages/standby.h"

#define LOOK_MSEC 500

static void raise_fd(int fd) {
        const uint64_t one = 1;

        (void) !write(fd, &one, sizeof(one));
}

static void look(struct standby_watch *watch) {
        struct standby_sight sight = { 0 };
        int pidfd = -1, r = standby_find_run(watch->run_dir, watch->domain, &pidfd, &sight.run);

        sight.gone = r == -ESRCH;
        watch->seen_usec = standby_watched(watch->seen_usec, watch->run, &sight, clock_usec(CLOCK_BOOTTIME));
        if (sight.gone || (r == 0 && sight.run != watch->run))
                raise_fd(watch->cancel_fd);
        if (pidfd >= 0)
                (void) close(pidfd);
}

static void *watch_run(void *userdata) {
        struct standby_watch *watch = userdata;
        struct pollfd polls[2] = { { .fd = watch->over_fd, .events = POLLIN },
                                   { .fd = watch->stop_fd, .events = POLLIN } };

        for (;;) {
                look(watch);
                (void) poll(polls, 2, LOOK_MSEC);
                if (polls[0].revents)
                        return NULL;
                if (polls[1].revents) {
                        raise_fd(watch->cancel_fd);
                        polls[1].fd = -1;
                }
        }
}

static void close_both(struct standby_watch *watch) {
        if (watch->over_fd >= 0)
                (void) close(watch->over_fd);
        if (watch->cancel_fd >= 0)
                (void) close(watch->cancel_fd);
}

int standby_watch_begin(struct standby_watch *watch, const char *run_dir, const char *domain, uint64_t run, int stop_fd,
                        struct error *error) {
        int r = 0;

        *watch = (struct standby_watch) { .run_dir = run_dir, .domain = domain, .run = run, .stop_fd = stop_fd,
                                          .seen_usec = clock_usec(CLOCK_BOOTTIME),
                                          .over_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                          .cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) };
        if (watch->over_fd < 0 || watch->cancel_fd < 0)
                r = -errno;
        if (r == 0)
                r = thread_start_joined(watch_run, watch, &watch->thread);
        if (r < 0) {
                close_both(watch);
                return error_set(error, r, "the VM's process cannot be watched meanwhile: %s", strerror(-r));
        }
        return 0;
}

usec_t standby_watch_end(struct standby_watch *watch) {
        raise_fd(watch->over_fd);
        (void) pthread_join(watch->thread, NULL);
        close_both(watch);
        return watch->seen_usec;
}
