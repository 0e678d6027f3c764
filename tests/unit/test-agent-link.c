/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "daemon/host/agents/agent-limit.h"
#include "daemon/host/agents/agent-link.h"
#include "tests/unit/test.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC)
#define SEEN_MAX 2048

static const struct agent_link_pace quick = { .silence_usec = 100 * USEC_PER_MSEC, .pause_usec = 300 * USEC_PER_MSEC };

/* What the link has told. */
struct seen {
        enum event_kind kind;
        bool up;
        enum message_type type;
        uint64_t nonce;
        char text[EVENT_TEXT_LEN];
};

/* A link, and QEMU with a guest's agent at the other end, played by the test. */
struct bench {
        char root[64], path[96];
        sd_event *event;
        struct agent_poll *poll;
        struct sink sink;
        struct agent_link *link;
        struct seen seen[SEEN_MAX];
        unsigned n_seen, n_dispatched;
        bool drop_on_message;

        int listen_fd, fd;
        struct line_reader reader;
        struct message welcome; /* the last */
        unsigned n_welcomes;
        struct message last;    /* the last of another type */
        unsigned n_received;
        uint64_t seq;
};

static usec_t clock_now(void) {
        struct timespec time;

        (void) clock_gettime(CLOCK_MONOTONIC, &time);
        return (usec_t) time.tv_sec * USEC_PER_SEC + (usec_t) time.tv_nsec / 1000;
}

static void on_event(void *userdata, const struct event *event) {
        struct bench *bench = userdata;
        struct seen *seen = &bench->seen[bench->n_seen];

        REQUIRE(bench->n_seen < SEEN_MAX);
        CHECK(event->pair == 5 && event->side == SIDE_B);
        *seen = (struct seen) { .kind = event->kind, .up = event->up };
        strcpy(seen->text, event->text);
        if (event->kind == EVENT_MESSAGE) {
                seen->type = event->message->type;
                seen->nonce = event->message->nonce;
                if (bench->drop_on_message)
                        agent_link_drop(bench->link, USEC_PER_SEC, "enough");
        }
        bench->n_seen++;
}

static void bench_listen(struct bench *bench) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        strcpy(address.sun_path, bench->path);
        bench->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        REQUIRE(bench->listen_fd >= 0);
        REQUIRE(bind(bench->listen_fd, (struct sockaddr *) &address, sizeof(address)) == 0);
        REQUIRE(listen(bench->listen_fd, 1) == 0);
}

static struct bench *bench_new(void) {
        struct bench *bench = calloc(1, sizeof(*bench));

        REQUIRE(bench != NULL);
        strcpy(bench->root, P_tmpdir "/test-agent-link-XXXXXX");
        REQUIRE(mkdtemp(bench->root) != NULL);
        snprintf(bench->path, sizeof(bench->path), "%s/agent", bench->root);
        bench->sink = (struct sink) { on_event, bench };
        bench->listen_fd = bench->fd = -1;
        REQUIRE(sd_event_new(&bench->event) >= 0);
        REQUIRE(agent_poll_new(bench->event, quick.silence_usec / 4, &bench->poll) == 0);
        REQUIRE(agent_link_new(bench->event, bench->poll, &bench->sink, 5, SIDE_B, &quick, &bench->link) == 0);
        return bench;
}

