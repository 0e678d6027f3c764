/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/fault.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "agents/guest/file.h"

/* A process that never yields, on every processor, above everything else: the kernel lives, nothing runs. */
static int hang(const char *proc_dir) {
        const struct sched_param highest = { .sched_priority = 99 };
        long n = sysconf(_SC_NPROCESSORS_ONLN);
        int r;

        r = file_write("-1", "%s/sys/kernel/sched_rt_runtime_us", proc_dir);
        if (r < 0 && r != -ENOENT)
                return r;
        for (long i = 0; i < n; i++) {
                cpu_set_t cpu;
                pid_t pid = fork();

                if (pid < 0)
                        return -errno;
                if (pid > 0)
                        continue;
                CPU_ZERO(&cpu);
                CPU_SET((size_t) i, &cpu);
                (void) sched_setaffinity(0, sizeof(cpu), &cpu);
                if (sched_setscheduler(0, SCHED_FIFO, &highest) < 0)
                        _exit(1);
                for (;;)
                        __asm__ volatile("" ::: "memory");
        }
        return 0;
}

int fault_inject(const char *proc_dir, const char *text) {
        if (strcmp(text, "panic") == 0)
                return file_write("c", "%s/sysrq-trigger", proc_dir);
        if (strcmp(text, "hang") == 0)
                return hang(proc_dir);
        if (strcmp(text, "agent-stop") == 0)
                return raise(SIGSTOP) != 0 ? -errno : 0;
        return -EINVAL;
}
