/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/cgroup-memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/units.h"
#include "daemon/host/process.h"

#define NOTE "user.failoverd.memory"
#define DEPTH_MAX 32
#define LOCK_USEC (3 * USEC_PER_SEC)
#define RECLAIM_USEC (4 * USEC_PER_SEC)
#define RECLAIM_BYTES (64 * MIB) /* in one request: what has come is seen in between */
#define ROOM_BYTES (64 * MIB) /* above what is in use, where that cannot be taken back */
#define BESIDE_BYTES GIB /* of a budget for what QEMU needs beside, which it need not have mapped yet */
#define UNIT_USEC (3 * USEC_PER_SEC)

enum limit { LIMIT_MIN, LIMIT_LOW, LIMIT_HIGH, LIMITS };

static const struct {
        const char *file, *property;
} limits[] = {
        [LIMIT_MIN] = { "memory.min", "MemoryMin" },
        [LIMIT_LOW] = { "memory.low", "MemoryLow" },
        [LIMIT_HIGH] = { "memory.high", "MemoryHigh" },
};

/* What a group had, and what it was given: the last value, and the one before that, in case that is not there yet. */
struct note {
        bool given[LIMITS];
        uint64_t had[LIMITS], last[LIMITS], now[LIMITS];
};

/* Groups above are common to many VMs, and several may be asked for at once. Not a lock on the tree itself, which
 * everybody can open, and so lock: on a file that nobody else can open. */
static int lock(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        usec_t until = clock_usec(CLOCK_MONOTONIC) + LOCK_USEC;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0077))
                return -EPERM;
        while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                if (clock_usec(CLOCK_MONOTONIC) > until)
                        return -EAGAIN;
                poll(NULL, 0, 10);
        }
        return steal_fd(&fd);
}

/* ---- notes ---------------------------------------------------------------------------------------------- */

/* Whoever may write into a group's directory can put a note there: one is believed, and made, only where that is
 * nobody but us. */
static int is_our_group(const char *root, const char *path) {
        char name[2 * CGROUP_PATH_LEN];
        struct stat st;

        snprintf(name, sizeof(name), "%s%s", root, path);
        if (lstat(name, &st) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) && st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* 0, and an empty one, where there is none that is ours. */
static int note_read(const char *root, const char *path, struct note *ret) {
        char name[2 * CGROUP_PATH_LEN], text[512];
        const char *at = text;
        ssize_t size;
        int r;

        *ret = (struct note) { 0 };
        r = is_our_group(root, path);
        if (r <= 0)
                return r;
        snprintf(name, sizeof(name), "%s%s", root, path);
        size = getxattr(name, NOTE, text, sizeof(text) - 1);
        if (size < 0)
                return errno == ENODATA ? 0 : -errno;
        text[size] = '\0';
        for (unsigned i = 0; i < LIMITS; i++) {
                int given, used = 0;

                if (sscanf(at, "%d %" SCNu64 " %" SCNu64 " %" SCNu64 " %n", &given, &ret->had[i], &ret->last[i],
                           &ret->now[i], &used) != 4 || used == 0)
                        return -EBADMSG;
                ret->given[i] = given != 0;
                at += used;
        }
        return 1;
}

static int note_write(const char *root, const char *path, const struct note *note) {
        char name[2 * CGROUP_PATH_LEN], text[512];
        size_t n = 0;
        int r;

        r = is_our_group(root, path);
        if (r <= 0)
                return r < 0 ? r : -EPERM;
        for (unsigned i = 0; i < LIMITS; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%d %" PRIu64 " %" PRIu64 " %" PRIu64 " ",
                                       note->given[i], note->had[i], note->last[i], note->now[i]);
        snprintf(name, sizeof(name), "%s%s", root, path);
        return setxattr(name, NOTE, text, n, 0) < 0 ? -errno : 0;
}

static bool is_ours(const struct note *note, enum limit limit, uint64_t value) {
        return note->given[limit] &&
               (value == note->now[limit] || value == note->last[limit] || value == note->had[limit]);
}

/* ---- one group ------------------------------------------------------------------------------------------ */

static uint64_t round_up(uint64_t bytes) {
        return bytes > CGROUP_NO_LIMIT - MIB ? CGROUP_NO_LIMIT : (bytes + MIB - 1) / MIB * MIB;
}

/* systemd answers before it has done it. */
static int set(const char *root, const char *path, enum limit limit, uint64_t bytes) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + UNIT_USEC;
        uint64_t found = bytes;
        const char *unit;
        int r;

        r = cgroup_unit(root, path, &unit);
        if (r < 0)
                return r;
        if (!unit)
                return cgroup_write(root, path, limits[limit].file, bytes);
        r = cgroup_set_unit(unit, limits[limit].property, bytes);
        while (r >= 0) {
                r = cgroup_read(root, path, limits[limit].file, &found);
                if (r < 0 || found == bytes)
                        break;
                if (clock_usec(CLOCK_MONOTONIC) > until)
                        return -ETIMEDOUT;
                poll(NULL, 0, 5);
        }
        return r;
}

