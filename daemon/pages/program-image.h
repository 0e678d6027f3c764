/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A program's image into its space, and any piece of it out again, held against its sums. */

#include "daemon/pages/context-image.h"
#include "daemon/pages/program-format.h"

/* Puts the image that the file `fd` holds, of head->image_bytes, into the space, and reads it back. Fills in the sum
 * of the sums. -EBADMSG where something else came back, -EIO where the file is shorter meanwhile. */
int program_image_put(const struct context_io *io, int fd, struct program_head *head,
                      const struct context_progress *progress, struct error *error);
/* Makes it a program: the head. `key` NULL: nobody vouches. */
int program_image_commit(const struct context_io *io, struct program_head *head, const struct context_key *key,
                         struct error *error);

#define PROGRAM_WINDOW_BYTES (4 * PROGRAM_BLOCK_BYTES)

/* An image that is read from. The blocks that came last are kept. */
struct program_image {
        struct program_head head;
        unsigned char *sums;              /* owned: of all blocks */
        unsigned char *window;            /* owned: PROGRAM_WINDOW_BYTES */
        uint64_t window_at, window_bytes; /* of the image */
};

/* Head and sums. -EBADMSG where they are damaged, or the space is too small for what the head says. */
int program_image_open(const struct context_io *io, struct program_image *ret, struct error *error);
/* `length` bytes from `offset` on, inside the image. -EBADMSG where a block is not what was put there, and what the
 * space answers. */
int program_image_read(struct program_image *image, const struct context_io *io, void *buffer, uint64_t length,
                       uint64_t offset, struct error *error);
/* Reads all of it. -ECANCELED where `progress` gives it up. */
int program_image_verify(struct program_image *image, const struct context_io *io,
                         const struct context_progress *progress, struct error *error);
void program_image_deinit(struct program_image *image);
