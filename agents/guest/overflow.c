/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/overflow.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "agents/guest/log.h"
#include "agents/guest/memory.h"
#include "agents/guest/supervisor.h"
#include "agents/guest/swap.h"
#include "daemon/base/cleanup.h"

#define LOOK_USEC USEC_PER_SEC
#define CALM_USEC (5 * USEC_PER_SEC)   /* memory has to suffice for so long before pages come home */
#define AGAIN_USEC (30 * USEC_PER_SEC) /* after a step that failed */
#define LEAVE_USEC (10 * USEC_PER_SEC) /* the host wants a disk back for so long after it last said so */

static inline void closedirp(DIR **dir) {
        if (*dir)
                closedir(*dir);
}

/* What is left to the guest beside the pages that come home. */
static uint64_t margin(uint64_t total_bytes) {
        return total_bytes / 8 + 8 * MIB;
}

enum overflow_step overflow_decide(struct overflow_disk *disk, const struct overflow_sight *sight, usec_t now_usec) {
        bool enough = sight->available_bytes >= sight->used_bytes + margin(sight->total_bytes);
        bool leave = disk->leave_usec > 0 && now_usec < disk->leave_usec + LEAVE_USEC;

        if (sight->coming_home)
                return sight->available_bytes < margin(sight->total_bytes) / 2 ? OVERFLOW_STOP : OVERFLOW_NOTHING;
        if (disk->failed_usec > 0 && now_usec < disk->failed_usec + AGAIN_USEC)
                return OVERFLOW_NOTHING;
        if (leave)
                return enough && !disk->left ? OVERFLOW_LEAVE : OVERFLOW_NOTHING;
        disk->left = false;
        if (!sight->on)
                return OVERFLOW_ON;
        if (!enough || sight->used_bytes == 0)
                disk->enough_usec = 0;
        else if (disk->enough_usec == 0)
                disk->enough_usec = now_usec;
        return disk->enough_usec > 0 && now_usec >= disk->enough_usec + CALM_USEC ? OVERFLOW_HOME : OVERFLOW_NOTHING;
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

static int run(void *userdata) {
        const struct overflow *overflow = userdata;
        char path[64];
        int r = 0;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(path, sizeof(path), "/dev/%s", overflow->disks[overflow->busy].name);
        if (overflow->step != OVERFLOW_ON)
                r = swap_off(path);
        if (overflow->step == OVERFLOW_LEAVE && (r == 0 || r == -EINVAL)) /* it was not on */
                r = swap_erase(path);
        else if (r == 0 && overflow->step == OVERFLOW_ON)
                r = swap_prepare(path);
        if (r == 0 && overflow->step != OVERFLOW_LEAVE)
                r = swap_on(path);
        _exit(-r); /* the agent shall know why */
}

/* ---- in the agent ---------------------------------------------------------------------------------------- */

static const char *words_of(enum overflow_step step) {
        return step == OVERFLOW_ON ? "cannot be used as swap" : "its pages cannot be brought home";
}

static void finish(struct overflow *overflow, int r) {
        struct overflow_disk *disk = &overflow->disks[overflow->busy];

        overflow->busy = -1;
        disk->enough_usec = 0;
        disk->failed_usec = r < 0 ? loop_now() : 0;
        disk->left = r == 0 && overflow->step == OVERFLOW_LEAVE;
        if (r == -EEXIST)
                log_warning("overflow disk %s: something else is on it, so it is left alone", disk->name);
        else if (r < 0)
                log_warning("overflow disk %s: %s: %s", disk->name, words_of(overflow->step), strerror(-r));
        else if (overflow->step == OVERFLOW_ON)
                log_notice("overflow disk %s: pages go there when memory runs short", disk->name);
        else if (overflow->step == OVERFLOW_LEAVE)
                log_notice("overflow disk %s: let go of, as the host wants", disk->name);
        else
                log_notice("overflow disk %s: memory suffices again, its pages are home", disk->name);
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

static void begin(struct overflow *overflow, size_t disk, enum overflow_step step) {
        const struct process_options options = { .function = run, .function_userdata = overflow, .node = -1 };
        int r;

        overflow->busy = (int) disk;
        overflow->step = step;
        r = process_spawn(&overflow->process, &options);
        if (r < 0)
                finish(overflow, r);
}

static void look_at(struct overflow *overflow, size_t i) {
        struct overflow_disk *disk = &overflow->disks[i];
        struct overflow_sight sight = { .coming_home = overflow->busy == (int) i && overflow->step != OVERFLOW_ON };
        const char *proc_dir = overflow->paths->proc_dir;
        int on = swap_used(proc_dir, disk->name, &sight.used_bytes);
        enum overflow_step step;

        if (on < 0 || memory_total(proc_dir, &sight.total_bytes) < 0 ||
            memory_available(proc_dir, &sight.available_bytes) < 0)
                return;
        if (overflow->busy >= 0 && !sight.coming_home)
                return;
        sight.on = on > 0;
        step = overflow_decide(disk, &sight, loop_now());
        if (step == OVERFLOW_STOP)
                process_signal(&overflow->process, SIGKILL);
        else if (step != OVERFLOW_NOTHING)
                begin(overflow, i, step);
}

/* Notes which disks there are. None is forgotten while a process is at one. */
static void find(struct overflow *overflow) {
        char names[OVERFLOW_DISKS_MAX][OVERFLOW_NAME_LEN];
        struct overflow_disk disks[OVERFLOW_DISKS_MAX] = { 0 };
        int n = overflow->busy < 0 ? overflow_find(overflow->paths->sys_dir, names) : -EBUSY;

        if (n < 0)
                return;
        for (int i = 0; i < n; i++) {
                strcpy(disks[i].name, names[i]);
                for (size_t k = 0; k < overflow->n_disks; k++)
                        if (strcmp(overflow->disks[k].name, names[i]) == 0)
                                disks[i] = overflow->disks[k];
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

void overflow_let_go(struct overflow *overflow, const char *serial) {
        char found[64];

        for (size_t i = 0; overflow->loop && i < overflow->n_disks; i++)
                if (file_read(found, sizeof(found), "%s/block/%s/serial", overflow->paths->sys_dir,
                              overflow->disks[i].name) >= 0 &&
                    strncmp(found, serial, strlen(serial)) == 0 && (found[strlen(serial)] | '\n') == '\n')
                        overflow->disks[i].leave_usec = loop_now();
}

void overflow_deinit(struct overflow *overflow) {
        if (!overflow->loop)
                return;
        loop_disarm(overflow->loop, &overflow->timer);
        process_kill(&overflow->process);
        overflow->loop = NULL;
}
