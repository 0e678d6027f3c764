/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/file.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "daemon/base/cleanup.h"

static int __attribute__((format(printf, 2, 0))) open_formatted(int flags, const char *format, va_list ap) {
        char path[PATH_LENGTH];
        int n = vsnprintf(path, sizeof(path), format, ap), fd;

        if (n < 0 || n >= (int) sizeof(path))
                return -ENAMETOOLONG;
        fd = open(path, flags | O_CLOEXEC);
        return fd >= 0 ? fd : -errno;
}

int file_read(char *buffer, size_t size, const char *format, ...) {
        _cleanup_close_ int fd = -1;
        size_t used = 0;
        va_list ap;

        va_start(ap, format);
        fd = open_formatted(O_RDONLY, format, ap);
        va_end(ap);
        if (fd < 0)
                return fd;
        while (used < size - 1) {
                ssize_t n = read(fd, buffer + used, size - 1 - used);
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                used += (size_t) n;
        }
        if (used > 0 && buffer[used - 1] == '\n')
                used--;
        buffer[used] = 0;
        return (int) used;
}

int file_write(const char *text, const char *format, ...) {
        _cleanup_close_ int fd = -1;
        va_list ap;

        va_start(ap, format);
        fd = open_formatted(O_WRONLY, format, ap);
        va_end(ap);
        if (fd < 0)
                return fd;
        return write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

int file_replace(const char *text, size_t length, const char *path) {
        _cleanup_close_ int fd = -1;
        char aside[PATH_LENGTH];
        ssize_t n;

        if (snprintf(aside, sizeof(aside), "%s.new", path) >= (int) sizeof(aside))
                return -ENAMETOOLONG;
        fd = open(aside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        n = write(fd, text, length);
        if (n < 0 || fsync(fd) < 0)
                return -errno;
        if ((size_t) n != length)
                return -ENOSPC;
        return rename(aside, path) < 0 ? -errno : 0;
}

int text_number(const char *text, const char *key, uint64_t *ret) {
        const char *at = strstr(text, key);
        uint64_t value = 0;

        if (!at)
                return -ENOENT;
        at += strlen(key);
        while (*at == ' ' || *at == '\t' || *at == ':')
                at++;
        if (!isdigit((unsigned char) *at))
                return -ENOENT;
        for (; isdigit((unsigned char) *at); at++)
                if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
                    __builtin_add_overflow(value, (uint64_t) (*at - '0'), &value))
                        return -ERANGE;
        *ret = value;
        return 0;
}
