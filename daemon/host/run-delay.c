/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/run-delay.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"

static inline void closedirp(DIR **directory) {
        if (*directory)
                (void) closedir(*directory);
}

static int read_first_line(const char *path, char *buffer, int size) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");

        if (!f)
                return -errno;
        return fgets(buffer, size, f) ? 0 : -ESRCH;
}

/* Is it running or waiting to? */
static bool thread_is_ready(const char *directory) {
        char path[320], line[512];
        const char *after;

        snprintf(path, sizeof(path), "%s/stat", directory);
        if (read_first_line(path, line, sizeof(line)) < 0)
                return false;
        after = strrchr(line, ')'); /* the name before it may be anything */
        return after && strncmp(after, ") R", 3) == 0;
}

static const struct run_delay_thread *find_thread(const struct run_delay *delay, int tid) {
        for (size_t i = 0; i < delay->n_threads; i++)
                if (delay->threads[i].tid == tid)
                        return &delay->threads[i];
        return NULL;
}

static uint64_t waited_nsec(const struct run_delay *before, const struct run_delay_thread *now, const char *directory,
                            usec_t elapsed_usec) {
        const struct run_delay_thread *last = find_thread(before, now->tid);

        if (!last)
                return 0;
        if (now->waited_nsec == last->waited_nsec && now->ran_nsec == last->ran_nsec && thread_is_ready(directory))
                return elapsed_usec * 1000;
        return now->waited_nsec - last->waited_nsec;
}

int run_delay_look(struct run_delay *delay, const char *proc, int pid, usec_t *ret_usec) {
        _cleanup_(closedirp) DIR *directory = NULL;
        struct run_delay now = { .seen_usec = clock_usec(CLOCK_MONOTONIC) };
        uint64_t most_nsec = 0;
        const struct dirent *entry;
        char path[128];

        snprintf(path, sizeof(path), "%s/%d/task", proc, pid);
        directory = opendir(path);
        if (!directory)
                return -errno;
        while ((entry = readdir(directory)) && now.n_threads < RUN_DELAY_THREADS_MAX) {
                struct run_delay_thread *thread = &now.threads[now.n_threads];
                char task[256], file[288], line[128];
                uint64_t waited;

                thread->tid = atoi(entry->d_name);
                snprintf(task, sizeof(task), "%s/%d", path, thread->tid);
                snprintf(file, sizeof(file), "%s/schedstat", task);
                if (thread->tid <= 0 || read_first_line(file, line, sizeof(line)) < 0 ||
                    sscanf(line, "%" SCNu64 " %" SCNu64, &thread->ran_nsec, &thread->waited_nsec) != 2)
                        continue;
                waited = delay->seen_usec ? waited_nsec(delay, thread, task, now.seen_usec - delay->seen_usec) : 0;
                if (waited > most_nsec)
                        most_nsec = waited;
                now.n_threads++;
        }
        if (now.n_threads == 0)
                return -ESRCH;
        *delay = now;
        *ret_usec = most_nsec / 1000;
        return 0;
}
