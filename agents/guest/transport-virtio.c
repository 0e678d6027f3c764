/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "agents/guest/file.h"
#include "agents/guest/transport.h"
#include "daemon/base/cleanup.h"

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* Opens /dev/NAME of a port that sysfs knows, making the node first where there is no udev or devtmpfs. */
static int open_port(const char *class_dir, const char *name) {
        char path[PATH_LENGTH], number[32];
        unsigned major_number, minor_number;
        int fd;

        snprintf(path, sizeof(path), "/dev/%s", name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0 || errno != ENOENT)
                return fd >= 0 ? fd : -errno;
        if (file_read(number, sizeof(number), "%s/%s/dev", class_dir, name) < 0 ||
            sscanf(number, "%u:%u", &major_number, &minor_number) != 2)
                return -ENODEV;
        if (mknod(path, S_IFCHR | 0600, makedev(major_number, minor_number)) < 0 && errno != EEXIST)
                return -errno;
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        return fd >= 0 ? fd : -errno;
}

static int open_by_name(const char *sys_dir) {
        char class_dir[PATH_LENGTH], name[64];
        _cleanup_(closedirp) DIR *dir = NULL;
        struct dirent *entry;

        snprintf(class_dir, sizeof(class_dir), "%s/class/virtio-ports", sys_dir);
        dir = opendir(class_dir);
        if (!dir)
                return -errno;
        while ((entry = readdir(dir))) {
                if (entry->d_name[0] == '.' ||
                    file_read(name, sizeof(name), "%s/%s/name", class_dir, entry->d_name) < 0)
                        continue;
                if (strcmp(name, AGENT_CHANNEL) == 0)
                        return open_port(class_dir, entry->d_name);
        }
        return -ENODEV;
}

int transport_virtio_open(const struct transport *transport) {
        const char *path = transport->path ?: "/dev/virtio-ports/" AGENT_CHANNEL;
        int fd;

        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0)
                return fd;
        if (transport->path || (errno != ENOENT && errno != ENOTDIR))
                return -errno;
        return open_by_name(transport->sys_dir);
}
