/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/records/evidence.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/clock.h"
#include "daemon/base/thread.h"
#include "daemon/base/whole.h"

/* What the three files may hold adds up to EVIDENCE_BYTES_MAX. */
#define CONSOLE_BYTES (32 * 1024)
#define MESSAGES_BYTES (20 * 1024)
#define PROCESS_BYTES (12 * 1024)
#define PIECE_BYTES 2048 /* of one file under /proc */
#define TASKS_MAX 32
#define ENTRIES_MAX 4096 /* looked at when removing */
#define WAIT_SEC 2

_Static_assert(CONSOLE_BYTES + MESSAGES_BYTES + PROCESS_BYTES <= EVIDENCE_BYTES_MAX, "evidence is bounded");

DEFINE_CLEANUP(DIR *, closedir)

/* A file in the making. */
struct text {
        char *bytes;
        size_t n, max;
};

static void append(struct text *text, const char *bytes, size_t n) {
        if (n > text->max - text->n)
                n = text->max - text->n;
        for (size_t i = 0; i < n; i++) { /* a guest's bytes must not drive the reader's terminal */
                unsigned char c = (unsigned char) bytes[i];
                text->bytes[text->n++] = (c < 0x20 && c != '\n' && c != '\t') || c >= 0x7f ? '?' : (char) c;
        }
}

__attribute__((format(printf, 2, 3))) static void append_line(struct text *text, const char *format, ...) {
        char line[256];
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(line, sizeof(line), format, ap);
        va_end(ap);
        if (n > 0)
                append(text, line, strlen(line));
}

static void save(int dir_fd, const char *name, enum side side, const struct text *text) {
        _cleanup_close_ int fd = -1;
        char file[32];

        snprintf(file, sizeof(file), "%s-%s", name, side_to_string(side) ?: "x");
        fd = openat(dir_fd, file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd >= 0) /* a full disk: there is nobody to tell who would not know */
                (void) whole_write(fd, text->bytes, text->n);
}

static void take_console(const char *path, struct text *text) {
        /* Where it is no log but a terminal or a pipe, opening it must not wait. */
        _cleanup_close_ int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        _cleanup_free_ char *bytes = malloc(CONSOLE_BYTES);
        struct stat st;
        ssize_t n;

        if (fd < 0 || !bytes || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
                append_line(text, "%s: cannot be read: %s\n", path,
                            fd < 0 ? strerror(errno) : "it is no regular file");
                return;
        }
        n = pread(fd, bytes, CONSOLE_BYTES, st.st_size > CONSOLE_BYTES ? st.st_size - CONSOLE_BYTES : 0);
        if (n < 0)
                append_line(text, "%s: cannot be read: %s\n", path, strerror(errno));
        else
                append(text, bytes, (size_t) n);
}

static void take_proc(const char *directory, const char *name, struct text *text) {
        _cleanup_close_ int fd = -1;
        char path[128], bytes[PIECE_BYTES];
        ssize_t n;

        snprintf(path, sizeof(path), "%s/%s", directory, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes));
        if (n < 0) {
                append_line(text, "%s: %s\n", path, strerror(errno));
                return;
        }
        append_line(text, "%s: ", path);
        append(text, bytes, (size_t) n);
        if (n == 0 || bytes[n - 1] != '\n')
                append(text, "\n", 1);
}

/* A thread's /proc/.../stat in words, where it is one of the guest's processors ("CPU 0/KVM"). */
static void take_processor(const char *task, struct text *text) {
        unsigned long long user, system;
        char path[160], bytes[PIECE_BYTES], name[32], state;
        _cleanup_close_ int fd = -1;
        const char *end;
        ssize_t n;

        snprintf(path, sizeof(path), "%s/stat", task);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        n = fd < 0 ? -1 : read(fd, bytes, sizeof(bytes) - 1);
        if (n <= 0)
                return;
        bytes[n] = '\0';
        end = strrchr(bytes, ')');
        if (!end || sscanf(bytes, "%*d (CPU %31[^)]", name) != 1 ||
            sscanf(end, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &state, &user, &system) != 3)
                return;
        append_line(text, "processor %s: %c, has used %llu.%02llu s\n", name, state, (user + system) / 100,
                    (user + system) % 100);
}

