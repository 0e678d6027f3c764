/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/memory/cgroup-limit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/units.h"

#define NOTE "user.failoverd.memory"
#define LOCK_USEC (3 * USEC_PER_SEC)
#define UNIT_USEC (3 * USEC_PER_SEC)

static const char *const cgroup_limit_table[] = {
        [CGROUP_LIMIT_MIN] = "memory.min",
        [CGROUP_LIMIT_LOW] = "memory.low",
        [CGROUP_LIMIT_HIGH] = "memory.high",
        [CGROUP_LIMIT_HARD] = "memory.max",
};
DEFINE_ENUM_TABLE(cgroup_limit, cgroup_limit_table)

/* systemd's names of the same. */
static const char *const properties[] = {
        [CGROUP_LIMIT_MIN] = "MemoryMin",
        [CGROUP_LIMIT_LOW] = "MemoryLow",
        [CGROUP_LIMIT_HIGH] = "MemoryHigh",
        [CGROUP_LIMIT_HARD] = "MemoryMax",
};

/* What a group had, and what it was given: the last value, and the one before that, in case that is not there yet. */
struct note {
        bool given[CGROUP_LIMIT_MAX];
        uint64_t had[CGROUP_LIMIT_MAX], last[CGROUP_LIMIT_MAX], now[CGROUP_LIMIT_MAX];
};

/* Groups above are common to many VMs, and several may be asked for at once. Not a lock on the tree itself, which
 * everybody can open, and so lock: on a file that nobody else can open. */
int cgroup_lock(const char *path) {
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
        for (unsigned i = 0; i < CGROUP_LIMIT_MAX && *at; i++) { /* an older failoverd's has fewer */
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
        for (unsigned i = 0; i < CGROUP_LIMIT_MAX; i++)
                n += (size_t) snprintf(text + n, sizeof(text) - n, "%d %" PRIu64 " %" PRIu64 " %" PRIu64 " ",
                                       note->given[i], note->had[i], note->last[i], note->now[i]);
        snprintf(name, sizeof(name), "%s%s", root, path);
        return setxattr(name, NOTE, text, n, 0) < 0 ? -errno : 0;
}

static bool is_ours(const struct note *note, enum cgroup_limit limit, uint64_t value) {
        return note->given[limit] &&
               (value == note->now[limit] || value == note->last[limit] || value == note->had[limit]);
}

bool cgroup_limit_is_given(const char *root, const char *path, enum cgroup_limit limit, uint64_t bytes) {
        struct note note;

        return note_read(root, path, &note) >= 0 && is_ours(&note, limit, bytes);
}

/* ---- one group ------------------------------------------------------------------------------------------ */

uint64_t cgroup_limit_round(uint64_t bytes) {
        return bytes > CGROUP_NO_LIMIT - MIB ? CGROUP_NO_LIMIT : (bytes + MIB - 1) / MIB * MIB;
}

/* systemd answers before it has done it. */
static int set(const char *root, const char *path, enum cgroup_limit limit, uint64_t bytes) {
        usec_t until = clock_usec(CLOCK_MONOTONIC) + UNIT_USEC;
        uint64_t found = bytes;
        const char *unit;
        int r;

        r = cgroup_unit(root, path, &unit);
        if (r < 0)
                return r;
        if (!unit)
                return cgroup_write(root, path, cgroup_limit_to_string(limit), bytes);
        r = cgroup_set_unit(unit, properties[limit], bytes);
        while (r >= 0) {
                r = cgroup_read(root, path, cgroup_limit_to_string(limit), &found);
                if (r < 0 || found == bytes)
                        break;
                if (clock_usec(CLOCK_MONOTONIC) > until)
                        return -ETIMEDOUT;
                poll(NULL, 0, 5);
        }
        return r;
}

static bool protects(enum cgroup_limit limit) {
        return limit == CGROUP_LIMIT_MIN || limit == CGROUP_LIMIT_LOW;
}

/* The note first: what is not noted is not changed. */
int cgroup_limit_give(const char *root, const char *path, enum cgroup_limit limit, uint64_t bytes) {
        struct note note;
        const char *unit;
        uint64_t found;
        int r;

        r = cgroup_unit(root, path, &unit);
        if (r >= 0)
                r = note_read(root, path, &note);
        if (r >= 0)
                r = cgroup_read(root, path, cgroup_limit_to_string(limit), &found);
        if (r < 0)
                return r;
        if (!is_ours(&note, limit, found))
                note.had[limit] = found;
        if (protects(limit) ? bytes < note.had[limit] : bytes > note.had[limit])
                bytes = note.had[limit]; /* an operator's protection is never lowered, nor a limit of theirs raised */
        if (bytes == found && (!unit || !note.given[limit] || note.now[limit] == bytes))
                return 0; /* and systemd has nothing else in hand */
        note.last[limit] = note.given[limit] && (found == note.had[limit] || found == bytes) ? note.now[limit] : found;
        note.given[limit] = true;
        note.now[limit] = bytes;
        r = note_write(root, path, &note);
        return r < 0 ? r : set(root, path, limit, bytes);
}

/* Where systemd was asked, a group that has its value of before may only not have the given one yet. */
static int give_one_back(const char *root, const char *path, enum cgroup_limit limit, const char *unit,
                         struct note *note) {
        uint64_t found;
        int r;

        if (cgroup_read(root, path, cgroup_limit_to_string(limit), &found) < 0 || !is_ours(note, limit, found) ||
            (found == note->had[limit] && !unit))
                r = 0;
        else
                r = set(root, path, limit, note->had[limit]);
        if (r >= 0)
                note->given[limit] = false;
        return r;
}

static bool is_empty(const struct note *note) {
        for (enum cgroup_limit limit = 0; limit < CGROUP_LIMIT_MAX; limit++)
                if (note->given[limit])
                        return false;
        return true;
}

int cgroup_limits_give_back(const char *root, const char *path, bool hard) {
        char name[2 * CGROUP_PATH_LEN];
        bool any = false;
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
        for (enum cgroup_limit limit = 0; limit < CGROUP_LIMIT_MAX; limit++) {
                if (!note.given[limit] || (limit == CGROUP_LIMIT_HARD && !hard))
                        continue;
                any = true;
                r = give_one_back(root, path, limit, unit, &note);
                if (r < 0)
                        worst = r;
        }
        snprintf(name, sizeof(name), "%s%s", root, path);
        if (any && is_empty(&note) && removexattr(name, NOTE) < 0)
                worst = -errno;
        else if (any && !is_empty(&note) && worst >= 0)
                worst = note_write(root, path, &note);
        return worst < 0 && worst != -ENOENT ? worst : any;
}
