/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-chain.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <libvirt/virterror.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define NUMBER_DIGITS_MAX 9
#define LOOK_MSEC 100
#define STAT_BLOCK_BYTES 512 /* of st_blocks, whatever the file system's are */

static void close_directory(DIR **directory) {
        if (*directory)
                (void) closedir(*directory);
}

size_t context_chain_own_length(const char *path) {
        const char *mark = NULL, *digits;

        for (const char *at = strstr(path, CONTEXT_CHAIN_MARK); at; at = strstr(at + 1, CONTEXT_CHAIN_MARK))
                mark = at;
        digits = mark ? mark + strlen(CONTEXT_CHAIN_MARK) : "";
        if (!*digits || strlen(digits) > NUMBER_DIGITS_MAX || digits[strspn(digits, "0123456789")])
                return strlen(path);
        return (size_t) (mark - path);
}

bool context_chain_is_overlay(const char *path) {
        return path && path[context_chain_own_length(path)] != 0;
}

size_t context_chain_length(const struct context_disk *disks, size_t n) {
        size_t length = 0;

        while (length < n && strcmp(disks[length].target, disks[0].target) == 0)
                length++;
        return length;
}

const struct context_disk *context_chain_find(const struct context_disk *chain, size_t n, const char *path) {
        for (size_t i = 0; i < n; i++)
                if (chain[i].path && strcmp(chain[i].path, path) == 0)
                        return &chain[i];
        return NULL;
}

bool context_chain_plan(const struct context_disk *chain, size_t n, const char *frozen, struct context_merge *ret) {
        const struct context_disk *kept = frozen ? context_chain_find(chain, n, frozen) : NULL;
        size_t own = 0, bottom;

        if ((frozen && !kept) || kept == chain)
                return false; /* it may rest on something of this chain, nobody knows on what */
        while (own < n && context_chain_is_overlay(chain[own].path))
                own++;
        if (own == n || !chain[own].path)
                return false;
        if (kept && kept < &chain[own]) {
                *ret = (struct context_merge) { .base = &chain[own], .top = kept };
                return true;
        }
        /* What was written since the checkpoint, but for the file that is written now. */
        bottom = kept == &chain[own] ? own - 1 : own;
        if (own == 0 || bottom < 2)
                return false;
        *ret = (struct context_merge) { .base = &chain[bottom], .top = &chain[1] };
        return true;
}

int context_chain_scan(const char *path, int (*found)(const char *overlay, unsigned number, void *userdata),
                       void *userdata) {
        const size_t own = context_chain_own_length(path);
        _cleanup_(close_directory) DIR *directory = NULL;
        const char *slash = strrchr(path, '/');
        char parent[PATH_MAX];
        struct dirent *entry;
        int r = 0;

        if (!slash || (size_t) (slash - path) >= own || own >= sizeof(parent))
                return -EINVAL;
        snprintf(parent, sizeof(parent), "%.*s", (int) (slash - path + 1), path);
        directory = opendir(parent);
        if (!directory)
                return -errno;
        for (errno = 0; r == 0 && (entry = readdir(directory)); errno = 0) {
                char overlay[PATH_MAX];

                if ((size_t) snprintf(overlay, sizeof(overlay), "%s%s", parent, entry->d_name) >= sizeof(overlay))
                        continue;
                if (strncmp(overlay, path, own) == 0 && context_chain_own_length(overlay) == own && overlay[own])
                        r = found(overlay, (unsigned) atoi(overlay + own + strlen(CONTEXT_CHAIN_MARK)), userdata);
        }
        return r == 0 && errno != 0 ? -errno : r;
}

static int keep_highest(const char *overlay, unsigned number, void *userdata) {
        unsigned *highest = userdata;

        *highest = number > *highest ? number : *highest;
        return 0;
}

static int check_directory(const struct context_disk *disk, struct error *error) {
        char parent[PATH_MAX];
        const char *slash = strrchr(disk->path, '/');

        snprintf(parent, sizeof(parent), "%.*s", (int) (slash - disk->path + 1), disk->path);
        if (access(parent, W_OK) < 0)
                return error_set(error, -errno, "disk %s: no overlay can be made in %s: %s", disk->target, parent,
                                 strerror(errno));
        return 0;
}

