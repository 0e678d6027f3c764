/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The stand-in guests: guests DIR PAIRS
 *
 * For each of the domains p000-a, p000-b, p001-a, ... a process that looks like its QEMU (it only waits), libvirt's
 * pid file for it, and an agent on DIR/NAME.agent that says and does what failover-agent would, with an application
 * that starts at once. hypervisor.c is the other half.
 *
 * Reads commands and answers each with one line, the microseconds from the event to failoverd's first action:
 *
 *   fail N    the application of pair N reports a major failure   -> `stop` arrives at its agent
 *   panic N   the kernel of the VM that runs it panics            -> libvirt is called to suspend that VM
 *   running   answers: pairs that run their application on one side, bytes of a ping and of a pong
 */

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "agents/protocol/codec.h"
#include "daemon/base/cleanup.h"
#include "tests/bench/stand-in.h"

#define PAIRS_MAX 1000
#define NODE 1

struct bench;

struct guest {
        struct bench *bench;
        char name[STAND_IN_NAME_LEN], app[STAND_IN_NAME_LEN];
        int listen_fd, fd; /* fd -1: failoverd is not connected */
        sd_event_source *io, *gone;
        struct line_reader reader;
        char session[SESSION_LEN];
        uint64_t seq;
        unsigned boots;

        bool attached; /* the region's memory is there */
        enum application_state state;
        uint64_t token, start_id;
};

struct bench {
        sd_event *loop;
        const char *directory;
        char program[256];
        int fd; /* datagrams from and to the hypervisor */
        struct guest *guests;
        size_t n_guests;
        size_t n_ping_bytes, n_pong_bytes; /* of the last ones, for the loop to compare with */

        struct guest *measured; /* waits for failoverd's first action; NULL: nothing is being measured */
        bool by_stop;
        uint64_t begun_nsec;
};

static uint64_t now_nsec(void) {
        struct timespec time;

        clock_gettime(CLOCK_MONOTONIC, &time);
        return (uint64_t) time.tv_sec * 1000000000 + (uint64_t) time.tv_nsec;
}

