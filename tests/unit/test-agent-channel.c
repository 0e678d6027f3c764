/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The agent's end of its channel, with each write going wrong in its turn: what reaches the host are whole lines, at
 * most one cut off, and every answer comes. */

#include <errno.h>
#include <sys/socket.h>

#include "agents/guest/link.h"
#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "tests/unit/test.h"

#define SESSION_A "00112233445566778899aabbccddeeff"
#define SESSION_B "ffeeddccbbaa99887766554433221100"
#define ANSWERS 3

enum fault { WRITE_ONE_BYTE, WRITE_AGAIN, WRITE_INTERRUPTED, WRITE_BROKEN, WRITE_CUT, WRITE_MAX };

static struct {
        int ends[2]; /* the link's, the host's */
        enum fault fault;
        unsigned turn; /* writes until one goes wrong; 0: none does */
        bool failed;
} channel;

ssize_t __real_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n);
ssize_t __wrap_write(int fd, const void *bytes, size_t n) {
        if (fd != channel.ends[0] || channel.turn == 0 || --channel.turn > 0)
                return __real_write(fd, bytes, n);
        if (channel.fault == WRITE_CUT && !channel.failed) {
                channel.turn = 1; /* half of it now, and the next is the last */
                channel.failed = true;
                return __real_write(fd, bytes, n > 1 ? n / 2 : n);
        }
        channel.failed = true;
        if (channel.fault == WRITE_ONE_BYTE)
                return __real_write(fd, bytes, 1);
        errno = channel.fault == WRITE_AGAIN ? EAGAIN : channel.fault == WRITE_INTERRUPTED ? EINTR : EPIPE;
        return -1;
}

/* As a virtio port: the same descriptor with every host. */
static int open_channel(const struct transport *transport) {
        return channel.ends[0];
}

static void on_line(void *userdata, const char *line, size_t length) {
}

static const struct transport port = { .open = open_channel, .keeps_descriptor = true };
static const struct link_handler handler = { .line = on_line };

struct heard {
        bool answers[ANSWERS];
        unsigned n_broken;
};

/* What has reached the host. */
static void hear(struct heard *ret) {
        static struct line_reader reader;
        const char *line;
        size_t length;

        while (line_reader_fill(&reader, channel.ends[1]) > 0)
                while (line_reader_next(&reader, &line, &length) > 0) {
                        struct message message;

                        if (codec_decode(line, length, &message, NULL) < 0) {
                                ret->n_broken++;
                                continue;
                        }
                        REQUIRE(message.type == MESSAGE_RESULT && message.id >= 1 && message.id <= ANSWERS);
                        ret->answers[message.id - 1] = true;
                        message_deinit(&message);
                }
        line_reader_deinit(&reader);
        reader = (struct line_reader) { 0 };
}

/* Returns false once no write was left to go wrong. */
static bool try_fault(enum fault fault, unsigned turn) {
        struct heard heard = { 0 };
        struct link *link = NULL;
        struct loop *loop;

        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, channel.ends) == 0);
        REQUIRE(loop_new(&loop) == 0 && link_new(loop, &port, &handler, &link) == 0);
        channel.fault = fault;
        channel.turn = turn;
        channel.failed = false;
        link_begin_session(link, SESSION_A);
        for (uint64_t id = 1; id <= ANSWERS; id++)
                link_send(link, &(struct message) { .type = MESSAGE_RESULT, .id = id, .app = "db" }, false);
        channel.turn = 0;
        link_begin_session(link, SESSION_B); /* the host greets again, as it does when it hears nothing */
        link_flush(link, USEC_PER_SEC);
        hear(&heard);
        for (unsigned i = 0; i < ANSWERS; i++)
                CHECK(heard.answers[i]);
        CHECK(heard.n_broken <= (fault == WRITE_CUT));
        link_free(link);
        loop_free(loop);
        close(channel.ends[1]);
        return channel.failed;
}

static void each_write_that_goes_wrong_costs_no_answer(void) {
        for (enum fault fault = 0; fault < WRITE_MAX; fault++) {
                unsigned turn = 1;

                while (try_fault(fault, turn))
                        turn++;
                CHECK(turn > ANSWERS);
        }
}

TEST_MAIN("agent-channel", TEST(each_write_that_goes_wrong_costs_no_answer))