int context_chain_name(const struct context_disk *disks, size_t n, char ret[static CONTEXT_CHAIN_NAME_LEN],
                       struct error *error) {
        unsigned highest = 0;

        for (size_t i = 0; i < n; i++) {
                int r;

                if (!disks[i].writable || disks[i].kind != CONTEXT_DISK_FILE)
                        continue;
                r = context_chain_scan(disks[i].path, keep_highest, &highest);
                if (r < 0)
                        return error_set(error, r, "disk %s: beside %s: %s", disks[i].target, disks[i].path,
                                         strerror(-r));
                r = check_directory(&disks[i], error);
                if (r < 0)
                        return r;
        }
        snprintf(ret, CONTEXT_CHAIN_NAME_LEN, "%s%u", &CONTEXT_CHAIN_MARK[1], highest + 1);
        return 0;
}

static int libvirt_failed(const struct context_merge *merge, struct error *error) {
        return error_set(error, -EIO, "disk %s: %s cannot be merged into %s: %s", merge->base->target,
                         merge->top->path, merge->base->path, virGetLastErrorMessage());
}

bool context_chain_is_idle(const struct context_vm *vm, const char *target) {
        virDomainBlockJobInfo info;

        return virDomainGetBlockJobInfo(vm->domain, target, &info, 0) == 0;
}

/* So much the base may grow by, at most. */
static int growth(const struct context_merge *merge, uint64_t *ret, struct error *error) {
        uint64_t upper = 0, holes = UINT64_MAX;
        struct stat st;

        for (const struct context_disk *disk = merge->top; disk <= merge->base; disk++) {
                if (stat(disk->path, &st) < 0)
                        return error_set(error, -errno, "disk %s: %s: %s", disk->target, disk->path, strerror(errno));
                if (disk < merge->base)
                        upper += (uint64_t) st.st_blocks * STAT_BLOCK_BYTES;
        }
        if (strcmp(merge->base->format, "raw") == 0) {
                const uint64_t there = (uint64_t) st.st_blocks * STAT_BLOCK_BYTES;

                holes = there < (uint64_t) st.st_size ? (uint64_t) st.st_size - there : 0;
        }
        *ret = upper < holes ? upper : holes;
        return 0;
}

int context_chain_check(const struct context_vm *vm, const struct context_disk *chain,
                        const struct context_merge *merge, struct error *error) {
        struct statvfs fs;
        uint64_t needed = 0;
        int r;

        if (!context_chain_is_idle(vm, chain->target))
                return error_set(error, -EBUSY, "disk %s: something else is done with its files just now, a backup "
                                 "or a merge, or libvirt does not say (`virsh blockjob %s %s`)", chain->target,
                                 vm->name, chain->target);
        if (!merge)
                return 0;
        if (!merge->base->format)
                return error_set(error, -ENOTSUP, "disk %s: libvirt does not say of what format %s is", chain->target,
                                 merge->base->path);
        r = growth(merge, &needed, error);
        if (r < 0)
                return r;
        if (statvfs(merge->base->path, &fs) < 0)
                return error_set(error, -errno, "disk %s: %s: %s", chain->target, merge->base->path, strerror(errno));
        if ((uint64_t) fs.f_bavail * fs.f_frsize < needed)
                return error_set(error, -ENOSPC, "disk %s: %s may grow by %llu MiB when %s is merged into it, and "
                                 "there is no room for that: make some", chain->target, merge->base->path,
                                 (unsigned long long) ((needed + MIB - 1) / MIB), merge->top->path);
        return 0;
}

int context_chain_merge(const struct context_vm *vm, const struct context_merge *merge,
                        const struct context_progress *progress, struct error *error) {
        const char *target = merge->base->target;
        virDomainBlockJobInfo info = { 0 };
        bool aborted = false;
        int r;

        if (virDomainBlockCommit(vm->domain, target, merge->base->path, merge->top->path, 0, 0) < 0)
                return libvirt_failed(merge, error);
        while ((r = virDomainGetBlockJobInfo(vm->domain, target, &info, 0)) > 0) {
                if (context_tell(progress, CONTEXT_MERGE, info.cur, info.end) < 0 && !aborted)
                        aborted = virDomainBlockJobAbort(vm->domain, target, VIR_DOMAIN_BLOCK_JOB_ABORT_ASYNC) == 0;
                (void) poll(NULL, 0, LOOK_MSEC);
        }
        if (r < 0)
                return libvirt_failed(merge, error);
        return aborted ? error_set(error, -ECANCELED, "it was given up") : 0;
}
