/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/host/children/standby-file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agents/protocol/json-text.h"
#include "daemon/base/cleanup.h"

DEFINE_CLEANUP(struct json_object *, json_object_put)

static int read_text(const char *path, char **ret_text, size_t *ret_n) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
        _cleanup_free_ char *text = NULL;
        struct stat st;
        ssize_t n;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_size >= (off_t) STANDBY_FILE_MAX)
                return -EBADMSG;
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        n = read(fd, text, (size_t) st.st_size);
        if (n < 0)
                return -errno;
        *ret_text = steal_ptr(text);
        *ret_n = (size_t) n;
        return 0;
}

int standby_file_read(const char *dir, const char *name, const struct fields *fields, void *object,
                      struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = NULL;
        _cleanup_free_ char *text = NULL;
        char path[PATH_MAX];
        size_t n = 0;
        int r;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        r = read_text(path, &text, &n);
        if (r < 0)
                return error_set(error, r, "%s: %s", path, strerror(-r));
        r = json_text_parse(text, n, &json, error);
        if (r == 0)
                r = fields_decode(json, fields, fields->required, UINT64_MAX, object, error);
        if (r < 0)
                error_prefix(error, "%s", path);
        return r;
}

static int sync_directory(const char *dir) {
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

static int replace(const char *dir, const char *path, const char *text, size_t n, bool synced) {
        _cleanup_close_ int fd = -1;
        char aside[PATH_MAX + 8];

        snprintf(aside, sizeof(aside), "%s.new", path);
        fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
                return -errno;
        if (write(fd, text, n) != (ssize_t) n)
                return -ENOSPC;
        if (synced && fsync(fd) < 0)
                return -errno;
        if (rename(aside, path) < 0)
                return -errno;
        return synced ? sync_directory(dir) : 0;
}

int standby_file_write(const char *dir, const char *name, const struct fields *fields, const void *object, bool synced,
                       struct error *error) {
        _cleanup_(json_object_putp) struct json_object *json = json_object_new_object();
        char path[PATH_MAX];
        const char *text;
        size_t n = 0;
        int r;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        r = json ? fields_encode(json, fields, fields->required, UINT64_MAX, object) : -ENOMEM;
        text = r == 0 ? json_text_print(json, JSON_C_TO_STRING_PLAIN, &n) : NULL;
        if (r == 0 && !text)
                r = -ENOMEM;
        if (r == 0)
                r = replace(dir, path, text, n, synced);
        return r < 0 ? error_set(error, r, "%s: %s", path, strerror(-r)) : 0;
}
