/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agents/protocol/region-list.h"
#include "daemon/base/cleanup.h"

/* It was inherited, and is not to be handed on: what this program executes has no right to hold up the kernel's faults
 * where the host withholds that (vm.unprivileged_userfaultfd). */
static int device_from_environment(void) {
        const char *text = secure_getenv(USERFAULTFD_VARIABLE);
        char *end;
        long fd;

        if (!text || !*text)
                return -1;
        fd = strtol(text, &end, 10);
        if (*end || fd < 0 || fd > 1 << 20 || fcntl((int) fd, F_SETFD, FD_CLOEXEC) < 0)
                return -1;
        return (int) fd;
}

static int from_device(int device_fd) {
        return device_fd < 0 ? -1 : ioctl(device_fd, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
}

static int any(int device_fd, bool *ret_user_only) {
        _cleanup_close_ int device = -1;
        int inherited = device_from_environment(), fd = from_device(device_fd);

        *ret_user_only = false;
        if (fd < 0)
                fd = from_device(inherited);
        if (fd < 0) {
                device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
                fd = from_device(device);
        }
        if (fd < 0)
                fd = (int) syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
        if (fd < 0) {
                fd = (int) syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
                *ret_user_only = fd >= 0;
        }
        return fd < 0 ? -errno : fd;
}

int uffd_open(int device_fd, int *ret_fd, bool *ret_user_only, struct error *error) {
        struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP };
        bool user_only;
        _cleanup_close_ int fd = any(device_fd, &user_only);

        if (fd < 0)
                return error_set(error, fd, "no userfaultfd: %s: the kernel needs CONFIG_USERFAULTFD", strerror(-fd));
        if (ioctl(fd, UFFDIO_API, &api) < 0)
                return error_set(error, -errno, "userfaultfd that can protect pages: %s: Linux 5.7 or newer is needed",
                                 strerror(errno));
        *ret_fd = steal_fd(&fd);
        *ret_user_only = user_only;
        return 0;
}

int uffd_register(int fd, void *start, uint64_t length, bool write) {
        struct uffdio_register registration = {
                .range = { (uintptr_t) start, length },
                .mode = UFFDIO_REGISTER_MODE_MISSING | (write ? UFFDIO_REGISTER_MODE_WP : 0),
        };

        return ioctl(fd, UFFDIO_REGISTER, &registration) < 0 ? -errno : 0;
}

int uffd_next(int fd, struct uffd_fault *ret) {
        struct uffd_msg message;
        ssize_t n = read(fd, &message, sizeof(message));

        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n != sizeof(message) || message.event != UFFD_EVENT_PAGEFAULT)
                return -EIO;
        *ret = (struct uffd_fault) {
                .address = message.arg.pagefault.address,
                .write = message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE,
                .protected = message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP,
        };
        return 1;
}

/* The kernel may stop half-way, when the process's mappings are just changing. */
int uffd_copy(int fd, void *to, const void *from, uint64_t length, bool protect) {
        for (uint64_t at = 0; at < length;) {
                struct uffdio_copy copy = {
                        .dst = (uintptr_t) to + at, .src = (uintptr_t) from + at, .len = length - at,
                        .mode = protect ? UFFDIO_COPY_MODE_WP : 0,
                };

                if (ioctl(fd, UFFDIO_COPY, &copy) < 0 && errno != EAGAIN)
                        return -errno;
                if (copy.copy > 0)
                        at += (uint64_t) copy.copy;
        }
        return 0;
}

int uffd_protect(int fd, void *start, uint64_t length, bool protect) {
        struct uffdio_writeprotect range = {
                .range = { (uintptr_t) start, length },
                .mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
        };

        while (ioctl(fd, UFFDIO_WRITEPROTECT, &range) < 0)
                if (errno != EAGAIN)
                        return -errno;
        return 0;
}

int uffd_wake(int fd, void *start, uint64_t length) {
        struct uffdio_range range = { (uintptr_t) start, length };

        return ioctl(fd, UFFDIO_WAKE, &range) < 0 ? -errno : 0;
}
