/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/program-run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/pages/program-file.h"

/*
 * Two processes at first: this one becomes the program, so that it has its number, its parent, its terminal and all
 * else that a program is born with; and one that fetches pages. That one says over a socket where the file is, or why
 * there is none. The socket closes when the program has been started, or was not, or whoever wanted it has died: in
 * each case the mount goes out of sight, and with the last that uses it the process ends.
 */

#define WORD_MAX 4096

struct server {
        struct program_source source;
        const char *name;
};

static void say(const char *name, const char *text) {
        fprintf(stderr, "failoverctl: program %s: %s\n", name, text);
}

static int read_image(void *userdata, void *buffer, uint64_t length, uint64_t offset) {
        struct server *server = userdata;
        struct error error = ERROR_INIT;
        int r = program_source_read(&server->source, buffer, length, offset, &error);

        if (r < 0) {
                error_prefix(&error, "what touches its bytes from %llu on gets an I/O error (SIGBUS)",
                             (unsigned long long) offset);
                say(server->name, error_text(&error));
        }
        error_deinit(&error);
        return r;
}

static void tell_moved(void *userdata, const char *control) {
        const struct server *server = userdata;
        char text[WORD_MAX];

        snprintf(text, sizeof(text), "its memory server is lost, it goes on at %s", control);
        say(server->name, text);
}

/* Nothing of the program's is held but its standard error, and what ends the program does not end it. */
static void leave_alone(int socket_fd) {
        static const int ignored[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE };
        int null = open("/dev/null", O_RDWR), high = fcntl(socket_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 2);

        for (size_t i = 0; i < ELEMENTSOF(ignored); i++)
                (void) signal(ignored[i], SIG_IGN);
        (void) dup2(null, STDIN_FILENO);
        (void) dup2(null, STDOUT_FILENO);
        (void) dup3(high, STDERR_FILENO + 1, O_CLOEXEC);
        (void) close_range(STDERR_FILENO + 2, ~0U, 0);
        (void) !chdir("/");
        (void) prctl(PR_SET_NAME, "failover-pages");
}

static void answer(int fd, char kind, const char *text) {
        char word[WORD_MAX];

        snprintf(word, sizeof(word), "%c%s", kind, text);
        (void) send(fd, word, strlen(word) + 1, MSG_NOSIGNAL);
}

/* The process that fetches pages. */
static int serve(const struct program_job *job, const char *name, int fd) {
        struct server server = { .name = name };
        struct program_mount *mount = NULL;
        struct error error = ERROR_INIT;
        int r = program_source_open(job, name, &server.source, &error);

        if (r == 0) {
                const struct program_file file = { name, server.source.image.head.image_bytes,
                                                   server.source.image.head.put_usec, read_image, &server };

                server.source.moved = tell_moved;
                server.source.userdata = &server;
                r = program_mount_new(&file, &mount, &error);
                if (r < 0)
                        error_prefix(&error, "program %s", name);
        }
        if (r == 0) {
                answer(fd, '=', program_mount_path(mount));
                r = program_mount_serve(mount, fd);
                if (r < 0)
                        say(name, strerror(-r));
                program_mount_free(mount);
        } else
                answer(fd, '!', error_text(&error));
        error_deinit(&error);
        program_source_deinit(&server.source);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Not a child of the program's: that may wait for its own. */
static int fork_server(const struct program_job *job, const char *name, int fds[2], struct error *error) {
        pid_t pid = fork();

        if (pid < 0)
                return error_set(error, -errno, "fork: %s", strerror(errno));
        if (pid == 0) {
                (void) setsid();
                pid = fork();
                if (pid == 0) {
                        leave_alone(fds[1]);
                        _exit(serve(job, name, STDERR_FILENO + 1));
                }
                _exit(pid < 0 ? errno : 0);
        }
        close(steal_fd(&fds[1]));
        for (int status;;) {
                if (waitpid(pid, &status, 0) == pid)
                        return status == 0 ? 0 : error_set(error, -EAGAIN, "fork: no process to fetch its pages");
                if (errno != EINTR)
                        return error_set(error, -errno, "waitpid: %s", strerror(errno));
        }
}

int program_run(const struct program_job *job, const char *name, char *const *arguments, struct error *error) {
        struct context_servers servers = *job->servers;
        struct program_job own = *job;
        int fds[2], r;
        char word[WORD_MAX];
        ssize_t n;

        servers.cancel_fd = -1; /* whoever starts it is gone, one way or the other */
        servers.deadline_usec = PROGRAM_DEADLINE_USEC;
        own.servers = &servers;
        own.progress = (struct context_progress) { 0 };
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return error_set(error, -errno, "socketpair: %s", strerror(errno));
        r = fork_server(&own, name, fds, error);
        do
                n = r == 0 ? recv(fds[0], word, sizeof(word) - 1, 0) : 0;
        while (n < 0 && errno == EINTR);
        word[n > 0 ? n : 0] = 0;
        if (r == 0 && *word == '=') {
                (void) execve(word + 1, arguments, environ);
                r = error_set(error, -errno, "program %s cannot be started: %s", name, strerror(errno));
        } else if (r == 0)
                r = error_set(error, -EIO, "%s", *word == '!' ? word + 1 : "the process that was to fetch its pages "
                                                                           "has ended");
        close(fds[0]);
        if (fds[1] >= 0)
                close(fds[1]);
        return r;
}
