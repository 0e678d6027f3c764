/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/memserver/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"
#include "daemon/base/units.h"

struct spill {
        int fd;
};

static off_t slot_at(uint32_t slot) {
        return (off_t) (slot * PAGE_BYTES);
}

static int slot_read(void *userdata, uint32_t slot, void *page) {
        const struct spill *spill = userdata;
        ssize_t n;

        do
                n = pread(spill->fd, page, PAGE_BYTES, slot_at(slot));
        while (n < 0 && errno == EINTR);
        return n == (ssize_t) PAGE_BYTES ? 0 : -EIO;
}

static int slot_write(void *userdata, uint32_t slot, const void *page) {
        const struct spill *spill = userdata;
        ssize_t n;

        do
                n = pwrite(spill->fd, page, PAGE_BYTES, slot_at(slot));
        while (n < 0 && errno == EINTR);
        if (n == (ssize_t) PAGE_BYTES)
                return 0;
        return n >= 0 || errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? -ENOSPC : -EIO;
}

static void slot_discard(void *userdata, uint32_t slot) {
        const struct spill *spill = userdata;

        /* A file system that cannot keeps the room until the slot is used again. */
        (void) fallocate(spill->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, slot_at(slot), (off_t) PAGE_BYTES);
}

static int check_room(int fd, const char *path, uint64_t bytes, struct error *error) {
        char wanted[UNITS_TEXT_MAX], there[UNITS_TEXT_MAX];
        struct statvfs st;

        if (fstatvfs(fd, &st) < 0)
                return error_set(error, -errno, "spill file %s: %s", path, strerror(errno));
        if ((uint64_t) st.f_bavail * st.f_frsize < bytes)
                return error_set(error, -ENOSPC, "spill file %s: may grow to %s, but only %s are free there: make it "
                                 "smaller or put it elsewhere", path, size_format(wanted, bytes),
                                 size_format(there, (uint64_t) st.f_bavail * st.f_frsize));
        return 0;
}

int spill_open(const char *path, uint64_t bytes, struct spill **ret, struct error *error) {
        _cleanup_close_ int fd = -1;
        struct spill *spill;
        int r;

        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return error_set(error, -errno, "spill file %s: %s", path,
                                 errno == EEXIST ? "there is a file of that name; it is not touched, remove it"
                                                 : strerror(errno));
        if (unlink(path) < 0)
                return error_set(error, -errno, "spill file %s: %s", path, strerror(errno));
        r = check_room(fd, path, bytes, error);
        if (r < 0)
                return r;
        spill = malloc(sizeof(*spill));
        if (!spill)
                return error_set(error, -ENOMEM, "out of memory");
        spill->fd = steal_fd(&fd);
        *ret = spill;
        return 0;
}

struct spill *spill_free(struct spill *spill) {
        if (spill) {
                (void) close(spill->fd);
                free(spill);
        }
        return NULL;
}

struct page_spill spill_functions(struct spill *spill) {
        return (struct page_spill) { slot_read, slot_write, slot_discard, spill };
}
