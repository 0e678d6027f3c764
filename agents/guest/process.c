/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/sched.h>

#include "agents/guest/file.h"
#include "agents/guest/memory.h"
#include "agents/guest/region-pass.h"
#include "daemon/base/cleanup.h"

static int pidfd_of(pid_t pid) {
        int fd = (int) syscall(SYS_pidfd_open, pid, 0);

        return fd >= 0 ? fd : -errno;
}

int process_start_time(pid_t pid, uint64_t *ret) {
        char stat[1024], state, *p;
        uint64_t start_time;

        if (pid <= 0 || file_read(stat, sizeof(stat), "/proc/%d/stat", pid) < 0)
                return -ESRCH;
        p = strrchr(stat, ')');
        if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
                         &state, &start_time) != 2 || state == 'Z' || state == 'X')
                return -ESRCH;
        *ret = start_time;
        return 0;
}

static void forget(struct process *process) {
        loop_unwatch(process->table->loop, &process->source);
        loop_unwatch(process->table->loop, &process->exec_source);
        closep(&process->pidfd);
        closep(&process->exec_fd);
        process->pidfd = process->exec_fd = -1;
        process->pid = 0;
        for (struct process **p = &process->table->first; *p; p = &(*p)->next)
                if (*p == process) {
                        *p = process->next;
                        break;
                }
}

/* The pipe closes when the program is executed, or brings the error. */
static void on_exec(void *userdata, uint32_t events) {
        struct process *process = userdata;
        int error = 0;
        ssize_t n = read(process->exec_fd, &error, sizeof(error));

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        loop_unwatch(process->table->loop, &process->exec_source);
        closep(&process->exec_fd);
        process->exec_fd = -1;
        if (n == (ssize_t) sizeof(error)) {
                pid_t pid = process->pid;

                forget(process);
                waitpid(pid, NULL, 0); /* it is on its way to _exit() */
                process->handler.failed(process->handler.userdata, -error);
        } else if (process->handler.started)
                process->handler.started(process->handler.userdata);
}

static void on_exit_event(void *userdata, uint32_t events) {
        struct process *process = userdata;
        struct process_table *table = process->table;
        struct process_exit end = { 0 };
        siginfo_t info = { 0 };

        if (process->exec_fd >= 0) {
                on_exec(process, 0); /* what the pipe says comes first */
                if (process->pid == 0)
                        return;
        }
        if (waitid(P_PID, (id_t) process->pid, &info, WEXITED | WNOHANG) == 0) {
                if (info.si_pid == 0)
                        return;
                end.known = true;
                end.signaled = info.si_code != CLD_EXITED;
                end.status = info.si_status;
        }
        forget(process);
        process_table_reap(table);
        process->handler.exited(process->handler.userdata, &end);
}

void process_init(struct process *process, struct process_table *table, const struct process_handler *handler) {
        *process = (struct process) {
                .table = table, .handler = *handler, .pidfd = -1, .exec_fd = -1,
                .source = { -1, on_exit_event, process }, .exec_source = { -1, on_exec, process },
        };
}

void process_deinit(struct process *process) {
        if (process->pid > 0)
                forget(process);
}

static void child_environment(const struct process_options *options) {
        struct sched_param none = { 0 };
        sigset_t empty;
        int null;

        sigemptyset(&empty);
        for (int i = 1; i < NSIG; i++)
                (void) signal(i, SIG_DFL);
        sigprocmask(SIG_SETMASK, &empty, NULL);
        (void) setsid();
        (void) sched_setscheduler(0, SCHED_OTHER, &none);
        (void) setpriority(PRIO_PROCESS, 0, 0);
        (void) file_write("0", "/proc/self/oom_score_adj");
        null = open("/dev/null", O_RDONLY);
        if (null >= 0)
                (void) dup2(null, STDIN_FILENO);
        if (options->output_fd > 0) {
                (void) dup2(options->output_fd, STDOUT_FILENO);
                (void) dup2(options->output_fd, STDERR_FILENO);
        }
        (void) !chdir("/");
}

/* The mark stands first, where group.c finds it also in a large environment. */
static int mark(const struct group *group) {
        char *text = NULL, **marked;
        size_t n = 0;

        while (environ && environ[n])
                n++;
        marked = calloc(n + 2, sizeof(char *));
        if (!marked || asprintf(&text, GROUP_VARIABLE "=%s", group->app) < 0)
                return -ENOMEM;
        marked[0] = text;
        if (n > 0)
                memcpy(marked + 1, environ, n * sizeof(char *));
        environ = marked;
        return 0;
}