static void fail(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

static void measure_begin(struct bench *bench, struct guest *guest, bool by_stop) {
        bench->measured = guest;
        bench->by_stop = by_stop;
        bench->begun_nsec = now_nsec();
}

static void measure_end(struct guest *guest, bool by_stop) {
        struct bench *bench = guest->bench;

        if (bench->measured != guest || bench->by_stop != by_stop)
                return;
        printf("%.1f\n", (double) (now_nsec() - bench->begun_nsec) / 1000);
        fflush(stdout);
        bench->measured = NULL;
}

/* ---- the agent ---- */

static void say(struct guest *guest, struct message *message) {
        _cleanup_free_ char *line = NULL;
        int r;

        memcpy(message->session, guest->session, sizeof(message->session));
        if (message->type != MESSAGE_HELLO && message->type != MESSAGE_PONG)
                strcpy(message->app, guest->app);
        message->seq = ++guest->seq;
        if (guest->fd < 0)
                return;
        r = codec_encode(message, &line);
        if (r < 0) {
                fprintf(stderr, "%s: %s: %s\n", guest->name, message_type_to_string(message->type), strerror(-r));
                return;
        }
        if (message->type == MESSAGE_PONG)
                guest->bench->n_pong_bytes = strlen(line);
        if (send(guest->fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno != EPIPE)
                fprintf(stderr, "%s: %s\n", guest->name, strerror(errno));
}

static void say_states(struct guest *guest, struct message *message) {
        message->n_apps = 1;
        strcpy(message->apps[0].app, guest->app);
        message->apps[0].state = guest->state;
        message->apps[0].token = guest->token;
        message->apps[0].bytes = guest->state == APPLICATION_RUNNING ? 100 * MIB : 0;
        say(guest, message);
}

static void answer(struct guest *guest, uint64_t id, int result) {
        struct message message = { .type = MESSAGE_RESULT, .id = id, .result = result };

        say(guest, &message);
}

static void run(struct guest *guest) {
        struct message uses = { .type = MESSAGE_USES, .node = NODE, .kind = APPLICATION_HOT_STANDBY,
                                .bytes = (uint64_t) STAND_IN_REGION_KIB * KIB };
        struct message healthy = { .type = MESSAGE_HEALTHY, .token = guest->token };

        say(guest, &uses);
        guest->state = APPLICATION_RUNNING;
        answer(guest, guest->start_id, 0);
        guest->start_id = 0;
        say(guest, &healthy);
}

static void start(struct guest *guest, const struct message *message) {
        struct message request = { .type = MESSAGE_REQUEST, .id = message->id, .bytes = message->bytes };

        guest->token = message->token;
        if (guest->state == APPLICATION_RUNNING) {
                answer(guest, message->id, 0);
                return;
        }
        guest->start_id = message->id;
        guest->state = APPLICATION_WAITING;
        if (guest->attached)
                run(guest);
        else
                say(guest, &request);
}

static void hello(struct guest *guest, const struct message *welcome) {
        struct message message = { .type = MESSAGE_HELLO, .version = PROTOCOL_VERSION, .text = "stand-in",
                                   .system = "stand-in", .bytes = (uint64_t) STAND_IN_BASE_KIB * KIB };

        if (strcmp(guest->session, welcome->session) == 0)
                return;
        memcpy(guest->session, welcome->session, sizeof(guest->session));
        guest->seq = 0;
        snprintf(message.boot, sizeof(message.boot), "%08x-0000-4000-8000-000000000000", guest->boots);
        say_states(guest, &message);
}

static void handle(struct guest *guest, const struct message *message) {
        struct message pong = { .type = MESSAGE_PONG, .nonce = message->nonce };

        switch (message->type) {
        case MESSAGE_WELCOME:
                hello(guest, message);
                break;
        case MESSAGE_PING:
                say_states(guest, &pong);
                break;
        case MESSAGE_START:
        case MESSAGE_RESTART:
                start(guest, message);
                break;
        case MESSAGE_STOP:
                measure_end(guest, true);
                guest->state = APPLICATION_STOPPED;
                answer(guest, message->id, 0);
                break;
        case MESSAGE_GRANT: /* the hypervisor plugs at once */
                guest->attached = true;
                if (guest->start_id)
                        run(guest);
                break;
        case MESSAGE_ATTACH:
                guest->attached = true;
                answer(guest, message->id, 0);
                break;
        case MESSAGE_DETACH:
                guest->attached = false;
                answer(guest, message->id, 0);
                break;
        case MESSAGE_CHECK:
                answer(guest, message->id, 0);
                break;
        default:
                break;
        }
}

static void hang_up(struct guest *guest) {
        guest->io = sd_event_source_disable_unref(guest->io);
        closep(&guest->fd);
        guest->fd = -1;
        line_reader_deinit(&guest->reader);
        guest->session[0] = '\0';
}

static int on_line(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct guest *guest = userdata;
        const char *line;
        size_t n;
        int r;

        r = line_reader_fill(&guest->reader, fd);
        if (r == -EAGAIN)
                return 0;
        if (r <= 0) {
                hang_up(guest);
                return 0;
        }
        while (guest->fd >= 0 && line_reader_next(&guest->reader, &line, &n) > 0) {
                struct error error = ERROR_INIT;
                struct message message = { 0 };

                if (codec_decode(line, n, &message, &error) < 0)
                        fprintf(stderr, "%s: %s\n", guest->name, error_text(&error));
                else {
                        if (message.type == MESSAGE_PING)
                                guest->bench->n_ping_bytes = n + 1;
                        handle(guest, &message);
                }
                message_deinit(&message);
                error_deinit(&error);
        }
        return 0;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct guest *guest = userdata;
        int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (connection < 0)
                return 0;
        hang_up(guest);
        guest->fd = connection;
        if (sd_event_add_io(guest->bench->loop, &guest->io, connection, EPOLLIN, on_line, guest) < 0)
                fail("sd_event_add_io");
        return 0;
}

/* ---- its process ---- */

static void tell_hypervisor(struct bench *bench, const char *what, const char *name) {
        struct sockaddr_un address = stand_in_address(bench->directory, "hypervisor");
        char text[STAND_IN_NAME_LEN + 32];
        int n = snprintf(text, sizeof(text), "%s %s", what, name);

        (void) sendto(bench->fd, text, (size_t) n, 0, (struct sockaddr *) &address, sizeof(address));
}

static int on_gone(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct guest *guest = userdata;
        char path[256];

        guest->gone = sd_event_source_disable_unref(guest->gone);
        stand_in_pid_path(guest->bench->directory, guest->name, path);
        (void) unlink(path);
        hang_up(guest);
        guest->attached = false;
        guest->state = APPLICATION_STOPPED;
        guest->start_id = 0;
        tell_hypervisor(guest->bench, "gone", guest->name);
        return 0;
}

/* A process that process_find() takes for this domain's QEMU. Its pid file is put in place whole. */
static void boot(struct guest *guest) {
        char option[STAND_IN_NAME_LEN + 16], path[256], whole[264];
        char *arguments[] = { (char[]) { "qemu-stand-in" }, (char[]) { "-name" }, option, NULL };
        FILE *f;
        pid_t pid;
        int fd;

        snprintf(option, sizeof(option), "guest=%s,stand-in", guest->name);
        if (posix_spawn(&pid, guest->bench->program, NULL, NULL, arguments, environ) != 0)
                fail("posix_spawn");
        fd = pidfd_open(pid, 0);
        if (fd < 0 || sd_event_add_io(guest->bench->loop, &guest->gone, fd, EPOLLIN, on_gone, guest) < 0 ||
            sd_event_source_set_io_fd_own(guest->gone, true) < 0)
                fail("pidfd");
        guest->boots++;
        stand_in_pid_path(guest->bench->directory, guest->name, path);
        snprintf(whole, sizeof(whole), "%s.new", path);
        f = fopen(whole, "we");
        if (!f || fprintf(f, "%d\n", (int) pid) < 0 || fclose(f) != 0 || rename(whole, path) != 0)
                fail(path);
}

static void guest_init(struct guest *guest, struct bench *bench, size_t number) {
        struct sockaddr_un address;
        char socket_name[STAND_IN_NAME_LEN + 8];

        *guest = (struct guest) { .bench = bench, .fd = -1 };
        snprintf(guest->name, sizeof(guest->name), "p%03zu-%c", number / 2, number % 2 ? 'b' : 'a');
        stand_in_app(guest->name, guest->app);
        snprintf(socket_name, sizeof(socket_name), "%s.agent", guest->name);
        address = stand_in_address(bench->directory, socket_name);
        guest->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (guest->listen_fd < 0 || bind(guest->listen_fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(guest->listen_fd, 4) < 0 ||
            sd_event_add_io(bench->loop, NULL, guest->listen_fd, EPOLLIN, on_connect, guest) < 0)
                fail(address.sun_path);
        boot(guest);
}

/* ---- the bench ---- */

static int on_datagram(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct bench *bench = userdata;
        char text[256], verb[32], name[STAND_IN_NAME_LEN];
        ssize_t n = recv(fd, text, sizeof(text) - 1, MSG_DONTWAIT);

        if (n <= 0)
                return 0;
        text[n] = '\0';
        if (sscanf(text, "%31s %63s", verb, name) != 2)
                return 0;
        for (size_t i = 0; i < bench->n_guests; i++) {
                if (strcmp(bench->guests[i].name, name) != 0)
                        continue;
                if (strcmp(verb, "suspend") == 0)
                        measure_end(&bench->guests[i], false);
                else if (strcmp(verb, "create") == 0 && !bench->guests[i].gone)
                        boot(&bench->guests[i]);
        }
        return 0;
}

static struct guest *find_running(struct bench *bench, size_t pair) {
        for (size_t i = 2 * pair; i < 2 * pair + 2 && i < bench->n_guests; i++)
                if (bench->guests[i].state == APPLICATION_RUNNING)
                        return &bench->guests[i];
        return NULL;
}

static void say_running(struct bench *bench) {
        size_t n = 0;

        for (size_t pair = 0; pair < bench->n_guests / 2; pair++)
                n += find_running(bench, pair) != NULL;
        printf("%zu %zu %zu\n", n, bench->n_ping_bytes, bench->n_pong_bytes);
        fflush(stdout);
}

static int on_command(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct message failed = { .type = MESSAGE_FAILED, .cause = FAILURE_SIGNAL, .code = SIGKILL };
        struct bench *bench = userdata;
        char line[64], verb[16] = "";
        struct guest *guest;
        size_t pair = 0;
        ssize_t n = read(fd, line, sizeof(line) - 1);

        if (n <= 0)
                return sd_event_exit(bench->loop, 0);
        line[n] = '\0';
        if (sscanf(line, "%15s %zu", verb, &pair) < 1)
                return 0;
        if (strcmp(verb, "running") == 0) {
                say_running(bench);
                return 0;
        }
        guest = find_running(bench, pair);
        if (!guest) {
                printf("nothing\n");
                fflush(stdout);
        } else if (strcmp(verb, "fail") == 0) {
                measure_begin(bench, guest, true);
                guest->state = APPLICATION_FAILED;
                failed.token = guest->token;
                say(guest, &failed);
        } else if (strcmp(verb, "panic") == 0) {
                measure_begin(bench, guest, false);
                guest->state = APPLICATION_STOPPED;
                tell_hypervisor(bench, "crash", guest->name);
        }
        return 0;
}

static void set_up(struct bench *bench, size_t n_pairs) {
        struct sockaddr_un address = stand_in_address(bench->directory, "guests");
        struct rlimit files;
        ssize_t n = readlink("/proc/self/exe", bench->program, sizeof(bench->program) - 1);

        if (n <= 0 || getrlimit(RLIMIT_NOFILE, &files) < 0)
                fail("set-up");
        bench->program[n] = '\0';
        files.rlim_cur = files.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &files);
        bench->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (bench->fd < 0 || bind(bench->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                fail(address.sun_path);
        bench->guests = calloc(2 * n_pairs, sizeof(*bench->guests));
        if (!bench->guests || sd_event_default(&bench->loop) < 0 ||
            sd_event_add_io(bench->loop, NULL, bench->fd, EPOLLIN, on_datagram, bench) < 0 ||
            sd_event_add_io(bench->loop, NULL, STDIN_FILENO, EPOLLIN, on_command, bench) < 0)
                fail("set-up");
        for (size_t i = 0; i < 2 * n_pairs; i++)
                guest_init(&bench->guests[bench->n_guests++], bench, i);
        printf("ready\n");
        fflush(stdout);
}

int main(int argc, char *argv[]) {
        struct bench bench = { .directory = argc > 1 ? argv[1] : "" };
        size_t n_pairs = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;

        if (strcmp(argv[0], "qemu-stand-in") == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                        pause();
        }
        if (n_pairs == 0 || n_pairs > PAIRS_MAX) {
                fprintf(stderr, "usage: guests DIR PAIRS\n");
                return 2;
        }
        signal(SIGCHLD, SIG_IGN); /* nobody waits for them */
        set_up(&bench, n_pairs);
        return sd_event_loop(bench.loop) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
