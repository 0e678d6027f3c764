/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/responder.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"

#define ANNOUNCE_USEC USEC_PER_SEC
#define POLL_AGAIN_MSEC 100 /* where the kernel has no memory for it */

struct responder {
        struct responder_options options;
        struct discovery_socket asked;     /* fd -1: none */
        struct discovery_socket announces; /* the same */
        struct discovery_address arbitrator;
        int end_fd;
        pthread_t thread;
        bool started;
};

DEFINE_CLEANUP(struct responder *, responder_free)

/* False where it has nothing to say. */
static bool look(struct responder *responder, struct discovery_entry *ret) {
        *ret = (struct discovery_entry) { 0 };
        responder->options.look(responder->options.userdata, ret);
        return ret->willing || !responder->options.silent;
}

/* Whoever has the key could answer for a server; so nobody is answered who has not asked just now. */
static void answer_all(struct responder *responder) {
        struct discovery_message ask, answer = { .kind = DISCOVERY_ANSWER, .n_entries = 1 };
        struct discovery_address from;

        while (discovery_receive(&responder->asked, &ask, &from)) {
                if (ask.kind != DISCOVERY_ASK || !look(responder, &answer.entries[0]))
                        continue;
                memcpy(answer.nonce, ask.nonce, sizeof(answer.nonce));
                discovery_send(&responder->asked, &answer, &from);
        }
}

static void announce(struct responder *responder) {
        struct discovery_message message = { .kind = DISCOVERY_ANNOUNCE, .n_entries = 1 };

        if (look(responder, &message.entries[0]) && discovery_random(message.nonce, sizeof(message.nonce)) == 0)
                discovery_send(&responder->announces, &message, &responder->arbitrator);
}

static void *run(void *userdata) {
        struct responder *responder = userdata;
        struct pollfd polls[] = { { .fd = responder->end_fd, .events = POLLIN },
                                  { .fd = responder->asked.fd, .events = POLLIN } };
        usec_t next_usec = 0;

        for (;;) {
                usec_t now = clock_usec(CLOCK_BOOTTIME);

                if (now >= next_usec) {
                        if (responder->announces.fd >= 0)
                                announce(responder);
                        next_usec = now + ANNOUNCE_USEC;
                }
                if (poll(polls, ELEMENTSOF(polls), (int) ((next_usec - now) / USEC_PER_MSEC) + 1) < 0) {
                        if (errno != EINTR)
                                (void) poll(NULL, 0, POLL_AGAIN_MSEC);
                        continue;
                }
                if (polls[0].revents)
                        return NULL;
                if (polls[1].revents)
                        answer_all(responder);
        }
}

/* One of its two sockets; `text` may be NULL. */
static int open_socket(const struct responder *responder, const char *text, bool listens,
                       struct discovery_address *address, struct discovery_socket *ret, struct error *error) {
        int r;

        if (!text)
                return 0;
        r = discovery_key_load(responder->options.key_file, &ret->key, error);
        if (r == 0)
                r = discovery_address_parse(text, address, error);
        if (r < 0)
                return r;
        r = discovery_socket_open(address, listens, ret, error);
        if (r < 0)
                error_prefix(error, "%s", text);
        ret->tell = responder->options.tell;
        ret->userdata = responder->options.userdata;
        return r;
}

int responder_new(const struct responder_options *options, struct responder **ret, struct error *error) {
        _cleanup_(responder_freep) struct responder *responder = calloc(1, sizeof(*responder));
        struct discovery_address address;
        int r;

        if (!responder)
                return error_set(error, -ENOMEM, "out of memory");
        responder->options = *options;
        responder->asked.fd = responder->announces.fd = -1;
        responder->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (responder->end_fd < 0)
                return error_set(error, -errno, "no descriptor: %s", strerror(errno));
        r = open_socket(responder, options->listen, true, &address, &responder->asked, error);
        if (r == 0)
                r = open_socket(responder, options->arbitrator, false, &responder->arbitrator, &responder->announces,
                                error);
        if (r < 0)
                return r;
        r = thread_start_joined(run, responder, &responder->thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        responder->started = true;
        *ret = steal_ptr(responder);
        return 0;
}

struct responder *responder_free(struct responder *responder) {
        const uint64_t one = 1;

        if (responder->started) {
                (void) !write(responder->end_fd, &one, sizeof(one));
                (void) pthread_join(responder->thread, NULL);
        }
        discovery_socket_close(&responder->asked);
        discovery_socket_close(&responder->announces);
        if (responder->end_fd >= 0)
                (void) close(responder->end_fd);
        free(responder);
        return NULL;
}
