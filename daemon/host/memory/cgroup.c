/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define FILE_LEN (2 * CGROUP_PATH_LEN + 64)
#define BUS_USEC (3 * USEC_PER_SEC)

static void bus_closep(sd_bus **bus) {
        sd_bus_flush_close_unref(*bus);
}

/* Is the memory controller one of those that the tree has? */
static bool has_memory(const char *root) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[FILE_LEN], word[64];

        snprintf(path, sizeof(path), "%s/cgroup.controllers", root);
        f = fopen(path, "re");
        while (f && fscanf(f, "%63s", word) == 1)
                if (strcmp(word, "memory") == 0)
                        return true;
        return false;
}

int cgroup_find_root(const char *mountinfo, char ret_root[CGROUP_PATH_LEN]) {
        _cleanup_fclose_ FILE *f = fopen(mountinfo, "re");
        char line[4096], part[CGROUP_PATH_LEN], at[CGROUP_PATH_LEN];

        if (!f)
                return -errno;
        while (fgets(line, sizeof(line), f)) {
                const char *type = strstr(line, " - ");

                if (!type || strncmp(type + 3, "cgroup2 ", 8) != 0 ||
                    sscanf(line, "%*d %*d %*s %511s %511s", part, at) != 2 || strcmp(part, "/") != 0 || !has_memory(at))
                        continue;
                memcpy(ret_root, at, sizeof(at));
                return 0;
        }
        return -EOPNOTSUPP;
}

int cgroup_of_process(const char *file, char ret_path[CGROUP_PATH_LEN]) {
        _cleanup_fclose_ FILE *f = fopen(file, "re");
        char line[2 * CGROUP_PATH_LEN], *path = line + 3;

        if (!f)
                return -errno;
        while (fgets(line, sizeof(line), f)) {
                size_t n = strcspn(line, "\n");

                if (strncmp(line, "0::/", 4) != 0)
                        continue;
                line[n] = '\0';
                /* Outside of this cgroup namespace, or too deep to be a VM's. */
                if (strstr(line, "/..") || n - 3 >= CGROUP_PATH_LEN)
                        break;
                if (strcmp(path, "/") == 0)
                        path[0] = '\0'; /* the root's */
                memcpy(ret_path, path, strlen(path) + 1);
                return 0;
        }
        return -EOPNOTSUPP;
}

bool cgroup_parent(char path[CGROUP_PATH_LEN]) {
        char *last = strrchr(path, '/');

        if (!last)
                return false;
        *last = '\0';
        return true;
}

bool cgroup_has(const char *root, const char *path, const char *file) {
        char name[FILE_LEN];

        snprintf(name, sizeof(name), "%s%s/%s", root, path, file);
        return access(name, F_OK) == 0;
}

int cgroup_read(const char *root, const char *path, const char *file, uint64_t *ret) {
        _cleanup_fclose_ FILE *f = NULL;
        char name[FILE_LEN], text[32], *end;

        snprintf(name, sizeof(name), "%s%s/%s", root, path, file);
        f = fopen(name, "re");
        if (!f)
                return -errno;
        if (!fgets(text, sizeof(text), f))
                return ferror(f) ? -errno : -ENODATA;
        if (strncmp(text, "max", 3) == 0) {
                *ret = CGROUP_NO_LIMIT;
                return 0;
        }
        errno = 0;
        *ret = strtoull(text, &end, 10);
        return errno != 0 || end == text ? -EBADMSG : 0;
}

int cgroup_write(const char *root, const char *path, const char *file, uint64_t value) {
        _cleanup_close_ int fd = -1;
        char name[FILE_LEN], text[32] = "max";
        ssize_t n;

        snprintf(name, sizeof(name), "%s%s/%s", root, path, file);
        fd = open(name, O_WRONLY | O_CLOEXEC | O_TRUNC);
        if (fd < 0)
                return -errno;
        if (value != CGROUP_NO_LIMIT)
                snprintf(text, sizeof(text), "%" PRIu64, value);
        n = write(fd, text, strlen(text));
        return n < 0 ? -errno : 0;
}

static bool ends_with(const char *text, const char *end) {
        size_t n = strlen(text), m = strlen(end);

        return n > m && strcmp(text + n - m, end) == 0;
}

/* Names are free below a unit that is delegated: whoever it belongs to may call a group "system.slice" there. */
int cgroup_unit_of_path(const char *path, const char **ret_unit) {
        const char *name = strrchr(path, '/');
        char above[CGROUP_PATH_LEN];

        *ret_unit = NULL;
        if (!name || (!ends_with(name, ".slice") && !ends_with(name, ".scope") && !ends_with(name, ".service")))
                return 0;
        if (strlen(path) >= sizeof(above))
                return -ENAMETOOLONG;
        strcpy(above, path);
        while (cgroup_parent(above) && above[0])
                if (!ends_with(above, ".slice"))
                        return -EPERM;
        *ret_unit = name + 1;
        return 0;
}

int cgroup_unit(const char *root, const char *path, const char **ret_unit) {
        struct statfs mounted;

        *ret_unit = NULL;
        if (sd_booted() <= 0 || statfs(root, &mounted) < 0 || mounted.f_type != CGROUP2_SUPER_MAGIC)
                return 0;
        return cgroup_unit_of_path(path, ret_unit);
}

int cgroup_set_unit(const char *unit, const char *property, uint64_t value) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(bus_closep) sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_set_method_call_timeout(bus, BUS_USEC);
        if (r >= 0)
                r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                                       "org.freedesktop.systemd1.Manager", "SetUnitProperties", &error, NULL,
                                       "sba(sv)", unit, 1, 1, property, "t", value);
        return r < 0 ? r : 0;
}
