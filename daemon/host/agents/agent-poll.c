/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/agents/agent-poll.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#include "daemon/base/cleanup.h"

#define BATCH 16 /* channels, before the loop looks at what else there is */

struct agent_poll {
        int fd;
        sd_event_source *io, *timer;
        usec_t tick_usec;
        struct agent_poll_entry *first;
        struct agent_poll_entry *ticked; /* whose turn is next; NULL: nobody's */
        struct epoll_event batch[BATCH]; /* what is being told of; data.ptr NULL: its entry has been taken out */
        int n_batch;
};

static int on_io(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct agent_poll *poll = userdata;

        poll->n_batch = epoll_wait(poll->fd, poll->batch, BATCH, 0);
        for (int i = 0; i < poll->n_batch; i++) {
                const struct agent_poll_entry *entry = poll->batch[i].data.ptr;

                if (entry)
                        entry->ready(entry->userdata, poll->batch[i].events);
        }
        poll->n_batch = 0;
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct agent_poll *poll = userdata;
        int r;

        for (struct agent_poll_entry *entry = poll->first; entry; entry = poll->ticked) {
                poll->ticked = entry->next;
                entry->tick(entry->userdata);
        }
        r = sd_event_source_set_time_relative(source, poll->tick_usec);
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int agent_poll_new(sd_event *loop, usec_t tick_usec, struct agent_poll **ret) {
        struct agent_poll *poll = calloc(1, sizeof(*poll));
        int r;

        if (!poll)
                return -ENOMEM;
        poll->fd = epoll_create1(EPOLL_CLOEXEC);
        poll->tick_usec = tick_usec;
        r = poll->fd < 0 ? -errno : sd_event_add_io(loop, &poll->io, poll->fd, EPOLLIN, on_io, poll);
        if (r >= 0)
                r = sd_event_add_time_relative(loop, &poll->timer, CLOCK_MONOTONIC, tick_usec, tick_usec / 4, on_timer,
                                               poll);
        if (r < 0) {
                agent_poll_free(poll);
                return r;
        }
        *ret = poll;
        return 0;
}

struct agent_poll *agent_poll_free(struct agent_poll *poll) {
        if (!poll)
                return NULL;
        sd_event_source_disable_unref(poll->io);
        sd_event_source_disable_unref(poll->timer);
        closep(&poll->fd);
        free(poll);
        return NULL;
}

int agent_poll_add(struct agent_poll *poll, struct agent_poll_entry *entry, int fd, uint32_t events) {
        struct epoll_event event = { .events = events, .data.ptr = entry };

        assert(entry->fd < 0);
        if (epoll_ctl(poll->fd, EPOLL_CTL_ADD, fd, &event) < 0)
                return -errno;
        entry->fd = fd;
        entry->previous = NULL;
        entry->next = poll->first;
        if (poll->first)
                poll->first->previous = entry;
        poll->first = entry;
        return 0;
}

void agent_poll_set(struct agent_poll *poll, struct agent_poll_entry *entry, uint32_t events) {
        struct epoll_event event = { .events = events ? events : EPOLLONESHOT, .data.ptr = entry };
        int r;

        r = epoll_ctl(poll->fd, EPOLL_CTL_MOD, entry->fd, &event);
        assert(r == 0); /* what is in it can be changed: nothing has to be had for that */
        (void) r;
}

void agent_poll_remove(struct agent_poll *poll, struct agent_poll_entry *entry) {
        if (entry->fd < 0)
                return;
        (void) epoll_ctl(poll->fd, EPOLL_CTL_DEL, entry->fd, NULL);
        entry->fd = -1;
        *(entry->previous ? &entry->previous->next : &poll->first) = entry->next;
        if (entry->next)
                entry->next->previous = entry->previous;
        if (poll->ticked == entry)
                poll->ticked = entry->next;
        for (int i = 0; i < poll->n_batch; i++)
                if (poll->batch[i].data.ptr == entry)
                        poll->batch[i].data.ptr = NULL;
}
