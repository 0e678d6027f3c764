/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/pages/program-image.h"

#include <gnutls/crypto.h>
#include <string.h>
#include <unistd.h>

#include "daemon/base/cleanup.h"

#define TELL_BYTES MIB

static uint64_t least(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static int server_failed(struct error *error, int r) {
        if (r == -ENOSPC)
                return error_set(error, r, "the memory server has no room for it");
        if (r == -ENOTCONN)
                return error_set(error, r, "the memory server does not answer any more");
        return error_set(error, r, "the memory server: %s", strerror(-r));
}

static int sum_block(const unsigned char *block, uint64_t n, unsigned char ret[static CONTEXT_SUM_BYTES]) {
        return gnutls_hash_fast(GNUTLS_DIG_SHA256, block, n, ret) < 0 ? -ENOMEM : 0;
}

static int sum_sums(const struct program_head *head, const unsigned char *sums,
                    unsigned char ret[static CONTEXT_SUM_BYTES]) {
        return gnutls_hash_fast(GNUTLS_DIG_SHA256, sums, program_sums_bytes(head->image_bytes), ret) < 0 ? -ENOMEM : 0;
}

static int tell(const struct context_progress *progress, enum context_phase phase, uint64_t done, uint64_t total,
                struct error *error) {
        if (done % TELL_BYTES == 0 && context_tell(progress, phase, done, total) < 0)
                return error_set(error, -ECANCELED, "it was given up");
        return 0;
}

/* Any length, in calls that the space takes. */
static int read_space(const struct context_io *io, unsigned char *buffer, uint64_t length, uint64_t offset) {
        int r = 0;

        for (uint64_t at = 0; at < length && r == 0; at += CONTEXT_IO_MAX)
                r = io->read(io->userdata, buffer + at, least(length - at, CONTEXT_IO_MAX), offset + at);
        return r;
}

static int write_space(const struct context_io *io, const unsigned char *buffer, uint64_t length, uint64_t offset) {
        int r = 0;

        for (uint64_t at = 0; at < length && r == 0; at += CONTEXT_IO_MAX)
                r = io->write(io->userdata, buffer + at, least(length - at, CONTEXT_IO_MAX), offset + at);
        return r;
}

/* ---- putting it there ---- */

static int read_file(int fd, unsigned char *buffer, uint64_t length, uint64_t offset, struct error *error) {
        while (length > 0) {
                ssize_t n = pread(fd, buffer, length, (off_t) offset);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? error_set(error, -errno, "the file: %s", strerror(errno))
                                     : error_set(error, -EIO, "the file became shorter meanwhile");
                buffer += n;
                offset += (uint64_t) n;
                length -= (uint64_t) n;
        }
        return 0;
}

/* All blocks, and their sums. */
static int put_blocks(const struct context_io *io, int fd, const struct program_head *head, unsigned char *sums,
                      const struct context_progress *progress, struct error *error) {
        _cleanup_free_ unsigned char *block = malloc(PROGRAM_BLOCK_BYTES);
        int r = 0;

        if (!block)
                return error_set(error, -ENOMEM, "out of memory");
        for (uint64_t at = 0; at < head->image_bytes; at += PROGRAM_BLOCK_BYTES, sums += CONTEXT_SUM_BYTES) {
                const uint64_t n = least(head->image_bytes - at, PROGRAM_BLOCK_BYTES);

                r = tell(progress, CONTEXT_SAVE, at, head->image_bytes, error);
                if (r == 0)
                        r = read_file(fd, block, n, at, error);
                if (r < 0)
                        return r;
                r = sum_block(block, n, sums);
                if (r < 0)
                        return error_set(error, r, "out of memory");
                r = io->write(io->userdata, block, n, program_image_offset(head->image_bytes) + at);
                if (r < 0)
                        return server_failed(error, r);
        }
        return 0;
}

int program_image_put(const struct context_io *io, int fd, struct program_head *head,
                      const struct context_progress *progress, struct error *error) {
        const uint64_t n_sums = program_sums_bytes(head->image_bytes);
        struct program_image image = { .head = *head };
        int r;

        image.sums = calloc(1, context_round_up(n_sums));
        image.window = malloc(PROGRAM_WINDOW_BYTES);
        r = image.sums && image.window ? put_blocks(io, fd, head, image.sums, progress, error)
                                       : error_set(error, -ENOMEM, "out of memory");
        if (r == 0 && sum_sums(head, image.sums, image.head.sums) < 0)
                r = error_set(error, -ENOMEM, "out of memory");
        if (r == 0) {
                r = write_space(io, image.sums, context_round_up(n_sums), PAGE_BYTES);
                if (r == 0)
                        r = io->flush(io->userdata);
                if (r < 0)
                        (void) server_failed(error, r);
        }
        if (r == 0)
                r = program_image_verify(&image, io, progress, error);
        if (r == 0)
                *head = image.head;
        program_image_deinit(&image);
        return r;
}

int program_image_commit(const struct context_io *io, struct program_head *head, const struct context_key *key,
                         struct error *error) {
        unsigned char page[PAGE_BYTES];
        int r = key ? program_head_seal(head, key) : 0;

        if (r < 0)
                return error_set(error, r, "out of memory");
        program_head_encode(head, page);
        r = io->write(io->userdata, page, sizeof(page), 0);
        if (r == 0)
                r = io->flush(io->userdata);
        return r < 0 ? server_failed(error, r) : 0;
}

/* ---- reading it ---- */

static int read_sums(const struct context_io *io, struct program_image *image, struct error *error) {
        const uint64_t n = program_sums_bytes(image->head.image_bytes);
        unsigned char sum[CONTEXT_SUM_BYTES];
        int r;

        image->sums = malloc(n);
        image->window = malloc(PROGRAM_WINDOW_BYTES);
        if (!image->sums || !image->window)
                return error_set(error, -ENOMEM, "out of memory");
        r = read_space(io, image->sums, n, PAGE_BYTES);
        if (r < 0)
                return server_failed(error, r);
        if (sum_sums(&image->head, image->sums, sum) < 0 || memcmp(sum, image->head.sums, sizeof(sum)) != 0)
                return error_set(error, -EBADMSG, "the sums of its blocks are damaged");
        return 0;
}

int program_image_open(const struct context_io *io, struct program_image *ret, struct error *error) {
        struct program_image image = { 0 };
        unsigned char page[PAGE_BYTES];
        int r;

        if (io->size_bytes < PAGE_BYTES)
                return error_set(error, -EBADMSG, "its space is too small to hold a program");
        r = io->read(io->userdata, page, sizeof(page), 0);
        if (r < 0)
                return server_failed(error, r);
        r = program_head_decode(page, &image.head, error);
        if (r < 0)
                return r;
        if (program_space_bytes(image.head.image_bytes) > io->size_bytes)
                return error_set(error, -EBADMSG, "it is truncated: its head says %llu bytes, and its space cannot "
                                 "hold them", (unsigned long long) image.head.image_bytes);
        r = read_sums(io, &image, error);
        if (r < 0)
                program_image_deinit(&image);
        else
                *ret = image;
        return r;
}

static int check_window(const struct program_image *image, uint64_t at, uint64_t length, struct error *error) {
        for (uint64_t done = 0; done < length; done += PROGRAM_BLOCK_BYTES) {
                const uint64_t number = (at + done) / PROGRAM_BLOCK_BYTES;
                unsigned char sum[CONTEXT_SUM_BYTES];

                if (sum_block(image->window + done, least(length - done, PROGRAM_BLOCK_BYTES), sum) < 0)
                        return error_set(error, -ENOMEM, "out of memory");
                if (memcmp(sum, image->sums + number * CONTEXT_SUM_BYTES, sizeof(sum)) != 0)
                        return error_set(error, -EBADMSG, "it is damaged: bytes %llu to %llu have a wrong sum",
                                         (unsigned long long) (at + done),
                                         (unsigned long long) (least(at + done + PROGRAM_BLOCK_BYTES,
                                                                     image->head.image_bytes) - 1));
        }
        return 0;
}

/* The blocks that the range begins in come into the window, as many as it takes. */
static int load_window(struct program_image *image, const struct context_io *io, uint64_t length, uint64_t offset,
                       struct error *error) {
        const uint64_t at = offset / PROGRAM_BLOCK_BYTES * PROGRAM_BLOCK_BYTES;
        const uint64_t end = program_blocks(offset + length) * PROGRAM_BLOCK_BYTES;
        const uint64_t n = least(least(end, image->head.image_bytes) - at, PROGRAM_WINDOW_BYTES);
        int r;

        image->window_bytes = 0;
        r = io->read(io->userdata, image->window, n, program_image_offset(image->head.image_bytes) + at);
        if (r < 0)
                return server_failed(error, r);
        r = check_window(image, at, n, error);
        if (r < 0)
                return r;
        image->window_at = at;
        image->window_bytes = n;
        return 0;
}

int program_image_read(struct program_image *image, const struct context_io *io, void *buffer, uint64_t length,
                       uint64_t offset, struct error *error) {
        unsigned char *to = buffer;

        while (length > 0) {
                uint64_t n;

                if (offset < image->window_at || offset >= image->window_at + image->window_bytes) {
                        int r = load_window(image, io, length, offset, error);
                        if (r < 0)
                                return r;
                }
                n = least(image->window_at + image->window_bytes - offset, length);
                memcpy(to, image->window + (offset - image->window_at), n);
                to += n;
                offset += n;
                length -= n;
        }
        return 0;
}

int program_image_verify(struct program_image *image, const struct context_io *io,
                         const struct context_progress *progress, struct error *error) {
        int r = 0;

        for (uint64_t at = 0; at < image->head.image_bytes && r == 0; at += PROGRAM_WINDOW_BYTES) {
                r = tell(progress, CONTEXT_VERIFY, at, image->head.image_bytes, error);
                if (r == 0)
                        r = load_window(image, io, least(image->head.image_bytes - at, PROGRAM_WINDOW_BYTES), at,
                                        error);
        }
        return r;
}

void program_image_deinit(struct program_image *image) {
        free(image->sums);
        free(image->window);
        *image = (struct program_image) { 0 };
}
