/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/cgroup-memory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"
#include "daemon/host/memory/cgroup-limit.h"
#include "daemon/host/memory/cgroup-reclaim.h"
#include "daemon/host/process.h"

#define DEPTH_MAX 32
#define BESIDE_BYTES GIB /* of a budget for what QEMU needs beside, which it need not have mapped yet */

/* ---- finding -------------------------------------------------------------------------------------------- */

/* Is the process of this directory in /proc the only one in the group? It is not in it where it is in one below that
 * counts no memory of its own, as others may be. */
static int is_alone(const char *root, const char *path, const char *directory) {
        _cleanup_fclose_ FILE *f = NULL;
        const char *self = strrchr(directory, '/');
        char name[2 * CGROUP_PATH_LEN + 32];
        bool found = false;
        int pid;

        snprintf(name, sizeof(name), "%s%s/cgroup.procs", root, path);
        f = fopen(name, "re");
        if (!f || !self)
                return f ? -EINVAL : -errno;
        while (fscanf(f, "%d", &pid) == 1) {
                if (pid != atoi(self + 1))
                        return 0;
                found = true;
        }
        return found;
}

/* libvirt puts a VM into a scope of its own, with what serves it; QEMU is some groups below. */
static bool is_machine_scope(const char *path) {
        const char *name = strrchr(path, '/'), *end = strrchr(path, '.');

        return name && end && strncmp(name, "/machine-qemu", 13) == 0 && strcmp(end, ".scope") == 0;
}

int cgroup_memory_find(const char *root, const char *directory, struct cgroup_vm *ret) {
        char file[CGROUP_PATH_LEN], path[CGROUP_PATH_LEN];
        struct cgroup_vm vm;
        int r;

        snprintf(file, sizeof(file), "%s/cgroup", directory);
        r = cgroup_of_process(file, path);
        if (r < 0)
                return r;
        while (path[0] && !cgroup_has(root, path, "memory.low"))
                cgroup_parent(path);
        if (!path[0])
                return -EOPNOTSUPP;
        memcpy(vm.leaf, path, sizeof(path));
        while (path[0] && !is_machine_scope(path))
                cgroup_parent(path);
        if (!path[0]) {
                memcpy(path, vm.leaf, sizeof(path));
                r = is_alone(root, path, directory);
                if (r <= 0)
                        return r < 0 ? r : -EBUSY;
        }
        memcpy(vm.group, path, sizeof(path));
        *ret = vm;
        return 0;
}

/* ---- sharing -------------------------------------------------------------------------------------------- */

/* What a group has to be protected for by its children: `ours`, and those that have their share from here, in full,
 * others as far as they use it. */
static uint64_t sum_children(const char *root, const char *path, const char *ours, enum cgroup_limit limit) {
        _cleanup_free_ char *directory = NULL;
        uint64_t sum = 0;
        struct dirent *e;
        DIR *dir;

        if (asprintf(&directory, "%s%s", root, path) < 0)
                return 0;
        dir = opendir(directory);
        while (dir && (e = readdir(dir))) {
                uint64_t bytes, current = CGROUP_NO_LIMIT;
                char child[CGROUP_PATH_LEN];

                if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
                    (size_t) snprintf(child, sizeof(child), "%s/%s", path, e->d_name) >= sizeof(child) ||
                    cgroup_read(root, child, cgroup_limit_to_string(limit), &bytes) < 0)
                        continue;
                if (strcmp(child, ours) != 0 && !cgroup_limit_is_given(root, child, limit, bytes) &&
                    cgroup_read(root, child, "memory.current", &current) >= 0 && bytes > current)
                        bytes = current;
                sum = sum + bytes < sum ? CGROUP_NO_LIMIT : sum + bytes;
        }
        if (dir)
                closedir(dir);
        return cgroup_limit_round(sum);
}

