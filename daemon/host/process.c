/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/process.h"

#include <errno.h>

#include "daemon/base/cleanup.h"

struct process {
        int pid, pidfd;
        sd_event_source *source;
        void (*gone)(struct process *process, void *userdata);
        void *userdata;
};

static int on_gone(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct process *process = userdata;

        process->source = sd_event_source_disable_unref(process->source);
        process->gone(process, process->userdata);
        return 0;
}

int process_new(sd_event *loop, int pid, int pidfd, void (*gone)(struct process *process, void *userdata),
                void *userdata, struct process **ret_process) {
        struct process *process = calloc(1, sizeof(*process));
        int r;

        if (!process)
                return -ENOMEM;
        r = sd_event_add_io(loop, &process->source, pidfd, EPOLLIN, on_gone, process);
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
