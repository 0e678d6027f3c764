/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/tty-echo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "daemon/base/cleanup.h"

static const char *const candidates[] = { "/dev/ttyS1", "/dev/hvc0" };

static void throw_away(void *userdata, uint32_t events) {
        struct tty_echo *echo = userdata;
        char bytes[4096];
        ssize_t n = read(echo->fd, bytes, sizeof(bytes));

        if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
                return;
        if (events & (EPOLLHUP | EPOLLERR))
                loop_unwatch(echo->loop, &echo->source); /* hung up: nothing will come here any more */
}

/* Whether the kernel prints its messages there; those must not mix with the echo. */
static int is_console(const char *device) {
        const char *name = strrchr(device, '/') + 1;
        char active[256], *save = NULL;

        if (file_read(active, sizeof(active), "/sys/class/tty/console/active") < 0)
                return 0;
        for (char *word = strtok_r(active, " ", &save); word; word = strtok_r(NULL, " ", &save))
                if (strcmp(word, name) == 0)
                        return 1;
        return 0;
}

static int open_echo(const char *device) {
        _cleanup_close_ int fd = open(device, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        struct termios mode;

        if (fd < 0 || tcgetattr(fd, &mode) < 0)
                return -errno;
        cfmakeraw(&mode);
        /* Lines, and no character that ends or edits one: the discipline then goes on echoing when its buffer is
         * full and nobody reads, as while this agent is stopped. Raw, it falls silent after 4 KiB. */
        mode.c_lflag |= ECHO | ICANON;
        memset(mode.c_cc, _POSIX_VDISABLE, sizeof(mode.c_cc));
        mode.c_cflag |= CLOCAL | CREAD;
        cfsetspeed(&mode, B115200);
        if (tcsetattr(fd, TCSAFLUSH, &mode) < 0)
                return -errno;
        return steal_fd(&fd);
}

int tty_echo_init(struct tty_echo *echo, struct loop *loop, const char *device) {
        int fd = -ENODEV;

        if (device)
                fd = open_echo(device);
        for (size_t i = 0; !device && fd < 0 && i < ELEMENTSOF(candidates); i++)
                if (!is_console(candidates[i]))
                        fd = open_echo(candidates[i]);
        *echo = (struct tty_echo) { .loop = loop, .fd = -1, .source = { -1, throw_away, echo } };
        if (fd < 0)
                return fd;
        echo->fd = fd;
        return loop_watch(loop, &echo->source, fd, EPOLLIN);
}

/* Nothing of the agent's may stay open but these two: its channel has room for one. */
static void close_all_but(int a, int b) {
        unsigned low = (unsigned) (a < b ? a : b), high = (unsigned) (a < b ? b : a);
        int null = open("/dev/null", O_RDWR);

        for (int fd = 0; fd <= 2; fd++)
                if (null >= 0)
                        dup2(null, fd);
        close_range(3, low - 1, 0);
        close_range(low + 1, high - 1, 0);
        close_range(high + 1, ~0U, 0);
}

static _Noreturn void hold(int terminal, int lock) {
        struct pollfd poll_fd = { .fd = terminal };
        sigset_t none;

        setsid();
        prctl(PR_SET_NAME, "failover-echo");
        close_all_but(terminal, lock);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        while (!(poll_fd.revents & (POLLHUP | POLLERR | POLLNVAL)))
                poll(&poll_fd, 1, -1);
        _exit(0);
}

/* The lock belongs to the open file, which the holder has from here on. */
static _Noreturn void begin_to_hold(int terminal, const char *run_dir) {
        char path[PATH_LENGTH];
        int lock;

        snprintf(path, sizeof(path), "%s/echo.lock", run_dir);
        terminal = fcntl(terminal, F_DUPFD, 3);
        lock = open(path, O_RDWR | O_CREAT, 0600);
        if (terminal < 0 || lock < 0 || (lock = fcntl(lock, F_DUPFD, 3)) < 0)
                _exit(errno);
        if (flock(lock, LOCK_EX | LOCK_NB) < 0)
                _exit(errno == EWOULDBLOCK ? 0 : errno);
        if (fork() == 0) /* it is init's child, and nobody here has to reap it */
                hold(terminal, lock);
        _exit(0);
}

int tty_echo_hold(const struct tty_echo *echo, const char *run_dir) {
        pid_t pid = fork();
        int status;

        if (pid < 0)
                return -errno;
        if (pid == 0)
                begin_to_hold(echo->fd, run_dir);
        if (waitpid(pid, &status, 0) < 0)
                return -errno;
        return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

void tty_echo_deinit(struct tty_echo *echo) {
        if (echo->fd < 0)
                return;
        loop_unwatch(echo->loop, &echo->source);
        closep(&echo->fd);
        echo->fd = -1;
}