/* Protects a VM from its leaf to the top. The lowest value on the way is what counts. */
static int protect_by(const char *root, const struct cgroup_vm *vm, enum cgroup_limit limit, uint64_t bytes,
                      uint64_t *ret_bytes, char ret_capped_by[CGROUP_PATH_LEN]) {
        char path[CGROUP_PATH_LEN], below[CGROUP_PATH_LEN];
        uint64_t need = bytes, effective = bytes, found;
        int r;

        ret_capped_by[0] = '\0';
        memcpy(path, vm->leaf, sizeof(path));
        do {
                bool own = strcmp(path, vm->group) == 0;

                r = cgroup_limit_give(root, path, limit, need);
                if (r < 0 && own)
                        return r;
                r = cgroup_read(root, path, cgroup_limit_to_string(limit), &found);
                if (r < 0)
                        return r;
                if (found < need && !ret_capped_by[0])
                        memcpy(ret_capped_by, path, sizeof(path));
                if (found < effective)
                        effective = found;
                memcpy(below, path, sizeof(path));
                cgroup_parent(path);
                if (path[0] && strlen(below) <= strlen(vm->group))
                        need = sum_children(root, path, below, limit);
        } while (path[0]);
        *ret_bytes = effective;
        return 0;
}

static int protect(const char *root, const char *lock_path, const struct cgroup_vm *vm,
                   const struct cgroup_share *share, struct cgroup_finding *finding) {
        _cleanup_close_ int held = cgroup_lock(lock_path);
        char capped_by[CGROUP_PATH_LEN];
        uint64_t min;
        int r;

        if (held < 0)
                return held;
        r = protect_by(root, vm, CGROUP_LIMIT_LOW, cgroup_limit_round(share->low_bytes),
                       &finding->low_bytes, finding->capped_by);
        if (r < 0)
                return r;
        return protect_by(root, vm, CGROUP_LIMIT_MIN, cgroup_limit_round(share->min_bytes), &min, capped_by);
}

/* On the leaf: where libvirt has its own groups in a VM's scope, that is none of systemd's. */
static int bound(const char *root, const char *lock_path, const struct cgroup_vm *vm, uint64_t high_bytes,
                 int asker_fd, uint64_t *ret_bytes) {
        _cleanup_close_ int held = -1;
        uint64_t found, lowest;
        char path[CGROUP_PATH_LEN];
        int r;

        if (!cgroup_may_swap(root, vm->leaf))
                high_bytes = CGROUP_NO_LIMIT;
        if (high_bytes != CGROUP_NO_LIMIT)
                cgroup_reclaim(root, vm->leaf, high_bytes, asker_fd);
        held = cgroup_lock(lock_path);
        if (held < 0)
                return held;
        if (cgroup_asker_is_gone(asker_fd))
                return -ECANCELED;
        r = cgroup_bearable(root, vm->leaf, &high_bytes);
        if (r >= 0)
                r = cgroup_limit_give(root, vm->leaf, CGROUP_LIMIT_HIGH, cgroup_limit_round(high_bytes));
        if (r >= 0)
                r = cgroup_read(root, vm->leaf, "memory.high", &lowest);
        memcpy(path, vm->leaf, sizeof(path));
        while (r >= 0 && strcmp(path, vm->group) != 0 && cgroup_parent(path)) {
                r = cgroup_read(root, path, "memory.high", &found);
                if (r >= 0 && found < lowest)
                        lowest = found;
        }
        if (r >= 0)
                *ret_bytes = lowest;
        return r;
}

/* The nearest group above with a hard limit: where an operator has put the VMs of a pool into one. */
static void find_bound(const char *root, const char *group, struct cgroup_finding *finding) {
        char path[CGROUP_PATH_LEN];
        uint64_t bytes;

        snprintf(path, sizeof(path), "%s", group);
        for (cgroup_parent(path); path[0]; cgroup_parent(path))
                if (cgroup_read(root, path, "memory.max", &bytes) >= 0 && bytes != CGROUP_NO_LIMIT) {
                        memcpy(finding->bounded_by, path, sizeof(path));
                        finding->max_bytes = bytes;
                        return;
                }
}

