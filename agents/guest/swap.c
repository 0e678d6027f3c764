/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/guest/swap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agents/guest/file.h"
#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

#define DISCARD 0x10000 /* SWAP_FLAG_DISCARD: the area when it is switched on, and what is free again later */
#define SWAPS_SIZE 4096
#define MAGIC "SWAPSPACE2"

/* The first page of a swap area, as the kernel reads it. */
struct area {
        char boot[1024];
        uint32_t version; /* 1 */
        uint32_t last_page;
        uint32_t n_bad_pages;
        char rest[];
};

static bool is_zero(const char *page, size_t size) {
        return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

static bool is_area(const char *page, size_t size) {
        return memcmp(page + size - strlen(MAGIC), MAGIC, strlen(MAGIC)) == 0;
}

static int write_all(int fd, const char *bytes, size_t size) {
        ssize_t n = pwrite(fd, bytes, size, 0);

        if (n == (ssize_t) size)
                return fsync(fd) < 0 ? -errno : 0;
        return n < 0 ? -errno : -EIO;
}

int swap_prepare(const char *path, bool ours) {
        size_t page_size = (size_t) sysconf(_SC_PAGESIZE);
        _cleanup_free_ char *page = calloc(1, page_size);
        _cleanup_close_ int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
        struct area *area = (struct area *) (void *) page;
        off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
        uint32_t last_page;
        ssize_t n;

        if (!page)
                return -ENOMEM;
        if (size < 0)
                return -errno;
        if ((size_t) size < 10 * page_size || (size_t) size / page_size > UINT32_MAX)
                return -EINVAL;
        n = pread(fd, page, page_size, 0);
        if (n < 0 && errno == EIO && ours) /* the server that had it is lost; writing it whole brings it back */
                memset(page, 0, page_size);
        else if (n != (ssize_t) page_size)
                return n < 0 ? -errno : -EIO;
        last_page = (uint32_t) ((size_t) size / page_size - 1);
        if (is_area(page, page_size) && area->last_page == last_page)
                return 0;
        if (!is_area(page, page_size) && !is_zero(page, page_size))
                return -EEXIST;
        memset(page, 0, page_size); /* one of another size is from when the disk was divided otherwise */
        area->version = 1;
        area->last_page = last_page;
        memcpy(page + page_size - strlen(MAGIC), MAGIC, strlen(MAGIC));
        return write_all(fd, page, page_size);
}

int swap_on(const char *path) {
        return swapon(path, DISCARD) < 0 ? -errno : 0;
}

int swap_off(const char *path) {
        return swapoff(path) < 0 ? -errno : 0;
}

int swap_erase(const char *path) {
        size_t page_size = (size_t) sysconf(_SC_PAGESIZE);
        _cleanup_free_ char *page = calloc(1, page_size);
        _cleanup_close_ int fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
        off_t size = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
        uint64_t range[2] = { 0, (uint64_t) size };
        ssize_t n;
        int r;

        if (!page)
                return -ENOMEM;
        if (size < 0)
                return -errno;
        n = pread(fd, page, page_size, 0);
        if (n != (ssize_t) page_size)
                return n < 0 ? -errno : -EIO;
        if (!is_area(page, page_size) && !is_zero(page, page_size))
                return -EEXIST;
        memset(page, 0, page_size);
        /* No swap area any more, whatever becomes of the rest. */
        r = write_all(fd, page, page_size);
        if (r < 0)
                return r;
        /* A disk that cannot trim keeps what was there. The host then sees a disk in use, and leaves it. */
        return ioctl(fd, BLKDISCARD, range) < 0 && errno != EOPNOTSUPP && errno != ENOTTY ? -errno : 0;
}

int swap_divide(const char *path, const uint64_t *sizes, unsigned n) {
        _cleanup_close_ int fd = -1;
        uint64_t start = 0;
        int r = swap_erase(path);

        if (r < 0 && r != -EBUSY) /* a part of it is on: the others may be missing all the same */
                return r;
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        for (unsigned i = 0; i < n; start += sizes[i++]) {
                struct blkpg_partition part = { .start = (long long) start, .length = (long long) sizes[i],
                                                .pno = (int) i + 1 };
                struct blkpg_ioctl_arg add = { .op = BLKPG_ADD_PARTITION, .datalen = sizeof(part), .data = &part };

                if (ioctl(fd, BLKPG, &add) < 0 && errno != EBUSY) /* that is there */
                        return -errno;
        }
        return 0;
}

int swap_used(const char *proc_dir, const char *name, uint64_t *ret_bytes) {
        char swaps[SWAPS_SIZE], path[64];
        uint64_t kibibytes;
        int r = file_read(swaps, sizeof(swaps), "%s/swaps", proc_dir);

        if (r < 0)
                return r == -ENOENT ? 0 : r; /* a kernel without swap */
        snprintf(path, sizeof(path), "/dev/%.32s", name);
        for (const char *line = strchr(swaps, '\n'); line; line = strchr(line + 1, '\n')) {
                size_t length = strlen(path);

                if (strncmp(line + 1, path, length) != 0 || (line[1 + length] != ' ' && line[1 + length] != '\t'))
                        continue;
                if (sscanf(line + 1 + length, " %*s %*u %" SCNu64, &kibibytes) != 1)
                        return -EBADMSG;
                *ret_bytes = kibibytes * KIB;
                return 1;
        }
        return 0;
}