/* The note first: what is not noted is not changed. */
static int give(const char *root, const char *path, enum limit limit, uint64_t bytes) {
        struct note note;
        const char *unit;
        uint64_t found;
        int r;

        r = cgroup_unit(root, path, &unit);
        if (r >= 0)
                r = note_read(root, path, &note);
        if (r >= 0)
                r = cgroup_read(root, path, limits[limit].file, &found);
        if (r < 0)
                return r;
        if (!is_ours(&note, limit, found))
                note.had[limit] = found;
        if (limit != LIMIT_HIGH && bytes < note.had[limit])
                bytes = note.had[limit]; /* an operator's protection is never lowered, nor a limit of theirs raised */
        if (limit == LIMIT_HIGH && bytes > note.had[limit])
                bytes = note.had[limit];
        if (bytes == found && (!unit || !note.given[limit] || note.now[limit] == bytes))
                return 0; /* and systemd has nothing else in hand */
        note.last[limit] = note.given[limit] && (found == note.had[limit] || found == bytes) ? note.now[limit] : found;
        note.given[limit] = true;
        note.now[limit] = bytes;
        r = note_write(root, path, &note);
        return r < 0 ? r : set(root, path, limit, bytes);
}

/* Where systemd was asked, a group that has its value of before may only not have the given one yet. */
static int give_back(const char *root, const char *path) {
        char name[2 * CGROUP_PATH_LEN];
        const char *unit;
        struct note note;
        int r, worst = 0;

        r = cgroup_unit(root, path, &unit);
        if (r == -EPERM)
                return 0; /* so it was never given anything */
        if (r >= 0)
                r = note_read(root, path, &note);
        if (r <= 0)
                return r == -ENOENT || r == -EOPNOTSUPP ? 0 : r;
        for (enum limit limit = 0; limit < LIMITS; limit++) {
                uint64_t found;

                if (!note.given[limit] || cgroup_read(root, path, limits[limit].file, &found) < 0 ||
                    !is_ours(&note, limit, found) || (found == note.had[limit] && !unit))
                        continue;
                r = set(root, path, limit, note.had[limit]);
                if (r < 0)
                        worst = r;
        }
        snprintf(name, sizeof(name), "%s%s", root, path);
        if (worst >= 0 && removexattr(name, NOTE) < 0)
                worst = -errno;
        return worst < 0 && worst != -ENOENT ? worst : 1;
}

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
        while (path[0] && !cgroup_has(root, path, limits[LIMIT_LOW].file))
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
static uint64_t sum_children(const char *root, const char *path, const char *ours, enum limit limit) {
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
                struct note note;

                if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
                    (size_t) snprintf(child, sizeof(child), "%s/%s", path, e->d_name) >= sizeof(child) ||
                    cgroup_read(root, child, limits[limit].file, &bytes) < 0)
                        continue;
                if (strcmp(child, ours) != 0 && note_read(root, child, &note) >= 0 && !is_ours(&note, limit, bytes) &&
                    cgroup_read(root, child, "memory.current", &current) >= 0 && bytes > current)
                        bytes = current;
                sum = sum + bytes < sum ? CGROUP_NO_LIMIT : sum + bytes;
        }
        if (dir)
                closedir(dir);
        return round_up(sum);
}