int cgroup_share_check(const char *directory, struct cgroup_share *share) {
        _cleanup_fclose_ FILE *f = NULL;
        char name[CGROUP_PATH_LEN];
        uint64_t pages, most;

        if (share->min_bytes > share->low_bytes || share->low_bytes > share->high_bytes)
                return -ERANGE;
        snprintf(name, sizeof(name), "%s/statm", directory);
        f = fopen(name, "re");
        if (!f)
                return -errno;
        if (fscanf(f, "%" SCNu64, &pages) != 1 || pages > UINT64_MAX / 2 / (uint64_t) sysconf(_SC_PAGESIZE))
                return -EBADMSG;
        most = pages * (uint64_t) sysconf(_SC_PAGESIZE) + BESIDE_BYTES;
        if (share->low_bytes > most)
                share->low_bytes = most;
        if (share->min_bytes > most)
                share->min_bytes = most;
        return 0;
}

int cgroup_memory_share(const char *root, const char *lock_path, const struct cgroup_vm *vm,
                        const struct cgroup_share *share, int asker_fd, struct cgroup_finding *ret) {
        struct cgroup_finding finding = { 0 };
        int r;

        memcpy(finding.group, vm->group, sizeof(finding.group));
        r = protect(root, lock_path, vm, share, &finding);
        if (r >= 0)
                r = bound(root, lock_path, vm, share->high_bytes, asker_fd, &finding.high_bytes);
        if (r < 0)
                return r;
        find_bound(root, vm->group, &finding);
        *ret = finding;
        return 0;
}

int cgroup_memory_share_process(const char *mountinfo, const char *lock_path, int pid, int pidfd,
                                const struct cgroup_share *share, int asker_fd, struct cgroup_finding *ret) {
        char root[CGROUP_PATH_LEN], directory[32];
        struct cgroup_vm vm;
        int r;

        snprintf(directory, sizeof(directory), "/proc/%d", pid);
        r = cgroup_find_root(mountinfo, root);
        if (r >= 0)
                r = cgroup_memory_find(root, directory, &vm);
        if (r >= 0 && process_ended(pidfd))
                r = -ESRCH;
        return r < 0 ? r : cgroup_memory_share(root, lock_path, &vm, share, asker_fd, ret);
}

/* ---- giving back ---------------------------------------------------------------------------------------- */

/* Nobody is kept by a group of another user's, however it is made, from getting back what is theirs. */
static bool is_to_be_walked(const char *root, const char *path) {
        char name[2 * CGROUP_PATH_LEN];
        struct stat st;

        snprintf(name, sizeof(name), "%s%s", root, path);
        return lstat(name, &st) == 0 && S_ISDIR(st.st_mode) && (st.st_uid == 0 || st.st_uid == geteuid()) &&
               (st.st_uid == geteuid() || access(name, R_OK | X_OK) == 0);
}

/* Children first. Counts into `n`. */
static int walk(const char *root, const char *path, bool hard, unsigned depth, int *n) {
        _cleanup_free_ char *directory = NULL;
        int r = 0, worst = 0;
        struct dirent *e;
        DIR *dir;

        if (asprintf(&directory, "%s%s", root, path) < 0)
                return -ENOMEM;
        dir = opendir(directory);
        if (!dir)
                return errno == ENOENT ? 0 : -errno;
        while ((e = readdir(dir))) {
                char child[CGROUP_PATH_LEN];

                if (e->d_type != DT_DIR || e->d_name[0] == '.' || depth >= DEPTH_MAX ||
                    (size_t) snprintf(child, sizeof(child), "%s/%s", path, e->d_name) >= sizeof(child) ||
                    !is_to_be_walked(root, child))
                        continue;
                r = walk(root, child, hard, depth + 1, n);
                if (r < 0)
                        worst = r;
        }
        closedir(dir);
        r = path[0] ? cgroup_limits_give_back(root, path, hard) : 0;
        *n += r > 0;
        return r < 0 ? r : worst;
}

int cgroup_memory_give_back(const char *root, const char *lock_path, bool hard) {
        _cleanup_close_ int held = cgroup_lock(lock_path);
        int n = 0, r;

        if (held < 0)
                return held;
        r = walk(root, "", hard, 0, &n);
        return r < 0 ? r : n;
}
