/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/persist.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/whole.h"

#define PAGES ".pages"
#define LABEL ".label"
#define NEW ".new"
/* Three names, commas between them, which no name holds, and the longest ending. */
#define FILE_LEN (3 * NAME_LEN + sizeof(LABEL NEW))

struct persist_file {
        int dir_fd, fd;
        uint64_t size_bytes;
        _Atomic uint64_t unflushed_bytes; /* written since the last flush */
        struct space_name name;
};

DEFINE_CLEANUP(struct persist_file *, persist_free)

static const char *file_name(const struct space_name *name, const char *ending, char buffer[static FILE_LEN]) {
        snprintf(buffer, FILE_LEN, "%s,%s,%s%s", name->node, name->owner, name->space, ending);
        return buffer;
}

static int open_file(int dir_fd, const struct label *label, int flags, struct persist_file **ret) {
        _cleanup_(persist_freep) struct persist_file *file = calloc(1, sizeof(*file));
        char name[FILE_LEN];

        if (!file)
                return -ENOMEM;
        file->fd = -1;
        file->name = label->name;
        file->size_bytes = label->size_bytes;
        file->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
        if (file->dir_fd < 0)
                return -errno;
        file->fd = openat(dir_fd, file_name(&label->name, PAGES, name), O_RDWR | O_NOFOLLOW | O_CLOEXEC | flags, 0600);
        if (file->fd < 0)
                return -errno;
        *ret = steal_ptr(file);
        return 0;
}

int persist_create(const char *directory, const struct label *label, struct persist_file **ret, struct error *error) {
        _cleanup_(persist_freep) struct persist_file *file = NULL;
        _cleanup_close_ int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = dir_fd < 0 ? -errno : open_file(dir_fd, label, O_CREAT | O_EXCL, &file);

        if (r < 0)
                return error_set(error, r, "%s: %s", directory, strerror(-r));
        if (ftruncate(file->fd, (off_t) label->size_bytes) < 0)
                r = -errno;
        else
                r = persist_relabel(file, label);
        if (r < 0) {
                persist_remove(file);
                return error_set(error, r, "%s: %s", directory, strerror(-r));
        }
        *ret = steal_ptr(file);
        return 0;
}

struct persist_file *persist_free(struct persist_file *file) {
        if (file->fd >= 0)
                (void) close(file->fd);
        if (file->dir_fd >= 0)
                (void) close(file->dir_fd);
        free(file);
        return NULL;
}

void persist_remove(struct persist_file *file) {
        char name[FILE_LEN];

        /* The label first: without one, what is left is no space. */
        (void) unlinkat(file->dir_fd, file_name(&file->name, LABEL, name), 0);
        (void) unlinkat(file->dir_fd, file_name(&file->name, PAGES, name), 0);
}

int persist_write(struct persist_file *file, const void *buffer, uint64_t length, uint64_t offset) {
        file->unflushed_bytes += length;
        return whole_pwrite(file->fd, buffer, length, offset);
}

int persist_trim(struct persist_file *file, uint64_t length, uint64_t offset) {
        if (length == 0)
                return 0;
        return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t) offset, (off_t) length) < 0
                       ? -errno : 0;
}

int persist_bound(struct persist_file *file, uint64_t most_bytes) {
        return file->unflushed_bytes > most_bytes ? persist_flush(file) : 0;
}

int persist_flush(struct persist_file *file) {
        file->unflushed_bytes = 0;
        return fdatasync(file->fd) < 0 ? -errno : 0;
}

int persist_relabel(struct persist_file *file, const struct label *label) {
        char new[FILE_LEN], name[FILE_LEN];
        unsigned char page[LABEL_BYTES];
        _cleanup_close_ int fd = -1;
        int r;

        label_encode(label, page);
        (void) file_name(&file->name, LABEL NEW, new);
        fd = openat(file->dir_fd, new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = whole_pwrite(fd, page, LABEL_BYTES, 0);
        if (r < 0)
                return r;
        if (fsync(fd) < 0 || renameat(file->dir_fd, new, file->dir_fd, file_name(&file->name, LABEL, name)) < 0 ||
            fsync(file->dir_fd) < 0)
                return -errno;
        return 0;
}

int persist_read(struct persist_file *file, void *buffer, uint64_t length, uint64_t offset) {
        return whole_pread(file->fd, buffer, length, offset);
}

int persist_next(struct persist_file *file, uint64_t *offset, uint64_t *ret_length) {
        off_t begin = lseek(file->fd, (off_t) *offset, SEEK_DATA), end;

        if (begin < 0)
                return errno == ENXIO ? 0 : -errno;
        end = lseek(file->fd, begin, SEEK_HOLE);
        if (end < 0)
                return -errno;
        *offset = (uint64_t) begin;
        *ret_length = (uint64_t) (end - begin);
        return 1;
}

static int read_label(int dir_fd, const char *name, struct label *ret) {
        _cleanup_close_ int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        unsigned char page[LABEL_BYTES];
        char own[FILE_LEN];
        int r = fd < 0 ? -errno : whole_pread(fd, page, LABEL_BYTES, 0);

        if (r == 0)
                r = label_decode(page, ret);
        /* A file that was renamed does not become another client's space. */
        if (r == 0 && strcmp(file_name(&ret->name, LABEL, own), name) != 0)
                r = -EBADMSG;
        return r;
}

/* One entry of the directory. 1 where it was a space. */
static int look_at(int dir_fd, const char *name, int (*found)(const struct label *, struct persist_file *, void *),
                   void *userdata) {
        size_t n = strlen(name), ending = strlen(LABEL);
        struct persist_file *file;
        struct label label;
        struct stat st;
        int r;

        if (n < ending || strcmp(name + n - ending, LABEL) != 0)
                return 0;
        r = read_label(dir_fd, name, &label);
        if (r == 0)
                r = open_file(dir_fd, &label, 0, &file);
        if (r < 0)
                return r;
        if (fstat(file->fd, &st) < 0 || (uint64_t) st.st_size != label.size_bytes) {
                persist_free(file);
                return -EBADMSG;
        }
        r = found(&label, file, userdata);
        return r < 0 ? r : 1;
}

static void closedirp(DIR **dir) {
        if (*dir)
                (void) closedir(*dir);
}

int persist_each(const char *directory, int (*found)(const struct label *label, struct persist_file *file,
                                                     void *userdata), void *userdata, struct error *error) {
        _cleanup_(closedirp) DIR *dir = opendir(directory);
        const struct dirent *entry;
        int n = 0;

        if (!dir)
                return error_set(error, -errno, "%s: %s", directory, strerror(errno));
        while ((entry = readdir(dir))) {
                int r = look_at(dirfd(dir), entry->d_name, found, userdata);

                if (r < 0)
                        error_set(error, r, "%s/%s: %s, left alone", directory, entry->d_name,
                                  r == -EBADMSG ? "not the label of a space" : strerror(-r));
                else
                        n += r;
        }
        return n;
}
