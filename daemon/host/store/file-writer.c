/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/store/file-writer.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/store/errand.h"

/* How far a write has come that is either given up by the loop or goes into the file's place by the thread. */
enum { WRITING, GIVEN_UP, REPLACING };

struct file_writer {
        sd_event *loop;
        struct errand *errand; /* the write under way */
        file_written_t done;   /* NULL: has been called */
        void *userdata;
};

struct job {
        struct file_writer *writer; /* the loop's to use */
        char *path, *temporary, *text;
        atomic_int stage;
        struct error error;
};

static void job_free(void *data) {
        struct job *job = data;

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

        if (!f)
                return error_set(&job->error, -errno,
                                 "cannot write %s: %s; give the directory to failoverd's user, or edit "
                                 "the file and reload",
                                 job->temporary, strerror(errno));
        if (fwrite(job->text, 1, n, f) != n || fflush(f) != 0 || fsync(fileno(f)) < 0)
                error_set(&job->error, -errno, "cannot write %s: %s", job->path, strerror(errno));
        if (fclose(f) != 0 && job->error.code == 0)
                error_set(&job->error, -errno, "cannot write %s: %s", job->path, strerror(errno));
        return job->error.code;
}

static int replace(struct job *job) {
        int stage = WRITING;

        if (!atomic_compare_exchange_strong(&job->stage, &stage, REPLACING))
                return -ECANCELED;
        if (rename(job->temporary, job->path) < 0)
                return error_set(&job->error, -errno, "cannot replace %s: %s", job->path, strerror(errno));
        sync_directory(job->path);
        return 0;
}

static void job_run(void *data) {
        struct job *job = data;

        if (write_temporary(job) < 0 || replace(job) < 0)
                (void) unlink(job->temporary);
}

static void tell(struct file_writer *writer, int result, const char *text) {
        file_written_t done = steal_ptr(writer->done);

        if (done)
                done(writer->userdata, result, text);
}

static void job_ended(void *data) {
        struct job *job = data;

        job->writer->errand = NULL;
        tell(job->writer, job->error.code, job->error.code < 0 ? error_text(&job->error) : "");
}

static void job_late(void *data) {
        struct job *job = data;
        int stage = WRITING;
        char text[512];

        if (!atomic_compare_exchange_strong(&job->stage, &stage, GIVEN_UP))
                return; /* the name is being changed: how that ends is to be waited for */
        snprintf(text, sizeof(text), "%s is not written in time, its disk stalls; the old file stays", job->path);
        tell(job->writer, -ETIMEDOUT, text);
}

int file_writer_new(sd_event *loop, struct file_writer **ret) {
        struct file_writer *writer = calloc(1, sizeof(*writer));

        if (!writer)
                return -ENOMEM;
        writer->loop = sd_event_ref(loop);
        *ret = writer;
        return 0;
}

struct file_writer *file_writer_free(struct file_writer *writer) {
        if (!writer)
                return NULL;
        errand_abandon(writer->errand);
        sd_event_unref(writer->loop);
        free(writer);
        return NULL;
}

int file_writer_begin(struct file_writer *writer, const char *path, const char *text, usec_t timeout_usec,
                      file_written_t done, void *userdata) {
        static const struct errand_work work = { job_run, job_late, job_ended, job_free };
        struct job *job;
        int r;

        if (writer->errand)
                return -EBUSY;
        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        job->writer = writer;
        job->path = strdup(path);
        job->text = strdup(text);
        if (!job->path || !job->text || asprintf(&job->temporary, "%s.new", path) < 0) {
                job->temporary = NULL;
                job_free(job);
                return -ENOMEM;
        }
        r = errand_begin(writer->loop, &work, job, timeout_usec, &writer->errand);
        if (r < 0)
                return r;
        writer->done = done;
        writer->userdata = userdata;
        return 0;
}