/* QEMU's processors are threads: what each was doing tells a hang from a stall of the host. */
static void take_process(int pid, struct text *text) {
        _cleanup_(closedirp) DIR *tasks = NULL;
        char directory[64], task[128];
        struct dirent *entry;

        snprintf(directory, sizeof(directory), "/proc/%d", pid);
        take_proc(directory, "stat", text);
        take_proc(directory, "wchan", text);
        take_proc(directory, "status", text);
        snprintf(directory, sizeof(directory), "/proc/%d/task", pid);
        tasks = opendir(directory);
        for (unsigned n = 0; tasks && n < TASKS_MAX && (entry = readdir(tasks));) {
                if (entry->d_name[0] == '.')
                        continue;
                n++;
                snprintf(task, sizeof(task), "%s/%.16s", directory, entry->d_name);
                take_processor(task, text);
                take_proc(task, "stat", text);
                take_proc(task, "wchan", text);
        }
}

static void write_files(int dir_fd, const struct evidence_request *request, char *buffer) {
        struct text text = { .bytes = buffer, .max = PROCESS_BYTES };

        /* What goes first goes first. */
        if (request->pid > 0) {
                take_process(request->pid, &text);
                save(dir_fd, "process", request->side, &text);
        }
        if (request->messages) {
                text = (struct text) { .bytes = buffer, .max = MESSAGES_BYTES };
                append(&text, request->messages, strlen(request->messages));
                save(dir_fd, "messages", request->side, &text);
        }
        if (request->console_path) {
                text = (struct text) { .bytes = buffer, .max = CONSOLE_BYTES };
                take_console(request->console_path, &text);
                save(dir_fd, "console", request->side, &text);
        }
}

/* Copies a part of a recording. False where that is not to be had as a whole. */
static bool copy_part(int fd, const struct event_ring_part *part, char *buffer) {
        for (uint64_t at = 0; at < part->bytes;) {
                uint64_t left = part->bytes - at;
                ssize_t n = pread(part->fd, buffer, left < CONSOLE_BYTES ? left : CONSOLE_BYTES, (off_t) at);

                if (n <= 0 || write(fd, buffer, (size_t) n) != n)
                        return false;
                at += (uint64_t) n;
        }
        return true;
}

