/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/overflow.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "agents/guest/log.h"
#include "agents/guest/memory.h"
#include "agents/guest/supervisor.h"
#include "agents/guest/swap.h"
#include "daemon/base/cleanup.h"

#define LOOK_USEC USEC_PER_SEC
#define SECTOR_BYTES 512
#define LOCK_EVERY_MSEC 20
#define LOCK_TRIES 250

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

int overflow_find(const char *sys_dir, char ret_names[OVERFLOW_DISKS_MAX][OVERFLOW_NAME_LEN]) {
        _cleanup_(closedirp) DIR *dir = NULL;
        char path[PATH_LENGTH], serial[64];
        struct dirent *entry;
        int n = 0;

        snprintf(path, sizeof(path), "%s/block", sys_dir);
        dir = opendir(path);
        if (!dir)
                return errno == ENOENT ? 0 : -errno;
        while (n < OVERFLOW_DISKS_MAX && (entry = readdir(dir))) {
                if (entry->d_name[0] == '.' || strlen(entry->d_name) >= OVERFLOW_NAME_LEN ||
                    file_read(serial, sizeof(serial), "%s/%s/serial", path, entry->d_name) < 0 ||
                    strncmp(serial, OVERFLOW_SERIAL, strlen(OVERFLOW_SERIAL)) != 0)
                        continue;
                strcpy(ret_names[n++], entry->d_name);
        }
        return n;
}

/* ---- in the process of its own --------------------------------------------------------------------------- */

/* Others hold it for moments, as udev does to look at a disk. -EBUSY: somebody keeps it. */
static int take_lock(int fd) {
        for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
                if (errno != EWOULDBLOCK)
                        return -errno;
                if (tries == LOCK_TRIES)
                        return -EBUSY;
                poll(NULL, 0, LOCK_EVERY_MSEC);
        }
        return 0;
}

/* The lock keeps udev from having the kernel read the disk's table anew, by which it would be divided no more, until a
 * slice is in use. */
static int work(const struct overflow_disk *disk, const struct overflow_slice *slice, enum overflow_step step) {
        uint64_t sizes[OVERFLOW_SLICES_MAX];
        char whole[64], path[64];
        _cleanup_close_ int lock = -1;
        int r = 0;

        snprintf(whole, sizeof(whole), "/dev/%s", disk->name);
        snprintf(path, sizeof(path), "/dev/%s", slice->name);
        lock = open(whole, O_RDONLY | O_CLOEXEC);
        if (lock < 0)
                return -errno;
        r = take_lock(lock);
        if (r < 0)
                return r;
        for (unsigned i = 0; i < disk->n_slices; i++)
                sizes[i] = disk->slices[i].size_bytes;
        if (step == OVERFLOW_LEAVE)
                return swap_erase(whole);
        if (step == OVERFLOW_ON && disk->n_slices > 1 && access(path, F_OK) < 0)
                r = swap_divide(whole, sizes, disk->n_slices);
        if (r == 0 && step == OVERFLOW_ON)
                r = swap_prepare(path, disk->n_slices > 1);
        if (r == 0 && step != OVERFLOW_ON)
                r = swap_off(path);
        if (r == 0 && (step == OVERFLOW_ON || step == OVERFLOW_HOME))
                r = swap_on(path);
        return r;
}

static int run(void *userdata) {
        const struct overflow *overflow = userdata;
        const struct overflow_disk *disk = &overflow->disks[overflow->busy];

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(-work(disk, &disk->slices[overflow->slice], overflow->step)); /* the agent shall know why */
}

/* ---- in the agent ---------------------------------------------------------------------------------------- */

static const char *words_of(enum overflow_step step) {
        return step == OVERFLOW_ON ? "cannot be used as swap" : "its pages cannot be brought home";
}

static void tell_done(const struct overflow_disk *disk, const struct overflow_slice *slice, enum overflow_step step) {
        char room[UNITS_TEXT_MAX];

        if (step == OVERFLOW_ON)
                log_notice("overflow disk %s: pages go there when memory runs short", slice->name);
        else if (step == OVERFLOW_WITHDRAW)
                log_warning("overflow disk %s: switched off: memory servers have room for %s of %s alone", slice->name,
                            size_format(room, disk->room_bytes / MIB * MIB), disk->name);
        else if (step == OVERFLOW_LEAVE)
                log_notice("overflow disk %s: let go of, as the host wants", disk->name);
        else if (step == OVERFLOW_HOME)
                log_notice("overflow disk %s: memory suffices again, its pages are home", slice->name);
}

