/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/file-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/thread.h"

/* Of one write. The thread and the writer hold it; who is the last frees it. */
struct job {
        pthread_mutex_t lock;
        unsigned n_refs;
        char *path, *temporary, *text;
        int done_fd;
        bool given_up;  /* by the writer: the old file has to stay */
        bool replacing; /* by the thread: too late for that */
        bool ended;
        struct error error;
};

struct file_writer {
        sd_event *loop;
        sd_event_source *done_source, *deadline_source;
        int done_fd;
        struct job *job;
        file_written_t done; /* NULL: has been called */
        void *userdata;
};

static void job_unref(struct job *job) {
        bool last;

        pthread_mutex_lock(&job->lock);
        last = --job->n_refs == 0;
        pthread_mutex_unlock(&job->lock);
        if (!last)
                return;
        pthread_mutex_destroy(&job->lock);
        closep(&job->done_fd);
        error_deinit(&job->error);
        free(job->path);
        free(job->temporary);
        free(job->text);
        free(job);
}

/* The new name is in place, so that nothing is to be taken back where this fails. */
static void sync_directory(const char *path) {
        _cleanup_free_ char *copy = strdup(path);
        _cleanup_close_ int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

        if (fd >= 0)
                (void) fsync(fd);
}

static int write_temporary(struct job *job) {
        size_t n = strlen(job->text);
        FILE *f = fopen(job->temporary, "we");
        bool ok;

        if (!f)
                return error_set(&job->error, -errno, "cannot write %s: %s; give the directory to failoverd's user, or edit "
                                 "the file and reload", job->temporary, strerror(errno));
        ok = fwrite(job->text, 1, n, f) == n && fflush(f) == 0 && fsync(fileno(f)) == 0;
        if (!ok)
                error_set(&job->error, -errno, "cannot write %s: %s", job->path, strerror(errno));
        if (fclose(f) != 0 && ok)
                error_set(&job->error, -errno, "cannot write %s: %s", job->path, strerror(errno));
        return job->error.code;
}

static int replace(struct job *job) {
        pthread_mutex_lock(&job->lock);
        job->replacing = !job->given_up;
        pthread_mutex_unlock(&job->lock);
        if (!job->replacing)
                return error_set(&job->error, -ETIMEDOUT, "given up");
        if (rename(job->temporary, job->path) < 0)
                return error_set(&job->error, -errno, "cannot replace %s: %s", job->path, strerror(errno));
        sync_directory(job->path);
        return 0;
}

static void *run(void *userdata) {
        struct job *job = userdata;

        if (write_temporary(job) < 0 || replace(job) < 0)
                (void) unlink(job->temporary);
        pthread_mutex_lock(&job->lock);
        job->ended = true;
        pthread_mutex_unlock(&job->lock);
        (void) eventfd_write(job->done_fd, 1);
        job_unref(job);
        return NULL;
}

static void tell(struct file_writer *writer, int result, const char *text) {
        file_written_t done = steal_ptr(writer->done);

        writer->deadline_source = sd_event_source_disable_unref(writer->deadline_source);
        if (done)
                done(writer->userdata, result, text);
}

static int on_done(sd_event_source *source, int fd, uint32_t events, void *userdata) {
        struct file_writer *writer = userdata;
        struct job *job = writer->job;
        eventfd_t value;
        bool ended;

        if (eventfd_read(fd, &value) < 0 || !job)
                return 0;
        pthread_mutex_lock(&job->lock);
        ended = job->ended;
        pthread_mutex_unlock(&job->lock);
        if (!ended)
                return 0;
        writer->job = NULL;
        tell(writer, job->error.code, job->error.code < 0 ? error_text(&job->error) : "");
        job_unref(job);
        return 0;
}

static int on_deadline(sd_event_source *source, usec_t usec, void *userdata) {
        struct file_writer *writer = userdata;
        char text[512];

        pthread_mutex_lock(&writer->job->lock);
        writer->job->given_up = !writer->job->replacing;
        pthread_mutex_unlock(&writer->job->lock);
        if (!writer->job->given_up)
                return 0; /* the name is being changed: how that ends is to be waited for */
        snprintf(text, sizeof(text), "%s is not written in time, its disk stalls; the old file stays", writer->job->path);
        tell(writer, -ETIMEDOUT, text);
        return 0;
}

int file_writer_new(sd_event *loop, struct file_writer **ret) {
        struct file_writer *writer = calloc(1, sizeof(*writer));
        int r = -ENOMEM;

        if (writer) {
                writer->loop = sd_event_ref(loop);
                writer->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
                r = writer->done_fd < 0 ? -errno
                                        : sd_event_add_io(loop, &writer->done_source, writer->done_fd, EPOLLIN, on_done, writer);
        }
        if (r < 0) {
                file_writer_free(writer);
                return r;
        }
        *ret = writer;
        return 0;
}

struct file_writer *file_writer_free(struct file_writer *writer) {
        if (!writer)
                return NULL;
        sd_event_source_disable_unref(writer->done_source);
        sd_event_source_disable_unref(writer->deadline_source);
        closep(&writer->done_fd);
        if (writer->job)
                job_unref(writer->job);
        sd_event_unref(writer->loop);
        free(writer);
        return NULL;
}

static int job_new(const struct file_writer *writer, const char *path, const char *text, struct job **ret) {
        struct job *job = calloc(1, sizeof(*job));

        if (!job)
                return -ENOMEM;
        pthread_mutex_init(&job->lock, NULL);
        job->n_refs = 1;
        job->done_fd = fcntl(writer->done_fd, F_DUPFD_CLOEXEC, 3);
        job->path = strdup(path);
        job->text = strdup(text);
        if (job->done_fd < 0 || !job->path || !job->text || asprintf(&job->temporary, "%s.new", path) < 0) {
                job->temporary = NULL;
                job_unref(job);
                return -ENOMEM;
        }
        *ret = job;
        return 0;
}

DEFINE_CLEANUP(struct job *, job_unref)

int file_writer_begin(struct file_writer *writer, const char *path, const char *text, usec_t timeout_usec,
                      file_written_t done, void *userdata) {
        _cleanup_(job_unrefp) struct job *job = NULL;
        int r;

        if (writer->job)
                return -EBUSY;
        r = job_new(writer, path, text, &job);
        if (r >= 0 && timeout_usec != USEC_INFINITY)
                r = sd_event_add_time_relative(writer->loop, &writer->deadline_source, CLOCK_MONOTONIC, timeout_usec, 0,
                                               on_deadline, writer);
        if (r < 0)
                return r;
        job->n_refs++; /* the thread's */
        r = thread_start(run, job);
        if (r < 0) {
                job->n_refs--;
                writer->deadline_source = sd_event_source_disable_unref(writer->deadline_source);
                return r;
        }
        writer->job = steal_ptr(job);
        writer->done = done;
        writer->userdata = userdata;
        return 0;
}