/* Protects a VM from its leaf to the top. The lowest value on the way is what counts. */
static int protect_by(const char *root, const struct cgroup_vm *vm, enum limit limit, uint64_t bytes,
                      uint64_t *ret_bytes, char ret_capped_by[CGROUP_PATH_LEN]) {
        char path[CGROUP_PATH_LEN], below[CGROUP_PATH_LEN];
        uint64_t need = bytes, effective = bytes, found;
        int r;

        ret_capped_by[0] = '\0';
        memcpy(path, vm->leaf, sizeof(path));
        do {
                bool own = strcmp(path, vm->group) == 0;

                r = give(root, path, limit, need);
                if (r < 0 && own)
                        return r;
                r = cgroup_read(root, path, limits[limit].file, &found);
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
        _cleanup_close_ int held = lock(lock_path);
        char capped_by[CGROUP_PATH_LEN];
        uint64_t min;
        int r;

        if (held < 0)
                return held;
        r = protect_by(root, vm, LIMIT_LOW, round_up(share->low_bytes), &finding->low_bytes, finding->capped_by);
        return r < 0 ? r : protect_by(root, vm, LIMIT_MIN, round_up(share->min_bytes), &min, capped_by);
}

/* Has what is above a limit somewhere to go, as far as groups say? */
static bool may_swap(const char *root, const char *group) {
        char path[CGROUP_PATH_LEN];
        uint64_t bytes;

        memcpy(path, group, sizeof(path));
        do
                if (cgroup_read(root, path, "memory.swap.max", &bytes) >= 0 && bytes < MIB)
                        return false;
        while (cgroup_parent(path) && path[0]);
        return true;
}

/* What is above the limit goes to the swap. Done here, and not left to who writes memory.high: for a scope that is
 * systemd, which would have to wait for the swap. */
static void reclaim(const char *root, const char *group, uint64_t high_bytes, int asker_fd) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + RECLAIM_USEC;
        uint64_t current = 0;

        while (cgroup_read(root, group, "memory.current", &current) >= 0 && current > high_bytes &&
               clock_usec(CLOCK_MONOTONIC) < until && !cgroup_asker_is_gone(asker_fd)) {
                uint64_t more = current - high_bytes < RECLAIM_BYTES ? current - high_bytes : RECLAIM_BYTES;

                if (cgroup_write(root, group, "memory.reclaim", more) < 0)
                        break;
        }
}

/* With the lock held: a limit that holds nobody up. What is in use now has not been taken back, because it cannot be
 * (locked, no swap left) or not so soon: a limit below it, or right at it, would stop QEMU at each page. Where systemd
 * is to write it, it grows meanwhile. */
static int bearable(const char *root, const char *group, uint64_t *high_bytes) {
        uint64_t current, room;
        const char *unit;
        int r;

        if (*high_bytes == CGROUP_NO_LIMIT)
                return 0;
        r = cgroup_unit(root, group, &unit);
        if (r >= 0)
                r = cgroup_read(root, group, "memory.current", &current);
        if (r < 0)
                return r;
        room = current / 16 > ROOM_BYTES ? current / 16 : ROOM_BYTES;
        if (unit ? current + room > *high_bytes : current > *high_bytes + MIB)
                *high_bytes = current + room;
        return 0;
}

/* On the leaf: where libvirt has its own groups in a VM's scope, that is none of systemd's. */
static int bound(const char *root, const char *lock_path, const struct cgroup_vm *vm, uint64_t high_bytes,
                 int asker_fd, uint64_t *ret_bytes) {
        _cleanup_close_ int held = -1;
        uint64_t found, lowest;
        char path[CGROUP_PATH_LEN];
        int r;

        if (!may_swap(root, vm->leaf))
                high_bytes = CGROUP_NO_LIMIT;
        if (high_bytes != CGROUP_NO_LIMIT)
                reclaim(root, vm->leaf, high_bytes, asker_fd);
        held = lock(lock_path);
        if (held < 0)
                return held;
        if (cgroup_asker_is_gone(asker_fd))
                return -ECANCELED;
        r = bearable(root, vm->leaf, &high_bytes);
        if (r >= 0)
                r = give(root, vm->leaf, LIMIT_HIGH, round_up(high_bytes));
        if (r >= 0)
                r = cgroup_read(root, vm->leaf, limits[LIMIT_HIGH].file, &lowest);
        memcpy(path, vm->leaf, sizeof(path));
        while (r >= 0 && strcmp(path, vm->group) != 0 && cgroup_parent(path)) {
                r = cgroup_read(root, path, limits[LIMIT_HIGH].file, &found);
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

        memcpy(path, group, sizeof(path));
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

bool cgroup_asker_is_gone(int fd) {
        struct pollfd asker = { .fd = fd };

        return fd >= 0 && poll(&asker, 1, 0) > 0 && (asker.revents & (POLLHUP | POLLERR));
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
static int walk(const char *root, const char *path, unsigned depth, int *n) {
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
                r = walk(root, child, depth + 1, n);
                if (r < 0)
                        worst = r;
        }
        closedir(dir);
        r = path[0] ? give_back(root, path) : 0;
        *n += r > 0;
        return r < 0 ? r : worst;
}

int cgroup_memory_give_back(const char *root, const char *lock_path) {
        _cleanup_close_ int held = lock(lock_path);
        int n = 0, r;

        if (held < 0)
                return held;
        r = walk(root, "", 0, &n);
        return r < 0 ? r : n;
}
