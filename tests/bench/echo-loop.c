/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The bare loop that failoverd's idle cost is compared with: echo-loop SOCKETS PERIOD_MSEC PING_BYTES PONG_BYTES
 *
 * It does no more than the traffic itself needs: every period it writes one line of PING_BYTES to each of SOCKETS
 * sockets and reads one line of PONG_BYTES back, with sd-event. A child answers. Nothing is parsed. Prints "ready"
 * and runs until its input ends.
 */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define SOCKETS_MAX 2000
#define LINE_MAX_BYTES 4096
#define ACCURACY_USEC 1000

struct peer {
        int fd;
        sd_event_source *timer;
        uint64_t next_usec, period_usec;
        const char *line;
        size_t n_line;
};

static void fail(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

static void send_line(struct peer *peer) {
        if (send(peer->fd, peer->line, peer->n_line, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) peer->n_line)
                fail("send");
}

/* One line has come; true where its end is in it. */
static int receive_line(const struct peer *peer) {
        char line[LINE_MAX_BYTES];
        ssize_t n = recv(peer->fd, line, sizeof(line), MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
                return 0;
        if (n <= 0)
                exit(EXIT_SUCCESS);
        return memchr(line, '\n', (size_t) n) != NULL;
}

static int on_pong(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        (void) receive_line(userdata);
        return 0;
}

static int on_ping(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        if (receive_line(userdata))
                send_line(userdata);
        return 0;
}

static int on_period(sd_event_source *source, uint64_t usec, void *userdata) {
        struct peer *peer = userdata;

        send_line(peer);
        peer->next_usec += peer->period_usec;
        sd_event_source_set_time(source, peer->next_usec);
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int on_end(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        return sd_event_exit(sd_event_source_get_event(source), 0);
}

static char *make_line(size_t n) {
        char *line = malloc(n);

        if (!line || n < 1 || n > LINE_MAX_BYTES)
                fail("line");
        memset(line, 'x', n - 1);
        line[n - 1] = '\n';
        return line;
}

/* The guests' end, in a process of its own. */
static void answer(struct peer *peers, size_t n_peers) {
        sd_event *loop = NULL;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (sd_event_default(&loop) < 0)
                fail("sd_event");
        for (size_t i = 0; i < n_peers; i++)
                if (sd_event_add_io(loop, NULL, peers[i].fd, EPOLLIN, on_ping, &peers[i]) < 0)
                        fail("sd_event_add_io");
        exit(sd_event_loop(loop) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

static void ask(struct peer *peers, size_t n_peers) {
        sd_event *loop = NULL;
        uint64_t now;

        if (sd_event_default(&loop) < 0 || sd_event_now(loop, CLOCK_BOOTTIME, &now) < 0 ||
            sd_event_add_io(loop, NULL, STDIN_FILENO, EPOLLIN, on_end, NULL) < 0)
                fail("sd_event");
        for (size_t i = 0; i < n_peers; i++) {
                /* all at once, which is the cheapest: the loop wakes up once for many */
                peers[i].next_usec = now + peers[i].period_usec;
                if (sd_event_add_io(loop, NULL, peers[i].fd, EPOLLIN, on_pong, &peers[i]) < 0 ||
                    sd_event_add_time(loop, &peers[i].timer, CLOCK_BOOTTIME, peers[i].next_usec, ACCURACY_USEC,
                                      on_period, &peers[i]) < 0)
                        fail("sd_event_add");
        }
        printf("ready\n");
        fflush(stdout);
        (void) sd_event_loop(loop);
}

int main(int argc, char *argv[]) {
        static struct peer near[SOCKETS_MAX], far[SOCKETS_MAX];
        size_t n = argc == 5 ? strtoul(argv[1], NULL, 10) : 0, n_ping, n_pong;
        struct rlimit files;
        uint64_t period_usec;
        pid_t child;

        if (n == 0 || n > SOCKETS_MAX) {
                fprintf(stderr, "usage: echo-loop SOCKETS PERIOD_MSEC PING_BYTES PONG_BYTES\n");
                return 2;
        }
        period_usec = strtoul(argv[2], NULL, 10) * 1000;
        n_ping = strtoul(argv[3], NULL, 10);
        n_pong = strtoul(argv[4], NULL, 10);
        if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
                files.rlim_cur = files.rlim_max;
                (void) setrlimit(RLIMIT_NOFILE, &files);
        }
        for (size_t i = 0; i < n; i++) {
                int fds[2];

                if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                        fail("socketpair");
                near[i] = (struct peer) { .fd = fds[0], .line = make_line(n_ping), .n_line = n_ping };
                near[i].period_usec = period_usec;
                far[i] = (struct peer) { .fd = fds[1], .line = make_line(n_pong), .n_line = n_pong };
        }
        child = fork();
        if (child < 0)
                fail("fork");
        for (size_t i = 0; i < n; i++)
                close(child == 0 ? near[i].fd : far[i].fd);
        if (child == 0)
                answer(far, n);
        ask(near, n);
        return EXIT_SUCCESS;
}
