/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Several real buffers behind one window: whichever is in it is mapped at the window's address, so that a change of it
 * copies nothing. Both ends of a stream have one. */

#include <stdint.h>

struct window {
        int fd;             /* the buffers' memory; not the window's own */
        uint64_t offset;    /* of the first buffer */
        uint64_t stride;    /* whole pages */
        uint32_t n_buffers;
        char *buffers;      /* all of them; filling or reading them needs no window */
        char *data;         /* the window */
};

/* -errno; `protection` is that of the window (PROT_READ, PROT_WRITE). */
int window_init(struct window *window, int fd, uint64_t offset, uint64_t stride, uint32_t n_buffers, int protection);
void window_deinit(struct window *window);
char *window_buffer(const struct window *window, uint64_t block);
/* The block's buffer is in the window. */
int window_show(struct window *window, uint64_t block, int protection);
