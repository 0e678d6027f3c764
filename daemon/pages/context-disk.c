/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/context-disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "daemon/base/cleanup.h"
#include "daemon/host/libvirt/domain-xml.h"

/* The bytes that QEMU locks in a file (block/file-posix.c): one for each thing it does, one for each that others must
 * not do. The second of each is writing. */
#define QEMU_WRITES 101
#define QEMU_LETS_NOBODY_WRITE 201
#define QEMU_THINGS 4

struct list {
        struct context_disk *disks;
        size_t n;
        struct error *error;
};

/* Size and time of last change of what is there now. */
static int look_at(const char *path, int kind, uint64_t *ret_size, uint64_t *ret_modified) {
        _cleanup_close_ int fd = -1;
        struct stat st;
        uint64_t size;

        if (stat(path, &st) < 0)
                return -errno;
        if ((kind == CONTEXT_DISK_BLOCK) != S_ISBLK(st.st_mode) || (kind == CONTEXT_DISK_FILE && !S_ISREG(st.st_mode)))
                return -ENOTSUP;
        if (kind == CONTEXT_DISK_FILE) {
                *ret_size = (uint64_t) st.st_size;
                *ret_modified = (uint64_t) st.st_mtim.tv_sec * 1000000000 + (uint64_t) st.st_mtim.tv_nsec;
                return 0;
        }
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size) < 0)
                return -errno;
        *ret_size = size;
        *ret_modified = 0;
        return 0;
}

static int add_source(const struct domain_source *source, void *userdata) {
        struct list *list = userdata;
        struct context_disk disk = { .writable = source->writable };
        struct context_disk *grown;
        int r;

        if (list->n == CONTEXT_DISKS_MAX)
                return error_set(list->error, -E2BIG, "it has more than %d disks", CONTEXT_DISKS_MAX);
        snprintf(disk.target, sizeof(disk.target), "%s", source->target);
        disk.kind = !*source->path ? CONTEXT_DISK_OTHER : source->block ? CONTEXT_DISK_BLOCK : CONTEXT_DISK_FILE;
        if (disk.kind != CONTEXT_DISK_OTHER) {
                r = look_at(source->path, disk.kind, &disk.size_bytes, &disk.modified_nsec);
                if (r < 0)
                        return error_set(list->error, r, "disk %s: %s: %s", disk.target, source->path, strerror(-r));
                disk.path = strdup(source->path);
        }
        if (*source->format)
                disk.format = strdup(source->format);
        grown = reallocarray(list->disks, list->n + 1, sizeof(*grown));
        if (grown)
                list->disks = grown;
        if (!grown || (disk.kind != CONTEXT_DISK_OTHER && !disk.path) || (*source->format && !disk.format)) {
                free(disk.path);
                free(disk.format);
                return error_set(list->error, -ENOMEM, "out of memory");
        }
        list->disks[list->n++] = disk;
        return 0;
}

int context_disks_look(const char *xml, struct context_disk **ret, size_t *ret_n, struct error *error) {
        struct list list = { .error = error };
        int r = domain_xml_sources(xml, add_source, &list, error);

        if (r < 0) {
                context_disks_free(list.disks, list.n);
                return r;
        }
        *ret = list.disks;
        *ret_n = list.n;
        return 0;
}

int context_disks_may_save(const char *xml, const struct context_disk *disks, size_t n, bool trust,
                           struct error *error) {
        static const struct app_names none;
        struct domain_facts facts;
        int r = domain_xml_parse(xml, &none, &facts, error);

        if (r < 0)
                return r;
        if (facts.overflow.n > 0)
                return error_set(error, -EBUSY, "the VM has an overflow disk: what it has swapped out to memory "
                                 "servers goes when it ends, and would be missing. Let failoverd take the disk "
                                 "off first (`overflow:` of the policy)");
        for (size_t i = 0; i < n && !trust; i++)
                if (disks[i].kind == CONTEXT_DISK_OTHER)
                        return error_set(error, -EPERM, "disk %s is not on this host: whether it is still as it was "
                                         "cannot be seen when the context is resumed; where you see to that, say so "
                                         "by --force", disks[i].target);
        return 0;
}

static bool is_locked(int fd, off_t byte) {
        struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

        return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

bool context_disk_is_used(const char *path) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

        /* Each thing that QEMU does, and each that others must not do, beginning with reading. */
        for (off_t byte = QEMU_WRITES - 1; fd >= 0 && byte < QEMU_WRITES + QEMU_THINGS - 1; byte++)
                if (is_locked(fd, byte) || is_locked(fd, byte + QEMU_LETS_NOBODY_WRITE - QEMU_WRITES))
                        return true;
        return false;
}

/* Nobody may write what a VM reads, and where it writes, nobody may rely on its not doing so. */
static int check_use(const struct context_disk *disk, struct error *error) {
        _cleanup_close_ int fd = open(disk->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0)
                return error_set(error, -errno, "disk %s: %s: %s", disk->target, disk->path, strerror(errno));
        if (is_locked(fd, QEMU_WRITES) || (disk->writable && is_locked(fd, QEMU_LETS_NOBODY_WRITE)))
                return error_set(error, -EBUSY, "disk %s: %s is in use by another VM, or a tool of QEMU's",
                                 disk->target, disk->path);
        return 0;
}

static int check_change(const struct context_disk *disk, bool trust, struct error *error) {
        uint64_t size = 0, modified = 0;
        int r;

        if (disk->kind != CONTEXT_DISK_OTHER) {
                r = look_at(disk->path, disk->kind, &size, &modified);
                if (r < 0)
                        return error_set(error, r, "disk %s: %s: %s", disk->target, disk->path, strerror(-r));
                if (size != disk->size_bytes || modified != disk->modified_nsec)
                        return error_set(error, -ESTALE, "disk %s: %s has changed since the context was saved, and the "
                                         "memory of a guest does not go with other contents", disk->target, disk->path);
        }
        if (disk->kind != CONTEXT_DISK_FILE && !trust)
                return error_set(error, -EPERM, "disk %s: whether %s was written since the context was saved cannot be "
                                 "seen; where you know that it was not, say so by --force", disk->target,
                                 disk->path ? disk->path : "a disk that is not on this host");
        return 0;
}

static bool spared(const struct context_disk *disk, const struct context_disk *spare, size_t n_spare) {
        for (size_t i = 0; i < n_spare; i++)
                if (spare[i].path && strcmp(disk->path, spare[i].path) == 0)
                        return true;
        return false;
}

int context_disks_check(const struct context_disk *disks, size_t n, const struct context_disk *spare, size_t n_spare,
                        bool trust, struct error *error) {
        for (size_t i = 0; i < n; i++) {
                int r = check_change(&disks[i], trust, error);

                if (r == 0 && disks[i].path && !spared(&disks[i], spare, n_spare))
                        r = check_use(&disks[i], error);
                if (r < 0)
                        return r;
        }
        return 0;
}

bool context_disks_equal(const struct context_disk *a, size_t n_a, const struct context_disk *b, size_t n_b) {
        if (n_a != n_b)
                return false;
        for (size_t i = 0; i < n_a; i++)
                if (strcmp(a[i].target, b[i].target) != 0 || a[i].kind != b[i].kind ||
                    (a[i].path && strcmp(a[i].path, b[i].path) != 0) || a[i].size_bytes != b[i].size_bytes ||
                    a[i].modified_nsec != b[i].modified_nsec)
                        return false;
        return true;
}
