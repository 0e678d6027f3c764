/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/group.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "daemon/base/cleanup.h"

#define ENVIRONMENT_SIZE (32 * 1024)
#define EXECUTING_LOOKS 20 /* a millisecond apart */
#define BARE_LOOKS 3

/* The kernel's, in /proc/PID/stat. */
#define PF_EXITING 0x00000004
#define PF_KTHREAD 0x00200000

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

bool cgroup_is_mounted(const char *dir) {
        struct statfs fs;

        return statfs(dir, &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC;
}

int group_init(struct group *group, const char *cgroup_root, const char *app, int node) {
        char text[16];

        *group = (struct group) { 0 };
        snprintf(group->app, sizeof(group->app), "%s", app);
        if (!cgroup_is_mounted(cgroup_root))
                return 0;
        snprintf(group->cgroup_dir, sizeof(group->cgroup_dir), "%s/failover", cgroup_root);
        if (mkdir(group->cgroup_dir, 0755) < 0 && errno != EEXIST)
                return -errno;
        /* One by one: a controller that is missing must not take the others with it. */
        for (int i = 0; i < 3; i++) {
                static const char *const controllers[] = { "+cpuset", "+memory", "+pids" };
                (void) file_write(controllers[i], "%s/cgroup.subtree_control", cgroup_root);
                (void) file_write(controllers[i], "%s/cgroup.subtree_control", group->cgroup_dir);
        }
        snprintf(group->cgroup_dir, sizeof(group->cgroup_dir), "%s/failover/%s", cgroup_root, app);
        if (mkdir(group->cgroup_dir, 0755) < 0 && errno != EEXIST)
                return -errno;
        snprintf(text, sizeof(text), node >= 0 ? "%d" : "\n", node);
        (void) file_write(text, "%s/cpuset.mems", group->cgroup_dir);
        return 0;
}

void group_remove(struct group *group, const char *cgroup_root) {
        size_t n = strlen(cgroup_root);

        if (group->cgroup_dir[0] && strncmp(group->cgroup_dir, cgroup_root, n) == 0 &&
            strncmp(group->cgroup_dir + n, "/failover/", 10) == 0)
                (void) rmdir(group->cgroup_dir);
        group->leader = 0;
}

/* 1 or 0. While it is executing a program it has for a time neither environment nor arguments (-EAGAIN), then arguments
 * alone (-ENODATA), as one has for good that was given no environment. */
static int has_variable(int proc_fd, const char *pid, const char *app) {
        char environment[ENVIRONMENT_SIZE + 1], path[64], wanted[sizeof(GROUP_VARIABLE) + 1 + NAME_LEN];
        _cleanup_close_ int fd = -1;
        ssize_t n;

        snprintf(path, sizeof(path), "%.20s/environ", pid);
        snprintf(wanted, sizeof(wanted), GROUP_VARIABLE "=%s", app);
        fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
        n = read(fd, environment, ENVIRONMENT_SIZE);
        if (n < 0)
                return errno == ENOMEM ? -errno : 0;
        if (n == 0)
                return file_read(environment, sizeof(environment), "/proc/%s/cmdline", pid) == 0 ? -EAGAIN : -ENODATA;
        environment[n] = 0;
        for (char *p = environment; p < environment + n; p += strlen(p) + 1)
                if (strcmp(p, wanted) == 0)
                        return 1;
        return 0;
}

/* 1 or 0; or -errno when that cannot be known now. */
static int belongs(const struct group *group, int proc_fd, const char *pid) {
        int process_group, session, r;
        char stat[512], state, *p;
        unsigned flags;

        r = file_read(stat, sizeof(stat), "/proc/%s/stat", pid);
        if (r < 0)
                return r == -ENOENT || r == -ESRCH ? 0 : r; /* gone meanwhile */
        p = strrchr(stat, ')');
        if (!p || sscanf(p + 1, " %c %*d %d %d %*d %*d %u", &state, &process_group, &session, &flags) != 4)
                return 1;
        if (state == 'Z' || state == 'X')
                return 0;
        if (group->leader > 0 && (process_group == group->leader || session == group->leader))
                return 1;
        return flags & (PF_KTHREAD | PF_EXITING) ? 0 : has_variable(proc_fd, pid, group->app);
}

/* The same, having waited a little for one that is executing a program. */
static int belongs_settled(const struct group *group, int proc_fd, const char *pid) {
        for (int i = 1;; i++) {
                int r = belongs(group, proc_fd, pid);

                if ((r != -EAGAIN && r != -ENODATA) || i == EXECUTING_LOOKS)
                        return r;
                if (r == -ENODATA && i == BARE_LOOKS)
                        return 0;
                poll(NULL, 0, 1);
        }
}

/* Counts in /proc, and signals what it counts unless `signal_number` is 0. Who cannot be known counts: nothing is gone
 * that was not seen to be. */
static int walk_proc(const struct group *group, int signal_number) {
        _cleanup_(closedirp) DIR *dir = opendir("/proc");
        struct dirent *entry;
        int n = 0;

        if (!dir)
                return -errno;
        while ((errno = 0, entry = readdir(dir))) {
                int pid = isdigit((unsigned char) entry->d_name[0]) ? atoi(entry->d_name) : 0, r;

                r = pid <= 1 || pid == getpid() ? 0 : belongs_settled(group, dirfd(dir), entry->d_name);
                if (r == 0)
                        continue;
                n++;
                if (signal_number > 0 && r > 0)
                        (void) kill(pid, signal_number);
        }
        return errno > 0 ? -errno : n;
}

static int walk_cgroup(const char *cgroup_dir, int signal_number) {
        char path[PATH_LENGTH + 16];
        _cleanup_fclose_ FILE *file = NULL;
        int pid, n = 0;

        snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup_dir);
        file = fopen(path, "re");
        if (!file)
                return errno == ENOENT ? 0 : -errno;
        while (fscanf(file, "%d", &pid) == 1) {
                n++;
                if (signal_number > 0 && pid > 1)
                        (void) kill(pid, signal_number);
        }
        return ferror(file) ? -EIO : n;
}