static void bench_hang_up(struct bench *bench) {
        closep(&bench->fd);
        bench->fd = -1;
        line_reader_deinit(&bench->reader);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void bench_free(struct bench *bench) {
        agent_link_free(bench->link);
        agent_poll_free(bench->poll);
        bench_hang_up(bench);
        closep(&bench->listen_fd);
        (void) nftw(bench->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
        sd_event_unref(bench->event);
        free(bench);
}

/* Takes what the link has sent. */
static void peer_read(struct bench *bench) {
        const char *line;
        size_t length;

        while (bench->fd >= 0 && line_reader_fill(&bench->reader, bench->fd) > 0)
                while (line_reader_next(&bench->reader, &line, &length) > 0) {
                        struct message message = { 0 };

                        REQUIRE(codec_decode(line, length, &message, NULL) == 0);
                        bench->n_received++;
                        if (message.type == MESSAGE_WELCOME) {
                                bench->welcome = message;
                                bench->n_welcomes++;
                        } else
                                bench->last = message;
                        message_deinit(&message);
                }
}

/* One turn of the loop, the peer accepting (and reading, unless told not to). */
static void turn(struct bench *bench, bool reading) {
        bench->n_dispatched += sd_event_run(bench->event, 2 * USEC_PER_MSEC) > 0;
        if (bench->fd < 0 && bench->listen_fd >= 0) {
                bench->fd = accept4(bench->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                bench->seq = 0;
        }
        if (reading)
                peer_read(bench);
}

#define WAIT_FOR_READING(bench, condition, reading)                              \
        do {                                                                     \
                usec_t _end_usec = clock_now() + PATIENCE_USEC;                  \
                while (!(condition) && clock_now() < _end_usec)                  \
                        turn(bench, reading);                                    \
                REQUIRE(condition);                                              \
        } while (0)
#define WAIT_FOR(bench, condition) WAIT_FOR_READING(bench, condition, true)

static void peer_write(struct bench *bench, const char *bytes, size_t n) {
        usec_t end_usec = clock_now() + PATIENCE_USEC;

        while (n > 0 && clock_now() < end_usec) {
                ssize_t k = send(bench->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);

                if (k > 0) {
                        bytes += k;
                        n -= (size_t) k;
                } else if (errno != EAGAIN)
                        return;
                else
                        turn(bench, true);
        }
        CHECK(n == 0);
}

static void peer_text(struct bench *bench, const char *text) {
        peer_write(bench, text, strlen(text));
}

static void peer_send(struct bench *bench, struct message message) {
        _cleanup_free_ char *line = NULL;

        if (!*message.session)
                strcpy(message.session, bench->welcome.session);
        if (message.seq == 0)
                message.seq = ++bench->seq;
        REQUIRE(codec_encode(&message, &line) == 0);
        peer_text(bench, line);
}

static struct message hello(void) {
        return (struct message) { .type = MESSAGE_HELLO, .version = 1, .boot = "0-1", .bytes = GIB };
}

static struct message pong(uint64_t nonce) {
        return (struct message) { .type = MESSAGE_PONG, .nonce = nonce };
}

/* Connected, greeted, up. */
static struct bench *bench_new_up(void) {
        struct bench *bench = bench_new();

        bench_listen(bench);
        REQUIRE(agent_link_set_path(bench->link, bench->path) == 0);
        WAIT_FOR(bench, bench->n_welcomes == 1);
        peer_send(bench, hello());
        WAIT_FOR(bench, bench->n_seen == 2);
        return bench;
}

static void a_link_is_up_with_the_hello_and_not_before(void) {
        struct bench *bench = bench_new();

        REQUIRE(agent_link_set_path(bench->link, bench->path) == 0);
        CHECK(agent_link_send(bench->link, &(struct message) { .type = MESSAGE_PING, .nonce = 1 }) == -ENOTCONN);
        bench_listen(bench); /* comes to be later */
        WAIT_FOR(bench, bench->n_welcomes == 1);
        CHECK(bench->n_seen == 0 && !agent_link_is_up(bench->link));
        CHECK(strlen(bench->welcome.session) == SESSION_LEN - 1 && bench->welcome.version == PROTOCOL_VERSION);
        WAIT_FOR(bench, bench->n_welcomes == 3); /* the guest is still booting */
        CHECK(bench->n_seen == 0);
        peer_send(bench, hello());
        WAIT_FOR(bench, bench->n_seen == 2);
        CHECK(bench->seen[0].kind == EVENT_LINK && bench->seen[0].up);
        CHECK(bench->seen[1].kind == EVENT_MESSAGE && bench->seen[1].type == MESSAGE_HELLO);
        CHECK(agent_link_is_up(bench->link));
        CHECK(agent_link_send(bench->link, &(struct message) { .type = MESSAGE_PING, .nonce = 7 }) == 0);
        WAIT_FOR(bench, bench->last.nonce == 7);
        CHECK_TEXT(bench->last.session, bench->welcome.session);
        CHECK(bench->last.seq == bench->n_received);
        bench_free(bench);
}

static void welcomes_do_not_pile_up_before_a_guest_that_does_not_read(void) {
        struct bench *bench = bench_new();
        usec_t end_usec;

        bench_listen(bench);
        REQUIRE(agent_link_set_path(bench->link, bench->path) == 0);
        end_usec = clock_now() + 5 * quick.silence_usec / 2; /* two more would be due by then */
        while (clock_now() < end_usec)
                turn(bench, false);
        peer_read(bench);
        CHECK(bench->n_welcomes == 1);
        WAIT_FOR(bench, bench->n_welcomes == 2);
        bench_free(bench);
}

static void an_agent_that_starts_anew_is_configured_anew(void) {
        struct bench *bench = bench_new_up();

        peer_send(bench, pong(1));
        WAIT_FOR(bench, bench->n_seen == 3);
        WAIT_FOR(bench, bench->n_welcomes == 2); /* since nothing has come for a while */
        bench->seq = 0;
        peer_send(bench, hello());
        WAIT_FOR(bench, bench->n_seen == 6);
        CHECK(bench->seen[3].kind == EVENT_LINK && !bench->seen[3].up);
        CHECK(bench->seen[4].kind == EVENT_LINK && bench->seen[4].up);
        CHECK(bench->seen[5].kind == EVENT_MESSAGE && bench->seen[5].type == MESSAGE_HELLO);
        peer_send(bench, pong(2)); /* its numbering has begun anew, too */
        WAIT_FOR(bench, bench->n_seen == 7);
        bench_free(bench);
}

static void a_living_agent_is_not_welcomed_again(void) {
        struct bench *bench = bench_new_up();
        usec_t end_usec = clock_now() + 3 * quick.silence_usec / 2;

        for (uint64_t nonce = 1; clock_now() < end_usec; nonce++) {
                if (bench->n_seen < SEEN_MAX / 2)
                        peer_send(bench, pong(nonce));
                turn(bench, true);
                WAIT_FOR(bench, bench->n_seen >= 2);
        }
        CHECK(bench->n_welcomes == 1);
        bench_free(bench);
}

static void stale_and_replayed_messages_are_dropped(void) {
        struct bench *bench = bench_new_up();
        struct message message = pong(1);

        strcpy(message.session, "0123456789abcdef0123456789abcdef");
        peer_send(bench, message);
        message = pong(2);
        message.seq = 1;
        peer_send(bench, message);
        peer_send(bench, pong(3));
        WAIT_FOR(bench, bench->n_seen == 3);
        CHECK(bench->seen[2].nonce == 3);
        CHECK(agent_link_get_counts(bench->link)->stale == 1);
        CHECK(agent_link_get_counts(bench->link)->replayed == 1);
        CHECK(agent_link_get_counts(bench->link)->received == 2);
        bench_free(bench);
}

static void nothing_counts_before_the_hello(void) {
        struct bench *bench = bench_new();

        bench_listen(bench);
        REQUIRE(agent_link_set_path(bench->link, bench->path) == 0);
        WAIT_FOR(bench, bench->n_welcomes == 1);
        peer_send(bench, pong(1));
        WAIT_FOR(bench, agent_link_get_counts(bench->link)->stale == 1);
        CHECK(bench->n_seen == 0);
        bench_free(bench);
}

static void a_few_bad_lines_cost_only_themselves(void) {
        struct bench *bench = bench_new_up();
        _cleanup_free_ char *huge = malloc(MIB + 1), *line = NULL;
        struct message message = pong(9);

        peer_text(bench, "garbage\n{\"type\":\"pong\"}\n\n{\"type\":\"news\",\"seq\":1}\n");
        memset(huge, 'x', MIB);
        huge[MIB] = '\n';
        peer_write(bench, huge, MIB + 1);
        peer_send(bench, (struct message) { .type = MESSAGE_PING, .nonce = 3 }); /* the host's to send */
        strcpy(message.session, bench->welcome.session);
        message.seq = 100;
        REQUIRE(codec_encode(&message, &line) == 0);
        for (size_t i = 0; line[i]; i++) { /* in single bytes */
                peer_write(bench, line + i, 1);
                turn(bench, true);
        }
        WAIT_FOR(bench, bench->n_seen == 3);
        CHECK(bench->seen[2].nonce == 9);
        CHECK(agent_link_get_counts(bench->link)->malformed == 5);
        CHECK(agent_link_get_counts(bench->link)->unknown == 1);
        bench_free(bench);
}

static void an_agent_that_sends_nonsense_is_disconnected(void) {
        struct bench *bench = bench_new_up();
        usec_t begun_usec;

        for (unsigned i = 0; i < 19; i++)
                peer_text(bench, "{\n");
        WAIT_FOR(bench, agent_link_get_counts(bench->link)->malformed == 19);
        CHECK(bench->n_seen == 2);
        peer_text(bench, "{\n");
        WAIT_FOR(bench, bench->n_seen == 3);
        CHECK(bench->seen[2].kind == EVENT_LINK && !bench->seen[2].up);
        CHECK(strncmp(bench->seen[2].text, "agent breaks the protocol: ", 27) == 0);
        CHECK(!agent_link_is_up(bench->link));
        begun_usec = clock_now();
        bench_hang_up(bench);
        WAIT_FOR(bench, bench->n_welcomes == 2); /* but not for ever */
        CHECK(clock_now() - begun_usec > 4 * quick.pause_usec / 5);
        bench_free(bench);
}

static void a_flood_is_read_at_a_limited_rate_without_spinning(void) {
        struct bench *bench = bench_new_up();
        usec_t begun_usec = clock_now(), span_usec;
        uint64_t n = 500, dispatched = bench->n_dispatched;

        for (uint64_t nonce = 1; nonce <= n; nonce++)
                peer_send(bench, pong(nonce));
        WAIT_FOR(bench, bench->n_seen == n + 2);
        span_usec = clock_now() - begun_usec;
        CHECK(bench->seen[n + 1].nonce == n); /* nothing is lost */
        /* two seconds' worth at once, the rest at 200 a second */
        CHECK(span_usec > (n - 420) * USEC_PER_SEC / AGENT_MESSAGES_PER_SEC);
        CHECK(agent_link_get_counts(bench->link)->throttled > 0);
        CHECK(bench->n_dispatched - dispatched < 3 * n);
        bench_free(bench);
}

static void pings_are_dropped_before_a_guest_that_does_not_read(void) {
        struct bench *bench = bench_new_up();
        int r = 0;

        for (unsigned i = 0; i < 10000 && r == 0; i++)
                r = agent_link_send(bench->link, &(struct message) { .type = MESSAGE_PING, .nonce = i });
        CHECK(r == -EAGAIN);
        CHECK(agent_link_get_counts(bench->link)->pings_dropped == 1);
        CHECK(agent_link_is_up(bench->link));
        /* something that counts still goes */
        CHECK(agent_link_send(bench->link, &(struct message) { .type = MESSAGE_STOP, .id = 4, .app = "web" }) == 0);
        WAIT_FOR(bench, bench->last.type == MESSAGE_STOP);
        CHECK(agent_link_send(bench->link, &(struct message) { .type = MESSAGE_PING, .nonce = 77 }) == 0);
        WAIT_FOR(bench, bench->last.nonce == 77);
        bench_free(bench);
}

static void a_stuck_guest_is_dropped_at_the_queue_limit(void) {
        struct bench *bench = bench_new_up();
        unsigned n = 0;
        int r = 0;

        while (r == 0 && n++ < 100000)
                r = agent_link_send(bench->link, &(struct message) { .type = MESSAGE_STOP, .id = n, .app = "web" });
        CHECK(r == -ENOBUFS);
        CHECK(n > 256 * KIB / 200);
        CHECK(bench->n_seen == 2); /* the sink is not called from within */
        WAIT_FOR_READING(bench, bench->n_seen == 3, false);
        CHECK(!bench->seen[2].up && strstr(bench->seen[2].text, "stuck") != NULL);
        bench_hang_up(bench);
        bench->n_welcomes = 0;
        WAIT_FOR(bench, bench->n_welcomes == 1);
        bench_free(bench);
}

static void a_slow_guest_gets_everything_in_order(void) {
        struct bench *bench = bench_new_up();
        uint64_t n = 1500;

        for (uint64_t id = 1; id <= n; id++)
                REQUIRE(agent_link_send(bench->link, &(struct message) { .type = MESSAGE_STOP, .id = id,
                                                                         .app = "web" }) == 0);
        WAIT_FOR(bench, bench->last.id == n);
        CHECK(bench->n_received == n + bench->n_welcomes);
        bench_free(bench);
}

/* ---- a socket that fails ---- */

static enum { SEND_WHOLE, SEND_ONE_BYTE, SEND_AGAIN, SEND_INTERRUPTED, SEND_BROKEN, SEND_MAX } send_fault;
static unsigned send_turn; /* sends of the link until one goes wrong; 0: none does */
static bool send_failed;

ssize_t __real_send(int fd, const void *bytes, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags);
ssize_t __wrap_send(int fd, const void *bytes, size_t n, int flags) {
        if (send_turn == 0 || --send_turn > 0)
                return __real_send(fd, bytes, n, flags);
        send_failed = true;
        if (send_fault == SEND_ONE_BYTE)
                return __real_send(fd, bytes, 1, flags);
        errno = send_fault == SEND_AGAIN ? EAGAIN : send_fault == SEND_INTERRUPTED ? EINTR : EPIPE;
        return -1;
}

/* Sends `n` checks, of which those that reach the peer have to be whole and in order: peer_read() looks. */
static unsigned send_checks(struct bench *bench, unsigned n) {
        unsigned n_sent = 0;

        for (unsigned i = 1; i <= n; i++)
                n_sent += agent_link_send(bench->link, &(struct message) { .type = MESSAGE_CHECK, .id = i,
                                                                           .app = "db" }) == 0;
        return n_sent;
}

/* Returns false once nothing was left to fail. */
static bool try_send_fault(unsigned nth) {
        struct bench *bench = bench_new_up();
        unsigned n_seen = bench->n_seen, n_before = bench->n_received;

        send_failed = false;
        send_turn = nth;
        CHECK(send_checks(bench, 5) == (nth <= 5 && send_fault == SEND_BROKEN ? nth - 1 : 5));
        send_turn = 0;
        if (send_failed && send_fault == SEND_BROKEN) {
                WAIT_FOR(bench, bench->n_seen > n_seen);
                CHECK(bench->seen[n_seen].kind == EVENT_LINK && !bench->seen[n_seen].up);
        } else {
                WAIT_FOR(bench, bench->n_received == n_before + 5);
                CHECK(bench->last.id == 5 && agent_link_is_up(bench->link));
        }
        bench_free(bench);
        return send_failed;
}

static void each_send_that_goes_wrong_costs_no_line_but_its_own(void) {
        for (send_fault = SEND_ONE_BYTE; send_fault < SEND_MAX; send_fault++) {
                unsigned nth = 1;

                while (try_send_fault(nth))
                        nth++;
                CHECK(nth == 6);
        }
}

static void a_lost_channel_is_told_and_tried_again_under_a_new_session(void) {
        struct bench *bench = bench_new_up();
        char session[SESSION_LEN];

        strcpy(session, bench->welcome.session);
        bench_hang_up(bench);
        WAIT_FOR(bench, bench->n_seen == 3);
        CHECK(bench->seen[2].kind == EVENT_LINK && !bench->seen[2].up);
        WAIT_FOR(bench, bench->n_welcomes == 2);
        CHECK(strcmp(session, bench->welcome.session) != 0);
        CHECK(bench->welcome.seq == 1);
        peer_send(bench, hello());
        WAIT_FOR(bench, bench->n_seen == 5);
        CHECK(agent_link_set_path(bench->link, bench->path) == 0); /* the same: nothing happens */
        CHECK(agent_link_is_up(bench->link));
        CHECK(agent_link_set_path(bench->link, NULL) == 0);
        WAIT_FOR(bench, bench->n_seen == 6);
        CHECK(!bench->seen[5].up);
        bench_free(bench);
}

static void an_unanswered_session_is_given_up_for_a_new_one(void) {
        struct bench *bench = bench_new();
        char session[SESSION_LEN];

        bench_listen(bench);
        REQUIRE(agent_link_set_path(bench->link, bench->path) == 0);
        WAIT_FOR(bench, bench->n_welcomes == 1);
        strcpy(session, bench->welcome.session);
        WAIT_FOR(bench, bench->n_welcomes == 10);
        CHECK_TEXT(bench->welcome.session, session);
        WAIT_FOR(bench, bench->n_welcomes == 11);
        CHECK(strcmp(bench->welcome.session, session) != 0);
        peer_send(bench, hello());
        WAIT_FOR(bench, bench->n_seen == 2);
        bench_free(bench);
}

static void a_link_may_be_dropped_from_within_the_sink(void) {
        struct bench *bench = bench_new_up();

        bench->drop_on_message = true;
        peer_send(bench, pong(1));
        peer_send(bench, pong(2));
        WAIT_FOR(bench, bench->n_seen == 4);
        CHECK(bench->seen[2].kind == EVENT_MESSAGE && bench->seen[2].nonce == 1);
        CHECK(bench->seen[3].kind == EVENT_LINK && !bench->seen[3].up);
        CHECK_TEXT(bench->seen[3].text, "enough");
        bench_free(bench);
}

static void the_last_lines_are_kept_for_people(void) {
        struct bench *bench = bench_new_up();
        _cleanup_free_ char *text = NULL;
        unsigned n_lines = 0;

        peer_text(bench, "esc\033[2J\n");
        for (uint64_t nonce = 1; nonce <= 40; nonce++)
                peer_send(bench, pong(nonce));
        for (unsigned i = 0; i < 10; i++)
                peer_text(bench, "{\n");
        WAIT_FOR(bench, agent_link_get_counts(bench->link)->malformed == 11);
        text = agent_link_get_recent(bench->link);
        REQUIRE(text != NULL);
        for (const char *p = text; *p; p++)
                n_lines += *p == '\n';
        CHECK(n_lines == 1 + 1 + 1 + 10); /* hello, garbage, pongs as one, garbage */
        CHECK(strstr(text, "esc?[2J") != NULL);
        CHECK(strstr(text, "\"nonce\":40") != NULL && strstr(text, "\"nonce\":39") == NULL);
        bench_free(bench);
}

static void a_right_that_is_missing_is_told_once(void) {
        struct bench *bench = bench_new();
        bool root = geteuid() == 0;

        bench_listen(bench);
        REQUIRE(chmod(bench->root, 0) == 0);
        REQUIRE(!root || seteuid(65534) == 0);
        CHECK(agent_link_set_path(bench->link, bench->path) == 0);
        WAIT_FOR(bench, bench->n_seen == 1);
        CHECK(bench->seen[0].kind == EVENT_LINK && !bench->seen[0].up);
        CHECK(strstr(bench->seen[0].text, "no right to open its agent channel") != NULL);
        REQUIRE(!root || seteuid(0) == 0);
        REQUIRE(chmod(bench->root, 0700) == 0);
        WAIT_FOR(bench, bench->n_welcomes == 1);
        CHECK(bench->n_seen == 1);
        bench_free(bench);
}

static void a_path_that_is_no_socket_address_is_refused(void) {
        struct bench *bench = bench_new();
        char path[200];

        memset(path, 'p', sizeof(path) - 1);
        path[sizeof(path) - 1] = 0;
        CHECK(agent_link_set_path(bench->link, path) == -ENAMETOOLONG);
        bench_free(bench);
}

TEST_MAIN("agent-link",
          TEST(a_link_is_up_with_the_hello_and_not_before),
          TEST(welcomes_do_not_pile_up_before_a_guest_that_does_not_read),
          TEST(an_agent_that_starts_anew_is_configured_anew),
          TEST(a_living_agent_is_not_welcomed_again),
          TEST(stale_and_replayed_messages_are_dropped),
          TEST(nothing_counts_before_the_hello),
          TEST(a_few_bad_lines_cost_only_themselves),
          TEST(an_agent_that_sends_nonsense_is_disconnected),
          TEST(a_flood_is_read_at_a_limited_rate_without_spinning),
          TEST(pings_are_dropped_before_a_guest_that_does_not_read),
          TEST(a_stuck_guest_is_dropped_at_the_queue_limit),
          TEST(a_slow_guest_gets_everything_in_order),
          TEST(each_send_that_goes_wrong_costs_no_line_but_its_own),
          TEST(a_lost_channel_is_told_and_tried_again_under_a_new_session),
          TEST(an_unanswered_session_is_given_up_for_a_new_one),
          TEST(a_link_may_be_dropped_from_within_the_sink),
          TEST(the_last_lines_are_kept_for_people),
          TEST(a_right_that_is_missing_is_told_once), TEST(a_path_that_is_no_socket_address_is_refused))