/* A recording takes the place of a shorter one of the same failover. */
static void write_events(int dir_fd, const struct evidence_request *request, char *buffer) {
        _cleanup_close_ int fd = -1;
        struct stat before, now;
        bool ok = request->n_events > 0;

        if (!ok)
                return;
        (void) unlinkat(dir_fd, ".events", 0);
        fd = openat(dir_fd, ".events", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        for (int i = 0; ok && i < request->n_events; i++)
                ok = fd >= 0 && copy_part(fd, &request->events[i], buffer);
        ok = ok && fstat(fd, &now) == 0;
        if (ok && fstatat(dir_fd, "events", &before, AT_SYMLINK_NOFOLLOW) == 0 && before.st_size > now.st_size)
                ok = false;
        if (!ok || renameat(dir_fd, ".events", dir_fd, "events") < 0)
                (void) unlinkat(dir_fd, ".events", 0); /* a full disk: there is nobody to tell who would not know */
}

static void remove_one(int root_fd, const char *name) {
        int fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        _cleanup_(closedirp) DIR *directory = fd < 0 ? NULL : fdopendir(fd);
        struct dirent *entry;

        if (!directory) {
                closep(&fd);
                return;
        }
        while ((entry = readdir(directory)))
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        (void) unlinkat(dirfd(directory), entry->d_name, 0);
        (void) unlinkat(root_fd, name, AT_REMOVEDIR);
}

static bool too_old(const struct timespec *time) {
        return (usec_t) time->tv_sec * USEC_PER_SEC + EVIDENCE_AGE_USEC < clock_usec(CLOCK_REALTIME);
}

/* Removes the oldest one while there are more than `kept`, or where it is too old. True when it removed one. */
static bool remove_oldest(int root_fd, unsigned kept) {
        int fd = openat(root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_(closedirp) DIR *root = fd < 0 ? NULL : fdopendir(fd);
        char oldest[NAME_MAX + 1] = "";
        struct timespec oldest_time = { 0 };
        struct dirent *entry;
        unsigned n = 0;

        if (!root) {
                closep(&fd);
                return false;
        }
        for (unsigned i = 0; i < ENTRIES_MAX && (entry = readdir(root)); i++) {
                struct stat st;

                if (entry->d_name[0] == '.' || fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
                    !S_ISDIR(st.st_mode))
                        continue;
                n++;
                if (!*oldest || st.st_mtim.tv_sec < oldest_time.tv_sec ||
                    (st.st_mtim.tv_sec == oldest_time.tv_sec && st.st_mtim.tv_nsec < oldest_time.tv_nsec)) {
                        oldest_time = st.st_mtim;
                        snprintf(oldest, sizeof(oldest), "%s", entry->d_name);
                }
        }
        if (n == 0 || (n <= kept && !too_old(&oldest_time)))
                return false;
        remove_one(root_fd, oldest);
        return true;
}

bool evidence_id_is_valid(const char *id) {
        return *id && *id != '.' && strlen(id) <= NAME_MAX && !strchr(id, '/');
}

int evidence_write(const char *directory, const struct evidence_request *request) {
        _cleanup_close_ int root_fd = -1, dir_fd = -1;
        _cleanup_free_ char *buffer = malloc(CONSOLE_BYTES);

        if (!buffer)
                return -ENOMEM;
        if (!evidence_id_is_valid(request->failover_id))
                return -EINVAL;
        if (mkdir(directory, 0700) < 0 && errno != EEXIST)
                return -errno;
        root_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return -errno;
        if (mkdirat(root_fd, request->failover_id, 0700) < 0 && errno != EEXIST)
                return -errno;
        dir_fd = openat(root_fd, request->failover_id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir_fd < 0)
                return -errno;
        write_files(dir_fd, request, buffer);
        write_events(dir_fd, request, buffer);
        for (unsigned i = 0; i < ENTRIES_MAX && remove_oldest(root_fd, EVIDENCE_KEPT); i++)
                ;
        return 0;
}

static int by_name(const void *a, const void *b) {
        return strcmp(((const struct evidence_file *) a)->name, ((const struct evidence_file *) b)->name);
}

int evidence_list(const char *directory, const char *failover_id, struct evidence_file **ret, size_t *ret_n) {
        _cleanup_(closedirp) DIR *dir = NULL;
        _cleanup_free_ struct evidence_file *files = NULL;
        _cleanup_free_ char *path = NULL;
        struct dirent *entry;
        size_t n = 0;

        if (!evidence_id_is_valid(failover_id))
                return -EINVAL;
        files = calloc(EVIDENCE_FILES_MAX, sizeof(*files));
        if (!files || asprintf(&path, "%s/%s", directory, failover_id) < 0)
                return -ENOMEM;
        dir = opendir(path);
        if (!dir)
                return -errno;
        while (n < EVIDENCE_FILES_MAX && (entry = readdir(dir))) {
                struct evidence_file *file = &files[n];
                struct stat st;

                if (entry->d_name[0] == '.' || strlen(entry->d_name) >= sizeof(file->name) ||
                    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        continue;
                strcpy(file->name, entry->d_name);
                file->bytes = (uint64_t) st.st_size;
                file->time_usec = (usec_t) st.st_mtim.tv_sec * USEC_PER_SEC + (usec_t) st.st_mtim.tv_nsec / 1000;
                n++;
        }
        if (n == 0)
                return -ENOENT;
        qsort(files, n, sizeof(*files), by_name);
        *ret = steal_ptr(files);
        *ret_n = n;
        return 0;
}

/* ---- off the loop ---- */

struct evidence {
        char *directory;
        pthread_mutex_t mutex;
        pthread_cond_t ended;
        unsigned n_running;
        bool abandoned; /* the last thread frees it */
};

struct task {
        struct evidence *evidence;
        struct evidence_request request; /* whose strings the task owns */
};

static void task_free(struct task *task) {
        event_ring_parts_close(task->request.events, task->request.n_events);
        free((char *) task->request.failover_id);
        free((char *) task->request.console_path);
        free((char *) task->request.messages);
        free(task);
}

DEFINE_CLEANUP(struct task *, task_free)

static void destroy(struct evidence *evidence) {
        (void) pthread_mutex_destroy(&evidence->mutex);
        (void) pthread_cond_destroy(&evidence->ended);
        free(evidence->directory);
        free(evidence);
}

static void *run(void *userdata) {
        struct task *task = userdata;
        struct evidence *evidence = task->evidence;
        bool last;

        (void) evidence_write(evidence->directory, &task->request);
        task_free(task);
        pthread_mutex_lock(&evidence->mutex);
        evidence->n_running--;
        last = evidence->abandoned && evidence->n_running == 0;
        (void) pthread_cond_signal(&evidence->ended);
        pthread_mutex_unlock(&evidence->mutex);
        if (last)
                destroy(evidence);
        return NULL;
}

int evidence_new(const char *directory, struct evidence **ret) {
        _cleanup_free_ struct evidence *evidence = calloc(1, sizeof(*evidence));
        pthread_condattr_t attributes;

        if (!evidence)
                return -ENOMEM;
        evidence->directory = strdup(directory);
        if (!evidence->directory)
                return -ENOMEM;
        (void) pthread_mutex_init(&evidence->mutex, NULL);
        (void) pthread_condattr_init(&attributes);
        (void) pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
        (void) pthread_cond_init(&evidence->ended, &attributes);
        (void) pthread_condattr_destroy(&attributes);
        *ret = steal_ptr(evidence);
        return 0;
}

struct evidence *evidence_free(struct evidence *evidence) {
        struct timespec until;
        bool last;
        int r = 0;

        if (!evidence)
                return NULL;
        (void) clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += WAIT_SEC;
        pthread_mutex_lock(&evidence->mutex);
        while (evidence->n_running > 0 && r != ETIMEDOUT)
                r = pthread_cond_timedwait(&evidence->ended, &evidence->mutex, &until);
        evidence->abandoned = true;
        last = evidence->n_running == 0;
        pthread_mutex_unlock(&evidence->mutex);
        if (last)
                destroy(evidence);
        return NULL;
}

static int task_new(struct evidence *evidence, const struct evidence_request *request, struct task **ret) {
        _cleanup_(task_freep) struct task *task = calloc(1, sizeof(*task));
        struct evidence_request *copy;

        if (!task)
                return -ENOMEM;
        task->evidence = evidence;
        copy = &task->request;
        copy->side = request->side;
        copy->pid = request->pid;
        copy->failover_id = strdup(request->failover_id);
        copy->console_path = request->console_path ? strdup(request->console_path) : NULL;
        copy->messages = request->messages ? strdup(request->messages) : NULL;
        if (!copy->failover_id || !copy->console_path != !request->console_path ||
            !copy->messages != !request->messages)
                return -ENOMEM;
        for (; copy->n_events < request->n_events; copy->n_events++) {
                struct event_ring_part *part = &copy->events[copy->n_events];

                *part = request->events[copy->n_events];
                part->fd = fcntl(part->fd, F_DUPFD_CLOEXEC, 0);
                if (part->fd < 0)
                        return -errno;
        }
        *ret = steal_ptr(task);
        return 0;
}

int evidence_keep(struct evidence *evidence, const struct evidence_request *request) {
        _cleanup_(task_freep) struct task *task = NULL;
        int r;

        if (!evidence_id_is_valid(request->failover_id))
                return -EINVAL;
        r = task_new(evidence, request, &task);
        if (r < 0)
                return r;
        pthread_mutex_lock(&evidence->mutex);
        r = evidence->n_running < EVIDENCE_AT_ONCE ? thread_start(run, task) : -EBUSY;
        if (r >= 0) {
                evidence->n_running++;
                task = NULL;
        }
        pthread_mutex_unlock(&evidence->mutex);
        return r;
}