static int run_child(const struct process_options *options) {
        int r = 0;

        child_environment(options);
        if (options->group)
                r = mark(options->group);
        if (r == 0 && options->regions_fd > 0)
                r = region_pass_inherit(options->regions_fd);
        /* A region of its own is where the application's memory belongs; started without it, its pages would
         * lie where nobody can take them back. */
        if (r == 0 && options->node >= 0)
                r = memory_bind(options->node);
        if (r < 0)
                return r;
        if (options->command) {
                execvp(options->command->words[0], options->command->words);
                return -errno;
        }
        _exit(options->function(options->function_userdata) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* fork(), but born into the group's cgroup: moving there by cgroup.procs waits for a grace period of the kernel's, some
 * tens of milliseconds of each recovery. */
static pid_t fork_into(const struct group *group) {
        struct clone_args arguments = { .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD };
        _cleanup_close_ int cgroup_fd = -1;

        if (!group || group->cgroup_dir[0] == 0)
                return fork();
        cgroup_fd = open(group->cgroup_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (cgroup_fd < 0)
                return -1;
        arguments.cgroup = (uint64_t) cgroup_fd;
        return (pid_t) syscall(SYS_clone3, &arguments, sizeof(arguments));
}

int process_spawn(struct process *process, const struct process_options *options) {
        _cleanup_close_ int read_end = -1, write_end = -1, pidfd = -1;
        int pipe_fd[2], r;
        pid_t pid;

        if (process->pid > 0)
                return -EBUSY;
        if (pipe2(pipe_fd, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        read_end = pipe_fd[0];
        write_end = pipe_fd[1];
        pid = fork_into(options->group);
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                int error = -run_child(options);
                (void) !write(write_end, &error, sizeof(error));
                _exit(127);
        }
        pidfd = pidfd_of(pid);
        r = pidfd < 0 ? pidfd : loop_watch(process->table->loop, &process->source, pidfd, EPOLLIN);
        if (r == 0)
                r = loop_watch(process->table->loop, &process->exec_source, read_end, EPOLLIN);
        if (r < 0) {
                loop_unwatch(process->table->loop, &process->source);
                kill(pid, SIGKILL);
                waitpid(pid, NULL, 0);
                return r;
        }
        process->pid = pid;
        process->pidfd = steal_fd(&pidfd);
        process->exec_fd = steal_fd(&read_end);
        process->next = process->table->first;
        process->table->first = process;
        return 0;
}

int process_adopt(struct process *process, pid_t pid, uint64_t start_time) {
        _cleanup_close_ int pidfd = pidfd_of(pid);
        uint64_t found;
        int r;

        if (pidfd < 0)
                return pidfd;
        /* Compared after the descriptor is open, so it is this process and no later one. */
        r = process_start_time(pid, &found);
        if (r < 0 || found != start_time)
                return -ESRCH;
        r = loop_watch(process->table->loop, &process->source, pidfd, EPOLLIN);
        if (r < 0)
                return r;
        process->pid = pid;
        process->pidfd = steal_fd(&pidfd);
        process->next = process->table->first;
        process->table->first = process;
        return 0;
}

void process_signal(struct process *process, int signal_number) {
        if (process->pid > 0)
                (void) syscall(SYS_pidfd_send_signal, process->pidfd, signal_number, NULL, 0);
}

void process_kill(struct process *process) {
        pid_t pid = process->pid;

        if (pid == 0)
                return;
        (void) kill(-pid, SIGKILL);
        (void) kill(pid, SIGKILL); /* before its setsid() it has no group */
        forget(process);
        process_table_reap(process->table);
}

static bool is_known(const struct process_table *table, pid_t pid) {
        for (const struct process *p = table->first; p; p = p->next)
                if (p->pid == pid)
                        return true;
        return false;
}

void process_table_reap(struct process_table *table) {
        for (;;) {
                siginfo_t info = { 0 };

                if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid == 0)
                        return;
                if (is_known(table, info.si_pid))
                        return; /* its own event reaps it and comes back here */
                (void) waitid(P_PID, (id_t) info.si_pid, &info, WEXITED | WNOHANG);
        }
}