static void tell_failed(const struct overflow_slice *slice, enum overflow_step step, int r) {
        if (r == -EEXIST)
                log_warning("overflow disk %s: something else is on it, so it is left alone", slice->name);
        else
                log_warning("overflow disk %s: %s: %s", slice->name, words_of(step), strerror(-r));
}

/* Memory that has run short (-EINTR), and the disk as a whole, concern all slices; anything else this one alone. */
static void note_end(struct overflow_disk *disk, struct overflow_slice *slice, enum overflow_step step, int r) {
        const bool whole = r == -EINTR || step == OVERFLOW_LEAVE;

        disk->failed_usec = r < 0 && whole ? loop_now() : 0;
        slice->failed_usec = r < 0 && !whole ? loop_now() : 0;
}

static bool is_indivisible(const struct overflow_disk *disk, enum overflow_step step, int r) {
        return step == OVERFLOW_ON && disk->n_slices > 1 && !overflow_is_on(disk) &&
               (r == -ENOTTY || r == -EINVAL || r == -EOPNOTSUPP || r == -ENXIO || r == -ENOENT);
}

static void finish(struct overflow *overflow, int r) {
        struct overflow_disk *disk = &overflow->disks[overflow->busy];
        struct overflow_slice *slice = &disk->slices[overflow->slice];
        enum overflow_step step = overflow->step;

        overflow->busy = -1;
        if (r < 0 || step != OVERFLOW_HOME)
                disk->enough_usec = disk->n_home = 0;
        note_end(disk, slice, step, r);
        disk->left = r == 0 && step == OVERFLOW_LEAVE;
        if (r == 0)
                slice->withdrawn = step == OVERFLOW_WITHDRAW;
        if (r == 0)
                tell_done(disk, slice, step);
        else if (r != slice->failure)
                tell_failed(slice, step, r);
        slice->failure = r;
        if (is_indivisible(disk, step, r))
                overflow_divide(disk, disk->size_bytes, true);
        if (r == 0)
                loop_arm(overflow->loop, &overflow->timer, loop_now()); /* what is next of it */
}

static void on_failed(void *userdata, int error) {
        finish(userdata, error);
}

static void on_exited(void *userdata, const struct process_exit *end) {
        if (!end->known)
                finish(userdata, -ECHILD);
        else
                finish(userdata, end->signaled ? -EINTR : -end->status);
}

static void begin(struct overflow *overflow, size_t disk, unsigned slice, enum overflow_step step) {
        const struct process_options options = { .function = run, .function_userdata = overflow, .node = -1 };
        int r;

        overflow->busy = (int) disk;
        overflow->slice = slice;
        overflow->step = step;
        r = process_spawn(&overflow->process, &options);
        if (r < 0)
                finish(overflow, r);
}

static int see(const struct overflow *overflow, struct overflow_disk *disk, struct overflow_sight *ret) {
        const char *proc_dir = overflow->paths->proc_dir;
        int r = 0;

        for (unsigned i = 0; i < disk->n_slices && r >= 0; i++) {
                r = swap_used(proc_dir, disk->slices[i].name, &disk->slices[i].used_bytes);
                disk->slices[i].on = r > 0;
        }
        if (r >= 0)
                r = memory_total(proc_dir, &ret->total_bytes);
        return r < 0 ? r : memory_available(proc_dir, &ret->available_bytes);
}

static void look_at(struct overflow *overflow, size_t i) {
        struct overflow_disk *disk = &overflow->disks[i];
        struct overflow_sight sight = { .coming_home = overflow->busy == (int) i && overflow->step != OVERFLOW_ON };
        enum overflow_step step;
        unsigned slice = 0;

        if (see(overflow, disk, &sight) < 0 || (overflow->busy >= 0 && !sight.coming_home))
                return;
        step = overflow_decide(disk, &sight, loop_now(), &slice);
        if (step == OVERFLOW_STOP)
                process_signal(&overflow->process, SIGKILL);
        else if (step != OVERFLOW_NOTHING)
                begin(overflow, i, slice, step);
}

