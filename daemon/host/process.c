/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/process.h"

#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/core/event.h"

/* linux/pidfd.h of Linux 6.15. */
#define EXIT_INFO (UINT64_C(1) << 3) /* PIDFD_INFO_EXIT */
struct exit_info {
        uint64_t mask, cgroup_id;
        uint32_t ids[11]; /* of the process, its parent and its users */
        int32_t wait_status;
};
#define GET_EXIT_INFO _IOWR(0xff, 11, struct exit_info) /* PIDFD_GET_INFO */

struct process {
        int pid, pidfd;
        bool gone_told, told_later;
        sd_event_source *source;
        process_gone_fn gone;
        void *userdata;
};

/* False where the kernel does not tell, or not yet. */
static bool read_exit(int pidfd, struct exit_info *ret) {
        struct exit_info info = { .mask = EXIT_INFO };

        if (ioctl(pidfd, GET_EXIT_INFO, &info) < 0 || !(info.mask & EXIT_INFO))
                return false;
        *ret = info;
        return true;
}

bool process_end_is_told(void) {
        _cleanup_close_ int pidfd = -1;
        struct exit_info info;
        pid_t pid = fork();

        if (pid == 0)
                _exit(0);
        if (pid < 0)
                return false;
        pidfd = pidfd_open(pid, 0);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return pidfd >= 0 && read_exit(pidfd, &info);
}

static int how_ended(const struct process *process) {
        struct exit_info info;
        int signal_number;

        if (!read_exit(process->pidfd, &info))
                return process->told_later ? PROCESS_END_TO_BE_TOLD : 0;
        if (WIFEXITED(info.wait_status))
                return WEXITSTATUS(info.wait_status) == 0 ? PROCESS_ENDED_AS_ASKED : 0;
        if (!WIFSIGNALED(info.wait_status))
                return 0;
        signal_number = WTERMSIG(info.wait_status);
        if (signal_number == SIGTERM || signal_number == SIGINT || signal_number == SIGHUP)
                return PROCESS_ENDED_AS_ASKED;
        return signal_number;
}

/* Once when it ends, and once more when its parent has taken notice. */
static int on_gone(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct process *process = userdata;
        int how = how_ended(process);

        if (process->gone_told && (how == PROCESS_END_TO_BE_TOLD || !process->told_later))
                return 0;
        if (how != PROCESS_END_TO_BE_TOLD)
                process->source = sd_event_source_disable_unref(process->source);
        process->gone_told = true;
        process->gone(process, how, process->userdata);
        return 0;
}

int process_new(sd_event *loop, int pid, int pidfd, bool told_later, process_gone_fn gone, void *userdata,
                struct process **ret_process) {
        struct process *process = calloc(1, sizeof(*process));
        int r;

        if (!process)
                return -ENOMEM;
        r = sd_event_add_io(loop, &process->source, pidfd, EPOLLIN | EPOLLHUP | EPOLLET, on_gone, process);
        if (r >= 0)
                /* Before anything that other events say of this VM. */
                r = sd_event_source_set_priority(process->source, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0) {
                process->pidfd = -1;
                process_free(process);
                return r;
        }
        process->pid = pid;
        process->pidfd = pidfd;
        process->told_later = told_later;
        process->gone = gone;
        process->userdata = userdata;
        *ret_process = process;
        return 0;
}

struct process *process_free(struct process *process) {
        if (!process)
                return NULL;
        sd_event_source_disable_unref(process->source);
        if (process->pidfd >= 0)
                close(process->pidfd);
        free(process);
        return NULL;
}

int process_pid(const struct process *process) {
        return process->pid;
}

int process_pidfd(const struct process *process) {
        return process->pidfd;
}
