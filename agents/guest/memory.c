/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/memory.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mempolicy.h>

#include "agents/guest/file.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define MEMINFO_SIZE 8192
#define NODES_MAX 1024

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

static int number_of_bytes(const char *meminfo, const char *key, uint64_t *ret) {
        uint64_t kibibytes;
        int r;

        r = text_number(meminfo, key, &kibibytes);
        if (r < 0)
                return r;
        if (__builtin_mul_overflow(kibibytes, KIB, ret))
                return -ERANGE;
        return 0;
}

/* Page cache that is neither written to nor in the memory's own file systems. */
static uint64_t clean_cache(const char *meminfo) {
        uint64_t active = 0, inactive = 0, dirty = 0, writeback = 0;

        (void) number_of_bytes(meminfo, "Active(file):", &active);
        (void) number_of_bytes(meminfo, "Inactive(file):", &inactive);
        (void) number_of_bytes(meminfo, "Dirty:", &dirty);
        (void) number_of_bytes(meminfo, "Writeback:", &writeback);
        if (__builtin_add_overflow(active, inactive, &active) || __builtin_add_overflow(dirty, writeback, &dirty))
                return 0;
        return active > dirty ? active - dirty : 0;
}

int memory_node_usage(const char *sys_dir, int node, struct memory_usage *ret) {
        struct memory_usage usage = { 0 };
        char meminfo[MEMINFO_SIZE];
        int r;

        r = file_read(meminfo, sizeof(meminfo), "%s/devices/system/node/node%d/meminfo", sys_dir, node);
        if (r < 0)
                return r;
        r = number_of_bytes(meminfo, "MemTotal:", &usage.total_bytes);
        if (r == 0)
                r = number_of_bytes(meminfo, "MemFree:", &usage.free_bytes);
        if (r < 0)
                return -EBADMSG;
        (void) number_of_bytes(meminfo, "FilePages:", &usage.file_bytes);
        if (__builtin_add_overflow(usage.free_bytes, clean_cache(meminfo), &usage.spare_bytes) ||
            usage.spare_bytes > usage.total_bytes)
                usage.spare_bytes = usage.total_bytes;
        *ret = usage;
        return 0;
}

static int of_guest(const char *proc_dir, const char *key, uint64_t *ret) {
        char meminfo[MEMINFO_SIZE];
        int r;

        r = file_read(meminfo, sizeof(meminfo), "%s/meminfo", proc_dir);
        return r < 0 ? r : number_of_bytes(meminfo, key, ret);
}

int memory_total(const char *proc_dir, uint64_t *ret_bytes) {
        return of_guest(proc_dir, "MemTotal:", ret_bytes);
}

int memory_available(const char *proc_dir, uint64_t *ret_bytes) {
        return of_guest(proc_dir, "MemAvailable:", ret_bytes);
}

int memory_swap_free(const char *proc_dir, uint64_t *ret_bytes) {
        return of_guest(proc_dir, "SwapFree:", ret_bytes);
}

int memory_online_blocks(const char *sys_dir, int node) {
        char node_dir[PATH_LENGTH], state[16];
        _cleanup_(closedirp) DIR *dir = NULL;
        struct dirent *entry;
        int n = 0, first = 0;

        snprintf(node_dir, sizeof(node_dir), "%s/devices/system/node/node%d", sys_dir, node);
        dir = opendir(node_dir);
        if (!dir)
                return -errno;
        while ((entry = readdir(dir))) {
                int r;

                if (strncmp(entry->d_name, "memory", 6) != 0 || entry->d_name[6] < '0' || entry->d_name[6] > '9' ||
                    file_read(state, sizeof(state), "%s/%s/state", node_dir, entry->d_name) < 0 ||
                    strcmp(state, "offline") != 0)
                        continue;
                r = file_write("online_movable", "%s/%s/state", node_dir, entry->d_name);
                if (r == 0)
                        n++;
                else if (first == 0)
                        first = r;
        }
        return n > 0 ? n : first;
}

/* The kernel can only drop the cache of all nodes at once, so it is asked to only when this node's own free
 * pages do not do and cache would help. */
int memory_prepare_detach(const char *sys_dir, const char *proc_dir, int node, uint64_t bytes) {
        struct memory_usage usage;
        int r;

        r = memory_node_usage(sys_dir, node, &usage);
        if (r < 0)
                return r;
        if (usage.free_bytes < bytes && usage.file_bytes > 0) {
                r = file_write("1", "%s/sys/vm/drop_caches", proc_dir);
                if (r < 0)
                        return r;
        }
        r = file_write("1", "%s/devices/system/node/node%d/compact", sys_dir, node);
        return r == -ENOENT ? 0 : r; /* a kernel without compaction */
}

int memory_bind(int node) {
        unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = { 0 };
        const unsigned bits = 8 * sizeof(unsigned long);

        if (node < 0 || node >= NODES_MAX)
                return -EINVAL;
        mask[(unsigned) node / bits] = 1UL << ((unsigned) node % bits);
        return syscall(SYS_set_mempolicy, MPOL_BIND, mask, (unsigned long) NODES_MAX + 1) < 0 ? -errno : 0;
}
