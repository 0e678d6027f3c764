/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/share-server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"

#define PLUGIN_VARIABLE "FAILOVER_SHARE_PLUGIN"
#define PID_DIGITS 10

/* The server ends with the thread that started it, so that has to be one that lives as long as the share. */
struct share_server {
        pthread_t thread;
        bool started;
        int pidfd, fds[3]; /* as it will have them from 3 on */
        const char *psk_file;
        sem_t ready;
        int result;
};

/* In decimal, without what stdio might do in a child. */
static void write_pid(char at[static PID_DIGITS + 1]) {
        long pid = getpid();
        char digits[PID_DIGITS];
        int n = 0;

        for (; pid > 0 && n < PID_DIGITS; pid /= 10)
                digits[n++] = (char) ('0' + pid % 10);
        while (n > 0)
                *at++ = digits[--n];
        *at = 0;
}

/* In the child, between clone and exec: nothing but system calls. Descriptors are moved out of the way first. */
static void become(const struct share_server *server, pid_t program, char *const *arguments,
                   char *const *environment, char *pid_at) {
        sigset_t none;
        int fds[3];

        write_pid(pid_at);
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != program)
                _exit(127);
        for (int i = 0; i < 3; i++)
                fds[i] = server->fds[i] < 0 ? -1 : fcntl(server->fds[i], F_DUPFD_CLOEXEC, 10);
        for (int i = 0; i < 3; i++) {
                int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

                (void) dup2(nowhere, i);
                if (fds[i] >= 0)
                        (void) dup2(fds[i], 3 + i);
        }
        (void) close_range(fds[2] < 0 ? 5 : 6, ~0U, 0); /* the program's own, its secrets among them */
        (void) signal(SIGTERM, SIG_DFL);
        (void) signal(SIGINT, SIG_DFL);
        sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);
        (void) execvpe(arguments[0], arguments, environment);
        _exit(127);
}

static int spawn(struct share_server *server) {
        const char *plugin = secure_getenv(PLUGIN_VARIABLE), *path = getenv("PATH");
        char pid[] = "LISTEN_PID=0000000000";
        _cleanup_free_ char *psk = NULL, *search = NULL;
        char *arguments[12] = { (char *) "nbdkit", (char *) "--foreground", (char *) "--log=null" };
        char *environment[] = { (char *) "LISTEN_FDS=1", pid, NULL, NULL };
        unsigned n = 3;
        pid_t program = getpid();
        char whose[32];
        long child;

        if (asprintf(&search, "PATH=%s", path ? path : "/usr/sbin:/usr/bin:/sbin:/bin") < 0)
                return -ENOMEM;
        environment[2] = search;
        (void) snprintf(whose, sizeof(whose), "program=%d", (int) program);
        if (server->psk_file && asprintf(&psk, "--tls-psk=%s", server->psk_file) < 0)
                return -ENOMEM;
        if (psk) {
                arguments[n++] = (char *) "--tls=require";
                arguments[n++] = psk;
        }
        arguments[n++] = (char *) (plugin && *plugin ? plugin : SHARE_PLUGIN);
        arguments[n++] = (char *) "memory=4";
        arguments[n++] = whose;
        if (server->fds[2] >= 0)
                arguments[n++] = (char *) "file=5";
        child = syscall(SYS_clone, CLONE_PIDFD, NULL, &server->pidfd, NULL, NULL);
        if (child == 0)
                become(server, program, arguments, environment, pid + sizeof("LISTEN_PID=") - 1);
        return child < 0 ? -errno : 0;
}

static void *run(void *userdata) {
        struct share_server *server = userdata;
        siginfo_t info;

        server->result = spawn(server);
        (void) sem_post(&server->ready);
        if (server->result == 0)
                while (waitid(P_PIDFD, (id_t) server->pidfd, &info, WEXITED | WNOWAIT | __WALL) < 0 && errno == EINTR)
                        ;
        return NULL;
}

DEFINE_CLEANUP(struct share_server *, share_server_free)

int share_server_start(int listen_fd, int memory_fd, int file_fd, const char *psk_file, struct share_server **ret,
                       struct error *error) {
        _cleanup_(share_server_freep) struct share_server *server = calloc(1, sizeof(*server));
        int r;

        if (!server)
                return error_set(error, -ENOMEM, "out of memory");
        *server = (struct share_server) { .pidfd = -1, .fds = { listen_fd, memory_fd, file_fd }, .psk_file = psk_file };
        (void) sem_init(&server->ready, 0, 0);
        r = thread_start_joined(run, server, &server->thread);
        if (r < 0)
                return error_set(error, r, "no thread: %s", strerror(-r));
        server->started = true;
        while (sem_wait(&server->ready) < 0)
                ;
        if (server->result < 0)
                return error_set(error, server->result, "its server cannot be started: %s", strerror(-server->result));
        *ret = steal_ptr(server);
        return 0;
}

int share_server_ended(struct share_server *server) {
        struct pollfd polled = { .fd = server->pidfd, .events = POLLIN };

        return poll(&polled, 1, 0) > 0;
}

struct share_server *share_server_free(struct share_server *server) {
        siginfo_t info;

        if (!server)
                return NULL;
        if (server->pidfd >= 0)
                (void) syscall(SYS_pidfd_send_signal, server->pidfd, SIGKILL, NULL, 0); /* SIGTERM waits for clients */
        if (server->started)
                (void) pthread_join(server->thread, NULL);
        if (server->pidfd >= 0) {
                (void) waitid(P_PIDFD, (id_t) server->pidfd, &info, WEXITED | __WALL);
                (void) close(server->pidfd);
        }
        (void) sem_destroy(&server->ready);
        free(server);
        return NULL;
}
