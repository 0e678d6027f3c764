/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a program looks like in its space (failover-program(5)): a head of one page, a sum for each block of the image,
 * and the image as it is, so that any of its pages can be had by itself. The head is written last, when all else is
 * there to stay: without a head there is no program.
 *
 * Whoever runs it trusts nothing: the head has a sum, and that of all blocks' sums; a key of the user's (context-key.h)
 * vouches for both; and each block is held against its own sum when it comes.
 */

#include "daemon/pages/context-key.h"

#define PROGRAM_VERSION 1
#define PROGRAM_BLOCK_BYTES (64 * KIB)
#define PROGRAM_IMAGE_MAX (4 * GIB)

struct program_head {
        char name[NAME_LEN];
        uint64_t image_bytes;
        uint64_t put_usec;                     /* since 1970 */
        unsigned char sums[CONTEXT_SUM_BYTES]; /* the sum of the blocks' sums */
        unsigned char seal[CONTEXT_SUM_BYTES]; /* of all above; zeroes: nobody's */
};

void program_head_encode(const struct program_head *head, unsigned char ret[static PAGE_BYTES]);
/* -ENODATA for a page of zeroes, -EPROTONOSUPPORT for another version, -EBADMSG for anything that is no head, or was
 * one. */
int program_head_decode(const unsigned char page[static PAGE_BYTES], struct program_head *ret, struct error *error);

/* -ENOMEM. */
int program_head_seal(struct program_head *head, const struct context_key *key);
bool program_head_is_vouched_for(const struct program_head *head, const struct context_key *key);

/* Where things are in the space, of an image of so many bytes. The last block may be shorter. */
static inline uint64_t program_blocks(uint64_t image_bytes) {
        return (image_bytes + PROGRAM_BLOCK_BYTES - 1) / PROGRAM_BLOCK_BYTES;
}
static inline uint64_t program_sums_bytes(uint64_t image_bytes) {
        return program_blocks(image_bytes) * CONTEXT_SUM_BYTES;
}
static inline uint64_t program_image_offset(uint64_t image_bytes) {
        return PAGE_BYTES + context_round_up(program_sums_bytes(image_bytes));
}
static inline uint64_t program_space_bytes(uint64_t image_bytes) {
        return program_image_offset(image_bytes) + context_round_up(image_bytes);
}