static bool is_divided(const struct paths *paths, const struct overflow_disk *disk) {
        struct overflow_disk divided = *disk;
        char number[16];

        overflow_divide(&divided, UINT64_MAX, false);
        return file_read(number, sizeof(number), "%s/block/%s/%s/partition", paths->sys_dir, disk->name,
                         divided.slices[0].name) >= 0;
}

/* A disk that has just come, or that an earlier agent knew: then it stays as that one had it. */
static void note_disk(const struct overflow *overflow, const char *name, int n_others, struct overflow_disk *ret) {
        const struct paths *paths = overflow->paths;
        char sectors[32];
        uint64_t size_bytes = 0, used;

        *ret = (struct overflow_disk) { .room_bytes = UINT64_MAX };
        strcpy(ret->name, name);
        if (file_read(sectors, sizeof(sectors), "%s/block/%s/size", paths->sys_dir, name) > 0)
                size_bytes = strtoull(sectors, NULL, 10) * SECTOR_BYTES;
        overflow_divide(ret, size_bytes, !is_divided(paths, ret) && (n_others >= OVERFLOW_DIVIDED_MAX ||
                                                                  swap_used(paths->proc_dir, name, &used) > 0));
}

/* Notes which disks there are. None is forgotten while a process is at one. */
static void find(struct overflow *overflow) {
        char names[OVERFLOW_DISKS_MAX][OVERFLOW_NAME_LEN];
        struct overflow_disk disks[OVERFLOW_DISKS_MAX] = { 0 };
        int n = overflow->busy < 0 ? overflow_find(overflow->paths->sys_dir, names) : -EBUSY;

        if (n < 0)
                return;
        for (int i = 0; i < n; i++) {
                size_t k = 0;

                while (k < overflow->n_disks && strcmp(overflow->disks[k].name, names[i]) != 0)
                        k++;
                if (k < overflow->n_disks)
                        disks[i] = overflow->disks[k];
                else
                        note_disk(overflow, names[i], n - 1, &disks[i]);
        }
        memcpy(overflow->disks, disks, sizeof(disks));
        overflow->n_disks = (size_t) n;
}

static void on_look(void *userdata) {
        struct overflow *overflow = userdata;

        find(overflow);
        for (size_t i = 0; i < overflow->n_disks; i++)
                look_at(overflow, i);
        loop_arm(overflow->loop, &overflow->timer, loop_now() + LOOK_USEC);
}

void overflow_init(struct overflow *overflow, struct process_table *table, const struct paths *paths) {
        const struct process_handler handler = { NULL, on_failed, on_exited, overflow };

        *overflow = (struct overflow) { .loop = table->loop, .paths = paths, .busy = -1,
                                        .timer = { 0, on_look, overflow, NULL } };
        process_init(&overflow->process, table, &handler);
        loop_arm(overflow->loop, &overflow->timer, loop_now());
}

void overflow_look_soon(struct overflow *overflow) {
        if (overflow->loop)
                loop_arm(overflow->loop, &overflow->timer, loop_now());
}

static struct overflow_disk *find_serial(struct overflow *overflow, const char *serial) {
        char found[64];

        for (size_t i = 0; overflow->loop && i < overflow->n_disks; i++)
                if (file_read(found, sizeof(found), "%s/block/%s/serial", overflow->paths->sys_dir,
                              overflow->disks[i].name) >= 0 &&
                    strncmp(found, serial, strlen(serial)) == 0 && (found[strlen(serial)] | '\n') == '\n')
                        return &overflow->disks[i];
        return NULL;
}

void overflow_let_go(struct overflow *overflow, const char *serial) {
        struct overflow_disk *disk = find_serial(overflow, serial);

        if (disk)
                disk->leave_usec = loop_now();
}

void overflow_note_room(struct overflow *overflow, const char *serial, uint64_t bytes) {
        struct overflow_disk *disk = find_serial(overflow, serial);

        if (disk)
                disk->room_bytes = bytes;
}

void overflow_deinit(struct overflow *overflow) {
        if (!overflow->loop)
                return;
        loop_disarm(overflow->loop, &overflow->timer);
        process_kill(&overflow->process);
        overflow->loop = NULL;
}
