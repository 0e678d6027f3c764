/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/cpu.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "agents/guest/file.h"
#include "agents/guest/log.h"
#include "daemon/base/cleanup.h"

#define UEVENT_SIZE 4096
#define UEVENTS_KERNEL 1 /* multicast group of the kernel's own; udev's are in another */

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* 1: set online now; 0: it was, or cannot be switched (the first one); or -errno. */
static int set_online(const char *sys_dir, unsigned cpu) {
        char state[8];
        int r;

        r = file_read(state, sizeof(state), "%s/devices/system/cpu/cpu%u/online", sys_dir, cpu);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        if (strcmp(state, "0") != 0)
                return 0;
        r = file_write("1", "%s/devices/system/cpu/cpu%u/online", sys_dir, cpu);
        return r < 0 ? r : 1;
}

int cpu_online_all(const char *sys_dir) {
        _cleanup_(closedirp) DIR *dir = NULL;
        int n = 0, first = 0, at;
        char path[PATH_LENGTH];
        struct dirent *entry;
        unsigned cpu;

        snprintf(path, sizeof(path), "%s/devices/system/cpu", sys_dir);
        dir = opendir(path);
        if (!dir)
                return -errno;
        while ((entry = readdir(dir))) {
                int r;

                if (sscanf(entry->d_name, "cpu%5u%n", &cpu, &at) != 1 || entry->d_name[at] != 0)
                        continue;
                r = set_online(sys_dir, cpu);
                if (r > 0)
                        n++;
                else if (r < 0 && first == 0)
                        first = r;
        }
        return n > 0 ? n : first;
}

int cpu_online_added(const char *sys_dir, const char *uevent) {
        unsigned cpu;
        int r, at = 0;

        if (sscanf(uevent, "add@/devices/system/cpu/cpu%5u%n", &cpu, &at) != 1 || uevent[at] != 0)
                return -ENOMSG;
        r = set_online(sys_dir, cpu);
        if (r > 0)
                log_notice("processor %u was plugged and is online", cpu);
        return r < 0 ? r : 0;
}

static void on_uevent(void *userdata, uint32_t events) {
        struct cpu_watch *watch = userdata;
        char text[UEVENT_SIZE];
        ssize_t n = recv(watch->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
        int r;

        if (n < 0 && errno == ENOBUFS) /* some were lost: look at all */
                r = cpu_online_all(watch->sys_dir);
        else if (n > 0) {
                text[n] = 0;
                r = cpu_online_added(watch->sys_dir, text);
        } else
                return;
        if (r < 0 && r != -ENOMSG)
                log_warning("a plugged processor cannot be set online (%s); do it by hand in /sys/devices/system/cpu",
                            strerror(-r));
}

int cpu_watch_init(struct cpu_watch *watch, struct loop *loop, const char *sys_dir) {
        struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = UEVENTS_KERNEL };
        int r;

        *watch = (struct cpu_watch) { .loop = loop, .source = { -1, on_uevent, watch }, .sys_dir = sys_dir, .fd = -1 };
        watch->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
        if (watch->fd < 0 || bind(watch->fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        r = loop_watch(loop, &watch->source, watch->fd, EPOLLIN);
        if (r >= 0)
                r = cpu_online_all(sys_dir);
        return r < 0 ? r : 0;
}

void cpu_watch_deinit(struct cpu_watch *watch) {
        if (watch->fd < 0)
                return;
        loop_unwatch(watch->loop, &watch->source);
        closep(&watch->fd);
        watch->fd = -1;
}
