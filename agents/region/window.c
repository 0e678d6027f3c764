/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agents/region/window.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

int window_init(struct window *window, int fd, uint64_t offset, uint64_t stride, uint32_t n_buffers, int protection) {
        struct window made = { .fd = fd, .offset = offset, .stride = stride, .n_buffers = n_buffers };
        void *buffers = mmap(NULL, stride * n_buffers, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t) offset), *data;

        if (buffers == MAP_FAILED)
                return -errno;
        made.buffers = buffers;
        data = mmap(NULL, stride, protection, MAP_SHARED, fd, (off_t) offset);
        if (data == MAP_FAILED) {
                (void) munmap(buffers, stride * n_buffers);
                return -ENOMEM;
        }
        made.data = data;
        (void) madvise(buffers, stride * n_buffers, MADV_DONTFORK);
        (void) madvise(data, stride, MADV_DONTFORK);
        *window = made;
        return 0;
}

void window_deinit(struct window *window) {
        if (window->buffers)
                (void) munmap(window->buffers, window->stride * window->n_buffers);
        if (window->data)
                (void) munmap(window->data, window->stride);
        *window = (struct window) { .fd = -1 };
}

char *window_buffer(const struct window *window, uint64_t block) {
        return window->buffers + block % window->n_buffers * window->stride;
}

int window_show(struct window *window, uint64_t block, int protection) {
        off_t offset = (off_t) (window->offset + block % window->n_buffers * window->stride);

        if (mmap(window->data, window->stride, protection, MAP_SHARED | MAP_FIXED | MAP_POPULATE, window->fd, offset) ==
            MAP_FAILED)
                return -errno;
        (void) madvise(window->data, window->stride, MADV_DONTFORK);
        return 0;
}
