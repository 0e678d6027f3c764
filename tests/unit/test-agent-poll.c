/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/host/agents/agent-poll.h"
#include "tests/unit/test.h"

#define CHANNELS 50 /* more than are asked about at once */

struct bench;

struct channel {
        struct bench *bench;
        struct agent_poll_entry entry;
        int fd, peer;
        unsigned n_told, n_ticks;
};

struct bench {
        sd_event *event;
        struct agent_poll *poll;
        struct channel channels[CHANNELS];
        bool reading, taking_out; /* what is told of is read; the other channels are taken out */
        unsigned n_told;
};

static void on_ready(void *userdata, uint32_t events) {
        struct channel *channel = userdata;
        struct bench *bench = channel->bench;
        char byte;

        CHECK(channel->entry.fd >= 0);
        channel->n_told++;
        bench->n_told++;
        if (bench->reading)
                (void) !read(channel->fd, &byte, 1);
        for (size_t i = 0; bench->taking_out && i < CHANNELS; i++)
                if (&bench->channels[i] != channel)
                        agent_poll_remove(bench->poll, &bench->channels[i].entry);
}

/* The first takes its neighbours out. */
static void on_tick(void *userdata) {
        struct channel *channel = userdata;
        struct bench *bench = channel->bench;

        CHECK(channel->entry.fd >= 0);
        channel->n_ticks++;
        for (size_t i = 0; bench->taking_out && i < CHANNELS; i++)
                if (&bench->channels[i] != channel)
                        agent_poll_remove(bench->poll, &bench->channels[i].entry);
}

static struct bench *bench_ticking(usec_t tick_usec) {
        struct bench *bench = calloc(1, sizeof(*bench));

        REQUIRE(bench != NULL);
        REQUIRE(sd_event_new(&bench->event) >= 0);
        REQUIRE(agent_poll_new(bench->event, tick_usec, &bench->poll) == 0);
        for (size_t i = 0; i < CHANNELS; i++) {
                struct channel *channel = &bench->channels[i];
                int fds[2];

                REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
                *channel = (struct channel) {
                        .bench = bench, .fd = fds[0], .peer = fds[1],
                        .entry = { .fd = -1, .ready = on_ready, .tick = on_tick, .userdata = channel },
                };
                REQUIRE(agent_poll_add(bench->poll, &channel->entry, channel->fd, EPOLLIN) == 0);
        }
        return bench;
}

static struct bench *bench_new(void) {
        return bench_ticking(3600 * USEC_PER_SEC);
}

static void bench_free(struct bench *bench) {
        for (size_t i = 0; i < CHANNELS; i++) {
                agent_poll_remove(bench->poll, &bench->channels[i].entry);
                closep(&bench->channels[i].fd);
                closep(&bench->channels[i].peer);
        }
        agent_poll_free(bench->poll);
        sd_event_unref(bench->event);
        free(bench);
}

static void write_to_all(struct bench *bench) {
        for (size_t i = 0; i < CHANNELS; i++)
                REQUIRE(write(bench->channels[i].peer, "x", 1) == 1);
}

/* Rounds of the loop that had something to do; `most` is no more than a bound for a loop that spins. */
static unsigned run(struct bench *bench, unsigned most) {
        unsigned n = 0;

        while (n < most && sd_event_run(bench->event, 50 * USEC_PER_MSEC) > 0)
                n++;
        return n;
}

static void many_that_are_ready_are_told_in_few_rounds(void) {
        struct bench *bench = bench_new();

        bench->reading = true;
        write_to_all(bench);
        CHECK(run(bench, CHANNELS) < CHANNELS / 5);
        for (size_t i = 0; i < CHANNELS; i++)
                CHECK(bench->channels[i].n_told == 1);
        bench_free(bench);
}

static void none_that_stays_ready_keeps_another_waiting(void) {
        struct bench *bench = bench_new();

        write_to_all(bench);
        CHECK(run(bench, 20) == 20); /* nobody reads: they stay ready */
        for (size_t i = 0; i < CHANNELS; i++)
                CHECK(bench->channels[i].n_told >= 20 * 16 / CHANNELS - 1);
        bench_free(bench);
}

static void what_was_taken_out_is_not_told_any_more(void) {
        struct bench *bench = bench_new();

        bench->reading = bench->taking_out = true;
        write_to_all(bench);
        run(bench, CHANNELS);
        CHECK(bench->n_told == 1);
        bench_free(bench);
}

static void a_peer_that_is_gone_is_told_once_where_nothing_is_asked_for(void) {
        struct bench *bench = bench_new();
        struct channel *channel = &bench->channels[3];

        agent_poll_set(bench->poll, &channel->entry, 0);
        closep(&channel->peer);
        channel->peer = -1;
        CHECK(run(bench, 20) <= 1);
        CHECK(channel->n_told <= 1);
        agent_poll_set(bench->poll, &channel->entry, EPOLLIN);
        bench->taking_out = true; /* so that it does not spin on it from here on */
        CHECK(sd_event_run(bench->event, USEC_PER_SEC) > 0);
        CHECK(channel->n_told >= 1 && channel->n_told <= 2);
        bench_free(bench);
}

static void a_channel_can_be_put_in_again(void) {
        struct bench *bench = bench_new();
        struct channel *channel = &bench->channels[7];

        bench->reading = true;
        agent_poll_remove(bench->poll, &channel->entry);
        agent_poll_remove(bench->poll, &channel->entry); /* nothing is there any more */
        write_to_all(bench);
        run(bench, CHANNELS);
        CHECK(channel->n_told == 0 && bench->n_told == CHANNELS - 1);
        REQUIRE(agent_poll_add(bench->poll, &channel->entry, channel->fd, EPOLLIN) == 0);
        run(bench, CHANNELS);
        CHECK(channel->n_told == 1);
        bench_free(bench);
}

static void each_is_looked_at_now_and_then(void) {
        struct bench *bench = bench_ticking(5 * USEC_PER_MSEC);

        for (int i = 0; i < 3; i++)
                REQUIRE(sd_event_run(bench->event, 10 * USEC_PER_SEC) > 0);
        for (size_t i = 0; i < CHANNELS; i++)
                CHECK(bench->channels[i].n_ticks == 3);
        bench->taking_out = true;
        for (int i = 0; i < 3; i++)
                REQUIRE(sd_event_run(bench->event, 10 * USEC_PER_SEC) > 0);
        for (size_t i = 0; i < CHANNELS - 1; i++)
                CHECK(bench->channels[i].n_ticks == 3);
        CHECK(bench->channels[CHANNELS - 1].n_ticks == 6); /* the latest is looked at first */
        bench_free(bench);
}

static void a_descriptor_that_cannot_be_asked_about_is_an_error(void) {
        struct bench *bench = bench_new();
        struct agent_poll_entry entry = { .fd = -1, .ready = on_ready };

        CHECK(agent_poll_add(bench->poll, &entry, -1, EPOLLIN) == -EBADF);
        CHECK(entry.fd == -1);
        bench_free(bench);
}

TEST_MAIN("agent-poll", TEST(many_that_are_ready_are_told_in_few_rounds),
          TEST(none_that_stays_ready_keeps_another_waiting), TEST(what_was_taken_out_is_not_told_any_more),
          TEST(a_peer_that_is_gone_is_told_once_where_nothing_is_asked_for), TEST(a_channel_can_be_put_in_again),
          TEST(each_is_looked_at_now_and_then), TEST(a_descriptor_that_cannot_be_asked_about_is_an_error))