/* Sub-groups count too, so the kernel's own summary decides; who is only a zombie does not populate it. */
static int count_cgroup(const char *cgroup_dir) {
        char events[256];
        uint64_t populated;
        int r;

        r = file_read(events, sizeof(events), "%s/cgroup.events", cgroup_dir);
        if (r == -ENOENT)
                return 0;
        if (r < 0 || text_number(events, "populated ", &populated) < 0)
                return r < 0 ? r : -EBADMSG;
        if (populated == 0)
                return 0;
        r = walk_cgroup(cgroup_dir, 0);
        return r == 0 ? 1 : r;
}

int group_count(const struct group *group) {
        return group->cgroup_dir[0] ? count_cgroup(group->cgroup_dir) : walk_proc(group, 0);
}

int group_signal(const struct group *group, int signal_number) {
        int r;

        if (!group->cgroup_dir[0])
                r = walk_proc(group, signal_number);
        else if (signal_number == SIGKILL && file_write("1", "%s/cgroup.kill", group->cgroup_dir) == 0)
                r = 0;
        else
                r = walk_cgroup(group->cgroup_dir, signal_number);
        return r < 0 ? r : 0;
}

uint64_t group_oom_kills(const struct group *group) {
        char text[16384];
        uint64_t n = 0;

        if (group->cgroup_dir[0] && file_read(text, sizeof(text), "%s/memory.events", group->cgroup_dir) >= 0 &&
            text_number(text, "oom_kill ", &n) == 0)
                return n;
        if (file_read(text, sizeof(text), "/proc/vmstat") >= 0)
                (void) text_number(text, "\noom_kill ", &n);
        return n;
}

uint64_t group_memory(const struct group *group) {
        char text[32];
        uint64_t n = 0;

        if (group->cgroup_dir[0] && file_read(text, sizeof(text), "%s/memory.current", group->cgroup_dir) >= 0)
                (void) text_number(text, "", &n);
        return n;
}
